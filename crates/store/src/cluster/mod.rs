//! One state, several Coordinators. The place where it lies is not trusted and knows compare-and-swap alone; what may
//! replace what is decided here (the cluster protocol). One thread of each instance does it all: [`backend`] under the
//! engine, [`write`] for what is sent, [`look`] for what is read, [`upkeep`] for the time between.

mod backend;
mod changed;
mod commit;
mod config;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod copies;
mod decide;
mod entry;
mod found;
mod handle;
mod kek;
mod keyring;
mod keys;
mod life;
mod look;
mod opened;
mod parts;
mod peers;
mod place;
mod pruning;
mod recovery;
#[cfg(any(test, feature = "testing"))]
pub mod simulated;
mod slots;
mod spread;
#[cfg(test)]
mod tests;
mod upkeep;
mod view;
mod waiting;
mod write;

pub(crate) use backend::ClusterBackend;
pub use changed::Changed;
pub use config::{ClusterConfig, ClusterTuning, SealIdentity};
pub(crate) use copies::{Aside, Report};
pub(crate) use handle::Desk;
pub use handle::{Cluster, DecisionError};
pub use kek::{Kek, KekId};
pub(crate) use keyring::{NewKek, SharedKeyring};
pub use peers::{NotGiven, Peer, PeerAnswer, PeerGreeting};
pub use place::{
    Archive, ArchiveReason, Content, Limits, Notes, Object, Part, PlaceError, Severity, SharedPlace, Version,
    WriteFailure,
};
pub use view::{ClusterView, Divergence};

/// Newest version of the sealed format that this program reads.
pub(crate) const FORMAT: u32 = 1;
