//! Changing key slots while the state is served. A crash at any point leaves a `sealed_data` and a `sealed_key` that open
//! together: by the old slots, or by the new ones.

use std::sync::Arc;

use marblerun_state::{AuditEntry, AuditEvent, AuditKind, Change, Draft};

use super::footprint::Footprint;
use super::key::{HostKey, is_of, witness};
use super::keyring::FileKeyring;
use super::names::NEW_DATA;
use super::new_file::{Content, Expected, NotPlaced, build, place_after};
use super::{FileBackend, Mode, SUPERSEDED, read_only, seal_mode};
use crate::backend::{Failure, Group};
use crate::format::{SealedKey, Slot};
use crate::lives;
use crate::slots::{SlotChange, SlotError};

impl From<Failure> for SlotError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotStored(why) => Self::NotStored(why),
            Failure::Unknown(why) => Self::Unknown(why),
            Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::Stale(_) => Self::Changed,
        }
    }
}

impl FileBackend {
    /// The slots as they are.
    pub(super) fn own_keyring(&self) -> Result<FileKeyring, SlotError> {
        let live = match &self.mode {
            Mode::Durable(live) => live,
            Mode::Volatile { .. } => {
                return Err(SlotError::NotHere("no state is stored, so there are no key slots".to_owned()));
            }
            Mode::Recovery(waiting) => return Err(SlotError::Unavailable(waiting.message.clone())),
            Mode::Superseded => return Err(SlotError::Unavailable(SUPERSEDED.to_owned())),
            Mode::Closed => return Err(SlotError::Stopped),
        };
        Ok(FileKeyring {
            key: live.key.clone(),
            sealers: self.config.sealers.clone(),
            mode: seal_mode(&self.state),
            unused: self.unused.clone(),
            recoverable: !self.state.recovery().is_empty(),
        })
    }

    pub(super) fn change_own_slots(&mut self, change: SlotChange) -> Result<(), SlotError> {
        let of = match &change {
            SlotChange::Add { of, .. } | SlotChange::Rekey { of, .. } => Some(of),
            SlotChange::Copy { .. } | SlotChange::Kek { .. } => None,
        };
        match &self.mode {
            Mode::Durable(live) => match live.fault_reason() {
                Some(reason) => return Err(SlotError::Unavailable(read_only(reason))),
                None if of.is_some_and(|of| live.key.dek_id != *of) => return Err(SlotError::Changed),
                None => {}
            },
            _ => return self.own_keyring().map(drop),
        }
        match change {
            SlotChange::Add { slot, entry, .. } => self.add_slot(slot, entry),
            SlotChange::Rekey { key, removed, entry, .. } => {
                self.rekey(key, entry)?;
                if let Some(label) = removed {
                    self.unused.insert(label);
                }
                Ok(())
            }
            SlotChange::Copy { .. } | SlotChange::Kek { .. } => {
                Err(SlotError::NotHere("the state is not shared".to_owned()))
            }
        }
    }

    /// Puts another key in force, and the entry that tells of it into the same file.
    fn rekey(&mut self, key: HostKey, entry: AuditEntry) -> Result<(), Failure> {
        self.check_own_file()?;
        self.cancel_compaction();
        let group = self.telling(entry).map_err(Failure::NotStored)?;
        self.rotate_file(&group, key)
    }

    /// The entry comes first: a slot that nobody was told of must not be there, not even after a crash in between.
    fn add_slot(&mut self, slot: Slot, entry: AuditEntry) -> Result<(), SlotError> {
        let group = self.telling(entry).map_err(SlotError::NotStored)?;
        self.append(&group)?;
        let Mode::Durable(live) = &self.mode else { return Err(SlotError::Unavailable(SUPERSEDED.to_owned())) };
        if let Some(reason) = live.fault_reason() {
            return Err(SlotError::Unavailable(read_only(reason)));
        }
        let mut key = live.key.clone();
        let sealers = &self.config.sealers;
        let name =
            sealers.iter().find(|sealer| is_of(sealers, &***sealer, &slot)).map(|sealer| sealer.name().to_owned());
        key.problems.retain(|(of, _)| Some(of) != name.as_ref());
        key.push(slot);
        self.rewrite(key)?;
        if let Some(name) = name {
            self.unused.remove(&name);
        }
        Ok(())
    }

    /// Writes the published state as a new file of the same key with other slots.
    fn rewrite(&mut self, key: HostKey) -> Result<(), Failure> {
        self.check_own_file()?;
        self.cancel_compaction();
        let now = self.ports.clock.elapsed();
        let fs = &*self.ports.fs;
        let Mode::Durable(live) = &mut self.mode else { return Err(Failure::Unavailable(SUPERSEDED.to_owned())) };
        let (state, sequence, previous_head) = (&self.state, self.sequence, live.tail.head);
        let content = Content { state, sequence, time_ms: self.time_ms, previous_head, key: &key };
        let built = build(fs, &self.style, &content).map_err(Failure::NotStored)?;
        let heads = vec![live.tail.head, built.tail.head];
        let sealed_key =
            SealedKey { entries: vec![key.entry(false, witness(state, sequence, heads, self.counting.mark()))] };
        let expected = [Footprint::of_tail(&live.tail)];
        let verify = || key.verify(fs, NEW_DATA);
        match place_after(fs, &built, &sealed_key, Expected::OneOf(&expected), &verify) {
            Ok(()) => {
                live.key = key;
                live.switch_to(built, now);
                Ok(())
            }
            Err(NotPlaced::Failed(why)) => {
                // `sealed_key` may have the new slot already.
                live.vouched.due = true;
                live.vouched.urgent = true;
                Err(Failure::NotStored(why))
            }
            Err(NotPlaced::Superseded) => {
                self.supersede();
                Err(Failure::Unavailable(SUPERSEDED.to_owned()))
            }
            Err(NotPlaced::Uncertain(why)) => {
                live.retire(why.clone(), None, self.tuning.retry_after);
                live.remember_uncertain(&built, Some(built.tail.head));
                Err(self.back_to_state_before(why))
            }
        }
    }

    /// A start was opened by a slot in the clear, and another sealer is configured now: has that way in closed, with a new
    /// key. Best effort: it works as it is, and the next start tries again.
    pub(super) fn close_unprotected(&mut self) {
        let entry = lives::of_slot(AuditEvent::SlotRemoved, "plain", self.ports.clock.now_ms());
        let closed = match self.new_key(seal_mode(&self.state)) {
            Ok(key) => self.rekey(key, entry).map_err(|failure| SlotError::from(failure).to_string()),
            Err(why) => Err(why),
        };
        let note = match closed {
            Ok(()) => {
                "the state was sealed to nothing; from now on it is sealed as configured, with a new key".to_owned()
            }
            Err(why) => format!("the state still has a key slot in the clear, which could not be removed: {why}"),
        };
        tracing::warn!("{note}");
        self.notes.push(note);
    }

    /// A group of one entry for the audit trail.
    fn telling(&self, entry: AuditEntry) -> Result<Group, String> {
        let mut draft = Draft::new(&self.state);
        let sequence = self.state.audit(AuditKind::Changes).next_sequence();
        let change = Change::Audit(AuditKind::Changes, vec![AuditEntry { sequence, ..entry }]);
        draft.record(change).map_err(|error| error.to_string())?;
        let (next, changes) = draft.into_parts();
        Ok(Group { next: Arc::new(next), changes: changes.into() })
    }
}
