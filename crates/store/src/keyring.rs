//! The key slots of a state at one moment, and what it takes to try them and to prepare changes of them: off the
//! committer, for devices and services take their time.

use marblerun_sealing::{SealMode, SlotKind};
use marblerun_state::AuditEntry;

use crate::cluster::SharedKeyring;
use crate::file::FileKeyring;
use crate::slots::{SlotChange, SlotError, SlotFacts, SlotPlan};

/// The key slots of a state at one moment: of one in a directory, slots of its data encryption key; of one that is shared,
/// the copies of its key encryption key for this host and for all hosts.
#[derive(Debug)]
pub struct Keyring(Slots);

#[derive(Debug)]
enum Slots {
    File(FileKeyring),
    Shared(SharedKeyring),
}

impl From<FileKeyring> for Keyring {
    fn from(keyring: FileKeyring) -> Self {
        Self(Slots::File(keyring))
    }
}

impl From<SharedKeyring> for Keyring {
    fn from(keyring: SharedKeyring) -> Self {
        Self(Slots::Shared(keyring))
    }
}

impl Keyring {
    /// The slots, without trying them. Never blocks.
    #[must_use]
    pub fn slots(&self) -> Vec<SlotFacts> {
        match &self.0 {
            Slots::File(keyring) => keyring.slots(),
            Slots::Shared(keyring) => keyring.slots(),
        }
    }

    /// Tries the slots of that label (`None`: all) as a start would. May block.
    ///
    /// # Errors
    /// [`SlotError::NoSlot`].
    pub fn test(&self, label: Option<&str>) -> Result<Vec<SlotFacts>, SlotError> {
        match &self.0 {
            Slots::File(keyring) => keyring.test(label),
            Slots::Shared(keyring) => keyring.test(label),
        }
    }

    /// Name of the key that the slots give: another one after each rotation.
    #[must_use]
    pub fn key_id(&self) -> [u8; 16] {
        match &self.0 {
            Slots::File(keyring) => keyring.key_id(),
            Slots::Shared(keyring) => keyring.key_id(),
        }
    }

    /// Which enclaves may open the state.
    #[must_use]
    pub fn mode(&self) -> SealMode {
        match &self.0 {
            Slots::File(keyring) => keyring.mode(),
            Slots::Shared(keyring) => keyring.mode(),
        }
    }

    /// Backends that are configured, in the order in which their slots are tried, and the kinds of their slots.
    #[must_use]
    pub fn backends(&self) -> Vec<(String, SlotKind)> {
        let sealers = match &self.0 {
            Slots::File(keyring) => keyring.sealers(),
            Slots::Shared(keyring) => keyring.sealers(),
        };
        sealers.iter().map(|sealer| (sealer.name().to_owned(), sealer.kind())).collect()
    }

    /// Whether recovery keys open the state, too.
    #[must_use]
    pub fn is_recoverable(&self) -> bool {
        match &self.0 {
            Slots::File(keyring) => keyring.is_recoverable(),
            Slots::Shared(keyring) => keyring.is_recoverable(),
        }
    }

    /// Does all of a change that may block.
    pub(crate) fn prepare(&self, plan: &SlotPlan, entry: AuditEntry) -> Result<SlotChange, SlotError> {
        match &self.0 {
            Slots::File(keyring) => keyring.prepare(plan, entry),
            Slots::Shared(keyring) => keyring.prepare(plan, entry),
        }
    }
}
