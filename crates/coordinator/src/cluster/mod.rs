//! Several Coordinators of one deployment: the attested channel among them, and what runs over it. Who is there and what
//! they know ([`PeerGreeting`]), key encryption keys for those that lack them, and recovery secrets that
//! holders uploaded to any of them.
//!
//! Whoever is at the other end of a channel has proved what it is before the first word ([`channel`]), and what it gets
//! is decided anew for each call ([`appraiser`]). Nobody vouches for what it *says*: a greeting is judged by the store
//! against its own reads, a key by opening the state with it, a recovery secret by the header of the sealed state.
//!
//! [`PeerGreeting`]: marblerun_store::cluster::PeerGreeting

mod addresses;
mod appraiser;
mod call;
mod ceremony;
mod channel;
mod greeting;
mod keys;
mod node;
mod peers;
mod rounds;
mod serve;
mod service;
mod times;
mod union;

pub use addresses::{Addresses, Combined, Fixed};
pub use node::{Giving, Node};
pub use peers::{Peers, PeersConfig, PeersError};
pub use times::Times;
