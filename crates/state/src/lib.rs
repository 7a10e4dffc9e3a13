//! What does the Coordinator know? One typed value, [`State`]: cheap to clone, changed only by
//! [`Change`]s, encoded as a list of them. Pure: no I/O, no clock, no randomness.
//!
//! A published state is never changed. A transaction works on a [`Draft`], which applies and
//! records changes; a file is read with a [`Loader`], which gives a state only once it is whole.
#![forbid(unsafe_code)]

mod apply;
mod audit;
mod change;
mod draft;
mod loader;
mod manifest;
mod parts;
mod snapshot;
mod state;
mod succession;
pub mod upstream;
mod wire;

pub use audit::{
    AUDIT_HEAD_DOMAIN, AuditBase, AuditEntry, AuditEvent, AuditKind, AuditTrail, MAX_AUDIT_TEXT, SignedAuditHead,
};
pub use change::{Change, ChangeError, MAX_CHANGE};
pub use draft::Draft;
pub use loader::Loader;
pub use manifest::{ActiveManifest, Permission, User};
pub use parts::{CounterKey, Home, Lineage, PendingUpdate, Phase, RecoveryEntry, RetiredRoot, RootSecret};
pub use state::State;
pub use succession::{BootId, Cause, CommitId, Incarnation, Relation, Standing, WriterMark, Writers};
