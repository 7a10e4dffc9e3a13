//! Changing the copies of the key encryption key while the state is served. What is new is stored, read back and opened
//! before what is old goes, so a crash at any point leaves a state that opens.

use std::sync::Arc;

use marblerun_state::{AuditEntry, AuditEvent, State};

use super::backend::{ClusterBackend, Live, Mode, seal_mode};
use super::copies::{Report, Values};
use super::keyring::{NewKek, SharedKeyring};
use super::keys::KeySet;
use super::{DecisionError, Kek, KekId};
use crate::backend::Failure;
use crate::format::WriteError;
use crate::lives;
use crate::slots::{SlotChange, SlotError};

/// How often somebody else may be first.
const ATTEMPTS: usize = 10;

impl ClusterBackend {
    /// The copies as they are.
    pub(super) fn shared_keyring(&mut self) -> Result<SharedKeyring, SlotError> {
        let live = self.open_for_slots()?.clone();
        let kek = self.newest_kek().ok_or_else(|| {
            SlotError::Unavailable(
                "the newest key of the shared state is not at hand yet; the others are asked".to_owned(),
            )
        })?;
        let values = self.place.entries().map_err(|error| SlotError::Unavailable(error.to_string()))?;
        Ok(SharedKeyring {
            kek,
            in_force: live.keys.kek_ids(),
            sealers: self.config.sealers.clone(),
            identity: self.config.identity.clone(),
            mode: seal_mode(&self.state),
            deployment_id: self.state.lineage().deployment_id,
            now_ms: Self::now_ms(),
            seen: self.seen_now(&live),
            tells_seen: self.copies.who_tells_seen(),
            hosts: self.copies.iter().map(|copy| copy.host).collect(),
            unused: self.copies.iter().map(|copy| copy.unused).collect(),
            recoverable: !self.state.recovery().is_empty(),
            values: Arc::new(values),
        })
    }

    fn open_for_slots(&self) -> Result<&Live, SlotError> {
        let unavailable = |why: String| Err(SlotError::Unavailable(why));
        match &self.mode {
            Mode::Serving(live) if live.missing => unavailable(self.missing_message()),
            Mode::Serving(live) => Ok(live),
            Mode::Diverged { divergence, .. } => unavailable(divergence.reason.clone()),
            Mode::Waiting(waiting) => unavailable(waiting.message.clone()),
            Mode::Down { reason } => unavailable(reason.clone()),
            Mode::Closed => Err(SlotError::Stopped),
        }
    }

    pub(super) fn change_shared_slots(&mut self, change: SlotChange) -> Result<(), SlotError> {
        self.settle_doubt().map_err(SlotError::Unavailable)?;
        self.open_for_slots()?;
        match change {
            SlotChange::Copy { report, entry } => self.add_copy(*report, &entry),
            SlotChange::Kek { key, removed, revoke, entry } => self.put_kek(key, removed.as_deref(), revoke, &entry),
            SlotChange::Add { .. } | SlotChange::Rekey { .. } => {
                Err(SlotError::NotHere("the state is shared".to_owned()))
            }
        }
    }

    /// The audit entry comes first: no copy that nobody was told of.
    fn add_copy(&mut self, report: Report, entry: &AuditEntry) -> Result<(), SlotError> {
        let (at, kek) = (report.at(), report.kek());
        self.write_telling(entry, kek, None, &|live| Ok(live.keys.clone()))?;
        let unused = self.copies.set_unused(at, false);
        self.take_report(report);
        match self.copies.problem(at) {
            None => Ok(()),
            Some(why) => {
                self.copies.set_unused(at, unused);
                Err(SlotError::NotStored(why))
            }
        }
    }

    /// Puts another key encryption key in force: beside the old one, which goes once all have the new one; or instead of it,
    /// at once.
    pub(super) fn put_kek(
        &mut self,
        key: NewKek,
        removed: Option<&str>,
        revoke: bool,
        entry: &AuditEntry,
    ) -> Result<(), SlotError> {
        let of = self.newest_kek().ok_or(SlotError::Changed)?.id();
        let NewKek { kek, copies, problems } = key;
        let names: Vec<_> = copies.iter().map(|(_, name, _)| *name).collect();
        let set: Values = copies.iter().map(|(_, name, bytes)| (name.to_string(), bytes.clone())).collect();
        // Reads back what it wrote, and their backends have opened just that.
        let stored = self.place.change_entries(&set, &[]);
        stored.map_err(|error| SlotError::NotStored(format!("the copies of the new key cannot be stored: {error}")))?;
        let keys = |live: &Live| match revoke {
            true => Ok(KeySet { portable: live.keys.portable.clone(), ..KeySet::generate(&[&kek])? }),
            false => live.keys.with(&kek),
        };
        if let Err(error) = self.write_telling(entry, of, Some(&kek), &keys) {
            if !matches!(error, SlotError::Unknown(_)) {
                self.remove_entries(&names);
            }
            return Err(error);
        }
        if let Some(live) = self.live_mut() {
            live.entry = Some(kek.id());
            live.rotating = (!revoke).then(|| kek.id());
        }
        for (at, copy) in self.copies.iter_mut().enumerate() {
            if let Some((_, name, bytes)) = copies.iter().find(|(of, ..)| *of == at) {
                copy.host = Some(name.host);
                copy.opened(*name, bytes);
            }
            if let Some((_, why)) = problems.iter().find(|(of, _)| *of == at) {
                copy.failed(why.clone());
            }
            copy.unused |= removed == Some(copy.sealer.name());
        }
        if revoke {
            self.remove_entries_but(kek.id());
        }
        self.upkeep_at = std::time::Instant::now();
        Ok(())
    }

    /// Commits a line of the audit trail, with the keys that `keys` makes of those in force. `of`: the key that must still be
    /// in force then.
    fn write_telling(
        &mut self,
        entry: &AuditEntry,
        of: KekId,
        new: Option<&Kek>,
        keys: &dyn Fn(&Live) -> Result<KeySet, WriteError>,
    ) -> Result<(), SlotError> {
        for _ in 0..ATTEMPTS {
            let live = self.open_for_slots()?;
            if live.keys.kek_ids().first() != Some(&of) {
                return Err(SlotError::Changed);
            }
            let keys = keys(live).map_err(|error| SlotError::NotStored(error.to_string()))?;
            let mut next = State::clone(&self.state);
            lives::append(&mut next, vec![entry.clone()]).map_err(SlotError::NotStored)?;
            // Whatever somebody else wrote meanwhile has no slot for it, and made it forgotten.
            new.cloned().into_iter().for_each(|kek| self.take_kek(kek));
            match self.write_on(next, keys, None) {
                Ok(_) => return Ok(()),
                Err(Failure::Stale(_)) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(SlotError::Changed)
    }

    /// Another key encryption key, by an operator who takes what it costs: a backend that is away loses its copy.
    pub(super) fn rotate(&mut self, by: &str, revoke: bool) -> Result<(), DecisionError> {
        if !matches!(self.mode, Mode::Serving(_)) {
            return Err(DecisionError::NotNow("keys can be rotated while the shared state is served".to_owned()));
        }
        let reason = if revoke { "revoked" } else { "rotated" };
        let entry = lives::decided(AuditEvent::KekRotated, by, reason, Self::now_ms());
        let rotated = self.shared_keyring().and_then(|keyring| keyring.whatever_is_lost());
        rotated.and_then(|key| self.put_kek(key, None, revoke, &entry)).map_err(|error| match error {
            SlotError::Changed => DecisionError::NotNow("the shared state changed meanwhile; try again".to_owned()),
            other => DecisionError::NotStored(other.to_string()),
        })
    }
}
