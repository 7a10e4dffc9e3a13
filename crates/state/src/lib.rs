//! What does the Coordinator know? One typed value, [`State`]: cheap to clone, changed only by
//! [`Change`]s, encoded as a list of them. Pure: no I/O, no clock, no randomness.
#![forbid(unsafe_code)]

mod change;
mod draft;
mod manifest;
mod state;
pub mod upstream;

pub use change::{Change, ChangeError};
pub use draft::Draft;
pub use manifest::{ActiveManifest, Permission, User};
pub use state::{CounterKey, Lineage, PendingUpdate, Phase, RecoveryEntry, RootSecret, State};
