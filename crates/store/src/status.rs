//! What a store tells about itself.

use marblerun_recovery::RecoverySet;

/// What the store is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreMode {
    /// No manifest yet, or seal mode `Disabled`: nothing on disk.
    Volatile,
    /// Every acknowledged change is on disk.
    Durable,
    /// A sealed state exists and cannot be opened.
    Recovery {
        /// Stable code: those of [`crate::format::Refusal::code`], and `missing` (there are traces of a state, but no
        /// `sealed_data`), `older_than_witness`, `not_imported` (upstream's state has content that cannot be taken over).
        code: &'static str,
        /// Cause, object, recommendation.
        message: String,
    },
    /// Another file was put in place; a restart loads it.
    Superseded,
    /// What lies in the shared place does not go on from the state served here; nothing is written and nobody admitted
    /// until an operator decides.
    Diverged {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Writing failed and could not be repaired yet; reads go on.
    ReadOnly {
        /// Cause.
        reason: String,
    },
}

/// Facts for status, metrics and events.
#[derive(Debug, Clone)]
pub struct StoreStatus {
    /// What the store is doing.
    pub mode: StoreMode,
    /// Sequence number of the last durable state.
    pub sequence: u64,
    /// Head of the last durable record (hex for people).
    pub head: Option<[u8; 32]>,
    /// Size of `sealed_data` in bytes.
    pub file_bytes: u64,
    /// Human-readable slots: kind and label.
    pub slots: Vec<String>,
    /// Things an operator should know (torn tail dropped, header altered, rolled back, ..).
    pub warnings: Vec<String>,
    /// Numbers that only grow.
    pub counters: StoreCounters,
}

/// What a store has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Transactions that changed the state.
    pub commits: u64,
    /// Groups they were stored in.
    pub groups: u64,
    /// Bytes appended to `sealed_data`.
    pub bytes_appended: u64,
    /// Times the file was written anew to make it shorter.
    pub compactions: u64,
    /// Failed writes and syncs.
    pub sync_errors: u64,
}

/// What a ceremony needs to know about the state that waits.
#[derive(Debug, Clone)]
pub struct RecoveryMaterial {
    /// Changes when another file is put in place: the ceremony starts anew.
    pub file_id: [u8; 32],
    /// From the header; empty if unknown.
    pub sets: Vec<RecoverySet>,
    /// Set if no secret can open what lies there: why, and what to do.
    pub refusal: Option<String>,
}
