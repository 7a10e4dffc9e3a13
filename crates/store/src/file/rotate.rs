//! Changes after which the old key, or the old file, must not open what comes next: new recovery keys, another
//! seal mode, the end of persistence.

use marblerun_state::Change;

use super::archive::{Archived, archive, discard, discard_archives, discard_everything, prune, sync_directory};
use super::footprint::Footprint;
use super::key::{self, HostKey, witness};
use super::live::Live;
use super::names::{NEW_DATA, Reason};
use super::new_file::{Content, Expected, NotPlaced, build, place_after};
use super::{FileBackend, Mode, SUPERSEDED, seal_mode};
use crate::backend::{Failure, Group};
use crate::format::{SEALED_DATA, SEALED_KEY, SealedKey};

impl FileBackend {
    /// Stores a group in the snapshot of a new file under a new data encryption key. A crash at any point leaves a
    /// `sealed_data` and a `sealed_key` that open together.
    pub(super) fn rotate(&mut self, group: &Group) -> Result<(), Failure> {
        self.check_own_file()?;
        self.cancel_compaction();
        let new_recovery = group.changes.iter().any(|change| matches!(change, Change::Recovery(_)));
        let confirmed = self.state.recovery().len() > 1 && group.next.recovery().len() == 1;
        let archived = if new_recovery && !confirmed {
            archive(&*self.ports.fs, Reason::Rotated, self.sequence, 0)
                .map_err(|error| Failure::NotStored(format!("the state cannot be archived: {error}")))?
        } else {
            Archived::default()
        };
        let result = match self.new_key(seal_mode(&group.next)) {
            Ok(key) => self.rotate_file(group, key),
            Err(why) => Err(Failure::NotStored(format!("no new key can be made: {why}"))),
        };
        match &result {
            Ok(()) if confirmed => prune(&*self.ports.fs, Reason::Rotated, &archived),
            Err(Failure::NotStored(_)) => archived.take_back(&*self.ports.fs),
            _ => {}
        }
        result
    }

    pub(super) fn rotate_file(&mut self, group: &Group, key: HostKey) -> Result<(), Failure> {
        let now = self.ports.clock.elapsed();
        let time_ms = self.ports.clock.now_ms();
        let sequence = self.sequence + 1;
        let fs = &*self.ports.fs;
        let Mode::Durable(live) = &mut self.mode else { return Err(Failure::Unavailable(SUPERSEDED.to_owned())) };
        let content = Content { state: &group.next, sequence, time_ms, previous_head: live.tail.head, key: &key };
        let built = build(fs, &self.style, &content).map_err(Failure::NotStored)?;
        let new_entry = key.entry(false, witness(&group.next, sequence, vec![built.tail.head], self.counting.mark()));
        live.others = vec![new_entry.clone()];
        let both = live.sealed_key(&self.state, self.sequence, vec![live.tail.head], self.counting.mark());
        let expected = [Footprint::of_tail(&live.tail)];
        // The old slots go only after the new ones were read back and fit the new file.
        let verify = || key.verify(fs, NEW_DATA);
        match place_after(fs, &built, &both, Expected::OneOf(&expected), &verify) {
            Ok(()) => {
                **live = Live::new(built, key, now);
                // From here on the old entry only does harm. If it cannot go now, it goes with the next witness.
                match key::write(fs, &SealedKey { entries: vec![new_entry] }) {
                    Ok(()) => live.vouched = super::live::Vouched { at: now, ..Default::default() },
                    Err(error) => tracing::warn!(%error, "the old key could not be removed from sealed_key yet"),
                }
                self.accept(&group.next, sequence, time_ms);
                self.counting.note(true);
                Ok(())
            }
            Err(NotPlaced::Failed(why)) => {
                live.others.clear();
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
                live.remember_uncertain(&built, None);
                Err(self.back_to_state_before(why))
            }
        }
    }

    /// Puts everything that is stored aside; the group and all that follow are kept in memory alone.
    pub(super) fn disable(&mut self, group: &Group) -> Result<(), Failure> {
        let not_stored =
            |error: std::io::Error| Failure::NotStored(format!("the sealed state cannot be put aside: {error}"));
        if matches!(self.mode, Mode::Durable(_)) {
            self.check_own_file()?;
            self.cancel_compaction();
            self.discard_live()?;
        } else {
            discard_everything(&*self.ports.fs).map_err(not_stored)?;
        }
        tracing::warn!("seal mode Disabled: from now on the state lives in memory alone");
        self.mode = Mode::Volatile { beneath: None };
        self.remember(group)
    }

    /// The rename of `sealed_data` decides: before it the pair still opens, after it `sealed_key` is no trace.
    fn discard_live(&mut self) -> Result<(), Failure> {
        let fs = &*self.ports.fs;
        let Mode::Durable(live) = &mut self.mode else { return Err(Failure::Unavailable(SUPERSEDED.to_owned())) };
        live.vouched.due = true;
        live.vouched.urgent = true;
        let pending =
            live.key.entry(true, witness(&self.state, self.sequence, vec![live.tail.head], self.counting.mark()));
        discard_archives(fs)
            .and_then(|()| key::write(fs, &SealedKey { entries: vec![pending] }))
            .and_then(|()| discard(fs, SEALED_DATA))
            .map_err(|error| Failure::NotStored(format!("the sealed state cannot be put aside: {error}")))?;
        if let Err(error) = sync_directory(fs) {
            let why = format!("the seal directory cannot be synced: {error}");
            live.retire(why.clone(), None, self.tuning.retry_after);
            return Err(self.back_to_state_before(why));
        }
        if let Err(error) = discard(fs, SEALED_KEY).and_then(|()| sync_directory(fs)) {
            tracing::warn!(%error, "sealed_key could not be put aside; without sealed_data it means nothing");
        }
        Ok(())
    }

    /// It is not known whether a group is in force on disk: writes the state before it once more.
    pub(super) fn back_to_state_before(&mut self, why: String) -> Failure {
        match self.renew() {
            Ok(()) => Failure::NotStored(why),
            Err(next) => Failure::Unknown(format!("{why}; then: {next}")),
        }
    }
}
