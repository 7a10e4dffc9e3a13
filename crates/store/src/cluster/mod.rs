//! One state, several Coordinators: what they share, and what each needs of the place where it lies.

mod kek;
mod peers;
mod place;

pub use kek::{Kek, KekId};
pub use peers::{NotGiven, Peer, PeerAnswer, PeerGreeting};
pub use place::{
    Archive, ArchiveReason, Content, Limits, Notes, Object, Part, PlaceError, Severity, SharedPlace, Version, WriteFailure,
};
