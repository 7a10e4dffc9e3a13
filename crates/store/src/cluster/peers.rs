//! What a Coordinator tells the others about itself, and what it heard from them. Whoever hands a value of these types
//! to the store has appraised the peer's evidence before.

use marblerun_state::{BootId, Standing};

use super::KekId;

/// What an appraised peer says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerGreeting {
    /// Its process.
    pub boot: BootId,
    /// The newest state it knows; `None` if it has none open.
    pub standing: Option<Standing>,
    /// Whether it answers clients from that state.
    pub serving: bool,
    /// Whether it waits for recovery keys.
    pub recovering: bool,
    /// The key encryption keys it could give.
    pub keks: Vec<KekId>,
    /// Newest version of the sealed format that it reads.
    pub format: u32,
    /// Program and version.
    pub version: String,
}

/// One address where a Coordinator is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// `host:port`.
    pub address: String,
    /// What became of the last attempt to greet it.
    pub answer: PeerAnswer,
}

/// How an address answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerAnswer {
    /// Appraised.
    Greeted(Box<PeerGreeting>),
    /// This very process.
    Myself,
    /// Nobody listens there (connection refused): no holder of anything.
    Nobody,
    /// It did not answer in time.
    Silent(String),
    /// It answered, and is not trusted, or does not trust us.
    Rejected(String),
}

/// Why a key encryption key is not given to a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotGiven {
    /// This instance does not serve, or has none of those keys.
    #[error("this Coordinator has no key encryption key to give")]
    NoKey,
    /// It could not make sure that what it has is still in force.
    #[error("the shared state cannot be validated now: {0}")]
    NotValidated(String),
}
