//! What the peer channel needs of the store.

use std::future::Future;
use std::pin::Pin;

use marblerun_state::BootId;
use marblerun_store::cluster::{Kek, KekId, NotGiven, Peer, PeerGreeting};

/// The answer to a peer that asks for a key.
pub type Giving<'a> = Pin<Box<dyn Future<Output = Result<Kek, NotGiven>> + Send + 'a>>;

/// This instance, as its peers meet it. Asked from the first second of the process on, in every phase; nothing here but
/// [`Node::give`] may wait for the store's place.
pub trait Node: Send + Sync + 'static {
    /// This process.
    fn boot_id(&self) -> BootId;

    /// What this instance says of itself, now.
    fn greeting(&self) -> PeerGreeting;

    /// Ids in the slots of the object that lies there, which this instance lacks. Empty: nothing is wanted.
    fn wanted_keks(&self) -> Vec<KekId>;

    /// Candidates from an appraised peer. They authenticate nothing until they have opened the state.
    fn offer(&self, from: &str, keks: Vec<Kek>);

    /// One of the wanted keys (empty: the one in force), if it is in force as of a validation at most 10 s ago. The peer
    /// has been appraised as one that may have it.
    fn give<'a>(&'a self, wanted: &'a [KekId]) -> Giving<'a>;

    /// The newest answer of every listed address, after each round.
    fn heard(&self, peers: Vec<Peer>);

    /// Whether sealing is bound to the product, by a manifest in force. If not, only the same measurement is given
    /// anything, and only from it anything is taken; but an instance that lacks a key, and so cannot know of a manifest
    /// yet, asks all of its product for it.
    fn seal_by_product(&self) -> bool;
}
