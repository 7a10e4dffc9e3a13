//! Backups of seal directories and shared states: create, list, inspect, verify, restore; and opening, describing
//! and exporting what is in them, offline.
//!
//! A backup is one file: a copy of `sealed_data`, whole by its own marks. It never carries what opens it on its
//! host alone, so it may be kept where the host's disk may not. Everything here works beside a running Coordinator,
//! on both layouts: ours and that of the Go Coordinator.

mod contents;
mod copy;
mod create;
mod error;
mod export;
mod facts;
mod keys;
mod open;
mod parts;
mod receive;
mod restore;
mod verify;

use std::path::{Path, PathBuf};

pub use crate::format::lacks_snapshot;
pub use contents::{
    Contents, CounterFacts, ManifestFacts, MarbleFacts, PackageFacts, PendingFacts, RecoveryFacts, SecretFacts,
    UserFacts, scheme_name,
};
pub use copy::Copying;
pub use create::{Created, copy_of, create, read_whole};
pub use error::BackupError;
pub use export::{Exported, ExportedSecret, export_to_upstream, export_to_upstreams_secret};
pub use facts::{Condition, Facts, Sealed, UpstreamLayout, inspect, inspect_bytes, inspect_key, list};
pub use keys::VerifyWith;
pub use open::{OpenedBy, OpenedState, open_bytes, open_state};
pub use parts::{Assembled, assemble};
pub use receive::Incoming;
pub use restore::{Restored, is_key_for, may_replace, restore};
pub use verify::{Proof, Quorum, open, verify, verify_bytes};

use crate::format::SEALED_DATA;

/// A backup, or the `sealed_data` of a seal directory.
fn sealed_data_at(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(SEALED_DATA) } else { path.to_path_buf() }
}

#[cfg(test)]
mod tests;
