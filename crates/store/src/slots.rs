//! Key slots, as an operator sees and changes them: the same data encryption key, wrapped by several sealing backends,
//! each of which opens the state by itself.

use marblerun_sealing::{Sealers, SlotKind};
use marblerun_state::AuditEntry;

use crate::cluster::{NewKek, Report};
use crate::file::HostKey;
use crate::format::{DekId, Slot};

/// One key slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotFacts {
    /// Its label: the name of the backend that made it.
    pub label: String,
    /// Its kind; `None` if this version does not know it.
    pub kind: Option<SlotKind>,
    /// The configured backend that opens it; `None` if none does.
    pub backend: Option<String>,
    /// Whether it stands in `sealed_data`, and so in every backup.
    pub in_backups: bool,
    /// Whether it stands beside a shared state, once for all hosts that reach its backend.
    pub shared: bool,
    /// Whether it opens: absent if it was not tried, else why not.
    pub opens: Option<Result<(), String>>,
}

/// What an operator wants of key slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotPlan {
    /// A slot of that backend for the key in force.
    Add {
        /// Name of the backend.
        backend: String,
    },
    /// One slot less. The key is replaced, and the others get new slots.
    Remove {
        /// Label of the slot.
        label: String,
        /// Also if others are lost with it, and with recovery keys also if none is left.
        force: bool,
    },
    /// Another key, with new slots. The old ones go only after the new ones were read back.
    Rotate {
        /// Label of the slot that must be there afterwards; absent: none in particular.
        label: Option<String>,
        /// Also if some cannot be made anew.
        force: bool,
    },
}

/// Why key slots were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// There are none here.
    #[error("{0}")]
    NotHere(String),
    /// The state cannot be written now.
    #[error("{0}")]
    Unavailable(String),
    /// No slot has that label.
    #[error("there is no key slot {label:?}; there are: {present}")]
    NoSlot {
        /// As asked for.
        label: String,
        /// Which there are.
        present: String,
    },
    /// No backend of that name is configured.
    #[error(
        "no sealing backend {name:?} is configured; there are: {present}. Name it in MARBLERUN_SEAL, with what it needs, \
         and restart"
    )]
    NoBackend {
        /// As asked for.
        name: String,
        /// Which there are.
        present: String,
    },
    /// The backend has a slot already.
    #[error("{0}")]
    Exists(String),
    /// The backend made none.
    #[error("the sealing backend {name} made no key slot: {why}")]
    Failed {
        /// Name of the backend.
        name: String,
        /// What it said.
        why: String,
    },
    /// Others would be lost with it.
    #[error(
        "these key slots would be lost, since they cannot be made anew now: {0}. Put that right first, or force it"
    )]
    WouldLose(String),
    /// No slot would be left.
    #[error("no key slot would be left that opens the state by itself{0}")]
    Last(&'static str),
    /// All Coordinators that have the backend would make the slot again.
    #[error(
        "the sealing backend {0} is configured here, and every Coordinator that has it makes the slot that all share again: \
         take it out of MARBLERUN_SEAL, restart one Coordinator after the other, and remove the slot then"
    )]
    StillConfigured(String),
    /// There are as many as the format allows.
    #[error("there are as many key slots as the sealed format allows")]
    TooMany,
    /// The key was replaced meanwhile, again and again.
    #[error("the key of the state kept changing meanwhile; try again")]
    Changed,
    /// Certainly not done.
    #[error("not stored: {0}")]
    NotStored(String),
    /// Maybe done.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The store is closed.
    #[error("the store is closed")]
    Stopped,
}

impl SlotError {
    pub(crate) fn no_backend(name: &str, sealers: &Sealers) -> Self {
        let present = sealers.iter().map(|sealer| sealer.name()).collect::<Vec<_>>().join(", ");
        Self::NoBackend { name: name.to_owned(), present }
    }

    pub(crate) fn no_slot<'a>(label: &str, present: impl Iterator<Item = &'a str>) -> Self {
        Self::NoSlot { label: label.to_owned(), present: present.collect::<Vec<_>>().join(", ") }
    }

    /// What has once opened the state must not stay as it is beside another one.
    pub(crate) fn exists(backend: &str, label: &str, opens: Result<(), String>) -> Self {
        Self::Exists(match opens {
            Ok(()) => format!("the sealing backend {backend} has a key slot, and it opens"),
            Err(why) => format!(
                "the sealing backend {backend} has a key slot that does not open ({why}); replace it: \
                 marblerun seal slot rotate {label}"
            ),
        })
    }
}

/// A change that is prepared: all that blocks is done, and every new slot has been shown to open.
#[derive(Debug)]
pub(crate) enum SlotChange {
    /// One more slot of the key in force.
    Add {
        /// That key.
        of: DekId,
        /// The slot.
        slot: Slot,
        /// For the audit trail.
        entry: AuditEntry,
    },
    /// Another key.
    Rekey {
        /// The key that it replaces.
        of: DekId,
        /// The new one with its slots.
        key: HostKey,
        /// Label of a slot that was removed on purpose.
        removed: Option<String>,
        /// For the audit trail.
        entry: AuditEntry,
    },
    /// One more copy of the key encryption key of a shared state.
    Copy {
        /// The copy.
        report: Box<Report>,
        /// For the audit trail.
        entry: AuditEntry,
    },
    /// Another key encryption key of a shared state.
    Kek {
        /// The new one with its copies.
        key: NewKek,
        /// Label of a slot that was removed on purpose.
        removed: Option<String>,
        /// Whether the old key goes at once, and the data encryption key with it.
        revoke: bool,
        /// For the audit trail.
        entry: AuditEntry,
    },
}
