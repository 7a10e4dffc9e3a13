//! What it takes to try key slots and to prepare changes of them, off the committer: devices and services take their time.

use std::collections::BTreeSet;

use marblerun_sealing::{KeySealer, SealMode, Sealers, SlotKind};
use marblerun_state::AuditEntry;

use super::key::{HostKey, is_of, open_slot};
use crate::format::Slot;
use crate::slots::{SlotChange, SlotError, SlotFacts, SlotPlan};

/// Slots that the format allows, less two for recovery keys.
const MAX_SLOTS: usize = 30;

/// The key slots of a state in a directory at one moment.
#[derive(Debug)]
pub(crate) struct FileKeyring {
    pub(super) key: HostKey,
    pub(super) sealers: Sealers,
    pub(super) mode: SealMode,
    /// Sealers whose slot was removed on purpose.
    pub(super) unused: BTreeSet<String>,
    /// Whether the state can be recovered without any slot.
    pub(super) recoverable: bool,
}

impl FileKeyring {
    pub(crate) fn slots(&self) -> Vec<SlotFacts> {
        self.key.slots().map(|slot| self.facts(slot)).collect()
    }

    pub(crate) fn test(&self, label: Option<&str>) -> Result<Vec<SlotFacts>, SlotError> {
        if let Some(label) = label {
            self.require(label)?;
        }
        let slots = self.key.slots().filter(|slot| label.is_none_or(|label| slot.label == label));
        Ok(slots.map(|slot| SlotFacts { opens: Some(self.opens(slot)), ..self.facts(slot) }).collect())
    }

    pub(crate) fn key_id(&self) -> [u8; 16] {
        self.key.dek_id.0
    }

    pub(crate) fn mode(&self) -> SealMode {
        self.mode
    }

    pub(crate) fn sealers(&self) -> &Sealers {
        &self.sealers
    }

    pub(crate) fn is_recoverable(&self) -> bool {
        self.recoverable
    }

    /// Does all of a change that may block.
    pub(crate) fn prepare(&self, plan: &SlotPlan, entry: AuditEntry) -> Result<SlotChange, SlotError> {
        let of = self.key.dek_id;
        match plan {
            SlotPlan::Add { backend } => Ok(SlotChange::Add { of, slot: self.add(backend)?, entry }),
            SlotPlan::Remove { label, force } => {
                self.require(label)?;
                let key = self.another_key(Some(label), *force)?;
                Ok(SlotChange::Rekey { of, key, removed: Some(label.clone()), entry })
            }
            SlotPlan::Rotate { label, force } => {
                if let Some(label) = label {
                    self.require(label)?;
                }
                let key = self.another_key(None, *force)?;
                if let Some(label) = label.as_ref().filter(|label| !key.slots().any(|slot| slot.label == **label)) {
                    let why = self.why_not(label, &key);
                    return Err(SlotError::Failed { name: label.clone(), why });
                }
                Ok(SlotChange::Rekey { of, key, removed: None, entry })
            }
        }
    }

    fn add(&self, name: &str) -> Result<Slot, SlotError> {
        let Some(sealer) = self.sealers.get(name) else {
            return Err(SlotError::no_backend(name, &self.sealers));
        };
        if let Some(slot) = self.key.slots().find(|slot| is_of(&self.sealers, &**sealer, slot)) {
            return Err(SlotError::exists(name, &slot.label, self.opens(slot)));
        }
        if self.key.slots().count() >= MAX_SLOTS {
            return Err(SlotError::TooMany);
        }
        self.key.make_slot(&**sealer, self.mode).map_err(|why| SlotError::Failed { name: name.to_owned(), why })
    }

    /// A new key with slots of all backends that have one, but for the one removed.
    fn another_key(&self, removed: Option<&str>, force: bool) -> Result<HostKey, SlotError> {
        let is_removed = |sealer: &dyn KeySealer| {
            let mut slots = self.key.slots().filter(|slot| removed == Some(slot.label.as_str()));
            slots.any(|slot| is_of(&self.sealers, sealer, slot))
        };
        let used = self.sealers.iter().filter(|sealer| !self.unused.contains(sealer.name()) && !is_removed(&***sealer));
        let used: Vec<_> = used.collect();
        let key = match HostKey::generate(used.iter().copied(), self.mode) {
            Ok(key) => key,
            // None could be made. Without any, the state opens by its recovery keys alone.
            Err(why) if !force => return Err(SlotError::WouldLose(why)),
            Err(_) => HostKey::generate([], self.mode).map_err(SlotError::NotStored)?,
        };
        let lost: Vec<String> = self
            .key
            .slots()
            .filter(|slot| removed != Some(slot.label.as_str()))
            .filter(|slot| !key.slots().any(|new| self.same_sealer(slot, new)))
            .map(|slot| format!("{} ({})", slot.label, self.why_not(&slot.label, &key)))
            .collect();
        if !lost.is_empty() && !force {
            return Err(SlotError::WouldLose(lost.join("; ")));
        }
        if key.slots().next().is_none() {
            match (force, self.recoverable) {
                (true, true) => {}
                (false, true) => {
                    return Err(SlotError::Last(
                        ": every start would ask for the recovery keys. Force it if that is wanted",
                    ));
                }
                (_, false) => return Err(SlotError::Last(", and it has no recovery keys")),
            }
        }
        Ok(key)
    }

    fn same_sealer(&self, old: &Slot, new: &Slot) -> bool {
        self.sealers.iter().any(|sealer| is_of(&self.sealers, &**sealer, old) && is_of(&self.sealers, &**sealer, new))
    }

    /// Why a new key has no slot in place of the one of that label.
    fn why_not(&self, label: &str, key: &HostKey) -> String {
        let slot = self.key.slots().find(|slot| slot.label == label);
        let sealer = slot.and_then(|slot| self.sealers.for_slot(slot.kind()?, &slot.label));
        let problem = sealer.and_then(|sealer| key.problems.iter().find(|(name, _)| name == sealer.name()));
        match (sealer, problem) {
            (_, Some((_, why))) => why.clone(),
            (None, None) => "no sealing backend for it is configured (MARBLERUN_SEAL)".to_owned(),
            (Some(_), None) => "no slot was made".to_owned(),
        }
    }

    fn require(&self, label: &str) -> Result<(), SlotError> {
        if self.key.slots().any(|slot| slot.label == label) {
            return Ok(());
        }
        Err(SlotError::no_slot(label, self.key.slots().map(|slot| slot.label.as_str())))
    }

    fn opens(&self, slot: &Slot) -> Result<(), String> {
        let dek = open_slot(&self.sealers, slot, self.key.dek_id)?;
        let same = subtle::ConstantTimeEq::ct_eq(&dek.expose()[..], &self.key.dek.expose()[..]);
        if bool::from(same) { Ok(()) } else { Err("it gives another key".to_owned()) }
    }

    fn facts(&self, slot: &Slot) -> SlotFacts {
        let kind = slot.kind();
        SlotFacts {
            label: slot.label.clone(),
            kind,
            backend: kind
                .and_then(|kind| self.sealers.for_slot(kind, &slot.label))
                .map(|sealer| sealer.name().to_owned()),
            in_backups: kind.is_some_and(SlotKind::is_portable),
            shared: false,
            opens: None,
        }
    }
}
