//! What is written beside the state and archives for people, as JSON. Never believed.

use marblerun_store::cluster::{ArchiveReason, Notes, Object};
use serde::{Deserialize, Serialize};

/// Beside the state.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AboutState {
    pub(crate) writer: String,
    deployment: String,
    incarnation: u64,
    sequence: u64,
    manifest: String,
    root: String,
    format: u32,
}

/// Beside an archive.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AboutArchive {
    reason: String,
    time: String,
    source: String,
    pub(crate) digest: String,
    /// The bank of parts that hold its snapshot.
    #[serde(default)]
    pub(crate) bank: Option<u8>,
}

impl AboutState {
    pub(crate) fn new(writer: &str, notes: &Notes) -> Self {
        Self {
            writer: writer.to_owned(),
            deployment: notes.deployment.clone(),
            incarnation: notes.incarnation,
            sequence: notes.sequence,
            manifest: notes.manifest.clone(),
            root: notes.root.clone(),
            format: notes.format,
        }
    }
}

impl AboutArchive {
    pub(crate) fn new(object: &Object, reason: ArchiveReason, time: jiff::Timestamp, digest: [u8; 32]) -> Self {
        let reason = match reason {
            ArchiveReason::Imported => "imported",
            ArchiveReason::Reset => "reset",
            ArchiveReason::Restored => "restored",
            ArchiveReason::Damaged => "damaged",
        };
        let time = time.to_string();
        Self {
            reason: reason.to_owned(),
            time,
            source: object.version.revision.clone(),
            digest: hex::encode(digest),
            bank: object.bank(),
        }
    }

    /// When it was made, by the clock of who made it.
    pub(crate) fn time(&self) -> Option<jiff::Timestamp> {
        self.time.parse().ok()
    }
}
