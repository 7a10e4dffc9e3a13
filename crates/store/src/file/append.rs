//! The ordinary commit: one record behind the last one, one sync, one mark.

use super::counting::is_event;
use super::footprint::{Footprint, Found};
use super::{FileBackend, Mode, SUPERSEDED};
use crate::backend::{Failure, Group};
use crate::disk::{is_full, write_all};
use crate::facts::Counters;
use crate::format::MAX_STATE;
use marblerun_state::Change;

impl FileBackend {
    pub(super) fn append(&mut self, group: &Group) -> Result<(), Failure> {
        self.check_own_file()?;
        let time_ms = self.ports.clock.now_ms();
        let Mode::Durable(live) = &mut self.mode else { return Err(Failure::Unavailable(SUPERSEDED.to_owned())) };
        let record = live
            .tail
            .seal_delta(time_ms, group.changes.iter())
            .map_err(|error| Failure::NotStored(error.to_string()))?;
        let size = record.bytes.len() as u64;
        if live.tail.end + size > MAX_STATE {
            return Err(Failure::NotStored("the state is as large as the sealed format allows".to_owned()));
        }
        if let Err(error) = write_all(&*live.file, &record.bytes, live.tail.end) {
            if is_full(&error) && live.file.truncate(live.tail.end).is_ok() {
                Counters::add(&self.counters.sync_errors, 1);
                let why = format!("the storage is full ({error}). Make room, then try again");
                if live.full.is_none() {
                    // Once, and not for each of those who go on trying.
                    tracing::error!("not stored: {why}");
                }
                live.full = Some(format!("the last change was not stored: {why}"));
                return Err(Failure::NotStored(why));
            }
            return Err(self.give_up_file(format!("sealed_data cannot be written: {error}")));
        }
        if let Err(error) = live.file.sync_data() {
            return Err(self.give_up_file(format!("sealed_data cannot be synced: {error}")));
        }
        // What lies under the name now must have the record. A file put in place since the check has not, and would
        // be damaged by our mark.
        if let Ok(Found::Other) = Footprint::with_record(&live.tail, &record).look(&*self.ports.fs) {
            self.supersede();
            return Err(Failure::Unknown(SUPERSEDED.to_owned()));
        }
        live.full = None;
        live.tail.advance(&record);
        let marked = match live.tail.mark() {
            Some(mark) => write_all(&*live.file, &mark.bytes, mark.offset),
            None => Ok(()),
        };
        if let Some(compaction) = &mut live.compaction {
            compaction.note(record.sequence, time_ms, &group.changes);
        }
        live.vouched.due = true;
        live.vouched.urgent |= group.changes.iter().any(|change| matches!(change, Change::Manifest { .. }));
        self.counting.note(group.changes.iter().any(is_event));
        live.looked_at = self.ports.clock.elapsed();
        self.accept(&group.next, record.sequence, time_ms);
        Counters::add(&self.counters.bytes_appended, size);
        if let Err(error) = marked {
            // The group is durable; but a copy cut short would not be known as such any more.
            if let Err(why) = self.retire(format!("the mark cannot be written: {error}")) {
                tracing::warn!(why, "a new file could not be written yet");
            }
        }
        Ok(())
    }

    /// The file under the name must be ours before anything is written.
    pub(super) fn check_own_file(&mut self) -> Result<(), Failure> {
        match self.look() {
            Ok(Found::Same) => Ok(()),
            Ok(Found::Other) => Err(Failure::Unavailable(SUPERSEDED.to_owned())),
            Ok(Found::Missing) => self.replace_missing().map_err(Failure::NotStored),
            // Nothing was written, so nothing is in doubt.
            Err(error) => Err(Failure::NotStored(format!("sealed_data cannot be looked at: {error}"))),
        }
    }

    /// A write or sync of a group failed: it may or may not be in the file, so the file must go.
    fn give_up_file(&mut self, why: String) -> Failure {
        match self.retire(why.clone()) {
            Ok(()) => Failure::NotStored(why),
            Err(next) => Failure::Unknown(format!("{why}; then: {next}")),
        }
    }
}
