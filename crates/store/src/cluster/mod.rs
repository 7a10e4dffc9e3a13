//! One state, several Coordinators: what they share, and what each needs of the place where it lies.

mod changed;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod handle;
mod kek;
mod peers;
mod place;
#[cfg(any(test, feature = "testing"))]
pub mod simulated;
mod view;

pub use changed::Changed;
pub(crate) use handle::Desk;
pub use handle::{Cluster, DecisionError};
pub use kek::{Kek, KekId};
pub use peers::{NotGiven, Peer, PeerAnswer, PeerGreeting};
pub use place::{
    Archive, ArchiveReason, Content, Limits, Notes, Object, Part, PlaceError, Severity, SharedPlace, Version,
    WriteFailure,
};
pub use view::{ClusterView, Divergence};
