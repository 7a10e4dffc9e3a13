//! Compaction: the state is written anew by another thread while commits go on into the old file. Their
//! changes are kept, and the committer appends them to the new file before it takes the old one's place:
//! the pause is that tail alone.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use marblerun_state::Change;

use super::footprint::Footprint;
use super::live::COMPACTION_PAUSE;
use super::new_file::{Built, Content, Expected, NotPlaced, abandon, begin, finish, place};
use super::{FileBackend, Mode};
use crate::disk::Sink;
use crate::facts::Counters;
use crate::format::{FileWriter, MAX_STATE, WriteError};

/// Stages of the other thread's work.
const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const CANCELLED: u8 = 2;

/// A compaction under way.
pub(super) struct Compaction {
    done: Receiver<Result<FileWriter<Sink>, WriteError>>,
    stage: Arc<AtomicU8>,
    cancelled: Arc<AtomicBool>,
    /// Groups since the snapshot.
    groups: Vec<(u64, u64, Arc<[Change]>)>,
}

impl Compaction {
    /// A group went into the old file.
    pub(super) fn note(&mut self, sequence: u64, time_ms: u64, changes: &Arc<[Change]>) {
        self.groups.push((sequence, time_ms, Arc::clone(changes)));
    }
}

impl FileBackend {
    /// Begins a compaction where one is worth it.
    pub(super) fn start_compaction_if_due(&mut self) {
        let now = self.ports.clock.elapsed();
        let Mode::Durable(live) = &mut self.mode else { return };
        let deltas = live.tail.end.saturating_sub(live.tail.snapshot_end);
        let long = deltas > allowed_deltas(live.tail.snapshot_end, self.tuning.compact_bytes)
            || live.tail.records > self.tuning.compact_records;
        if !long || live.compaction.is_some() || live.fault.is_some() || now < live.compact_after {
            return;
        }
        let (sender, done) = sync_channel(1);
        let stage = Arc::new(AtomicU8::new(WAITING));
        let cancelled = Arc::new(AtomicBool::new(false));
        let (fs, style, state, key) =
            (Arc::clone(&self.ports.fs), self.style.clone(), Arc::clone(&self.state), live.key.clone());
        let (sequence, time_ms, previous_head) = (self.sequence, self.time_ms, live.tail.head);
        let (my_stage, my_cancelled) = (Arc::clone(&stage), Arc::clone(&cancelled));
        let task = move || {
            if my_stage.compare_exchange(WAITING, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_err() {
                return;
            }
            let content = Content { state: &state, sequence, time_ms, previous_head, key: &key };
            // Synced here already, so that the committer's sync has little left to do.
            let written = begin(&*fs, &style, &content, &my_cancelled).and_then(|mut writer| {
                writer.sink().flush()?;
                writer.sink().file().sync_all()?;
                Ok(writer)
            });
            // The receiver is gone only if the committer is.
            let _ = sender.send(written);
        };
        match self.ports.background.run(Box::new(task)) {
            Ok(()) => live.compaction = Some(Compaction { done, stage, cancelled, groups: Vec::new() }),
            Err(error) => self.put_off_compaction(format!("no thread can be started: {error}")),
        }
    }

    /// Takes the new file into use if the other thread is done with it.
    pub(super) fn finish_compaction(&mut self) {
        let Mode::Durable(live) = &mut self.mode else { return };
        let Some(compaction) = &live.compaction else { return };
        let written = match compaction.done.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => None,
            Ok(written) => Some(written),
        };
        let groups = live.compaction.take().map(|compaction| compaction.groups).unwrap_or_default();
        let built = match written {
            Some(Ok(writer)) => catch_up(writer, &groups).map_err(|error| error.to_string()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("its thread ended early".to_owned()),
        };
        match built {
            Ok(built) => self.swap_in(built),
            Err(why) => {
                abandon(&*self.ports.fs);
                self.put_off_compaction(why);
            }
        }
    }

    /// Ends a compaction without its result; on return nobody writes to the new file any more.
    pub(super) fn cancel_compaction(&mut self) {
        let Mode::Durable(live) = &mut self.mode else { return };
        let Some(compaction) = live.compaction.take() else { return };
        compaction.cancelled.store(true, Ordering::Relaxed);
        let begun = compaction.stage.compare_exchange(WAITING, CANCELLED, Ordering::AcqRel, Ordering::Acquire).is_err();
        if begun {
            // Soon: the other thread looks at the flag at every write.
            drop(compaction.done.recv());
        }
        abandon(&*self.ports.fs);
    }

    fn swap_in(&mut self, built: Built) {
        let now = self.ports.clock.elapsed();
        let Mode::Durable(live) = &mut self.mode else { return };
        if built.tail.sequence != self.sequence {
            abandon(&*self.ports.fs);
            let why = format!("the new file ends at {}, not at {}", built.tail.sequence, self.sequence);
            return self.put_off_compaction(why);
        }
        let key =
            live.sealed_key(&self.state, self.sequence, vec![live.tail.head, built.tail.head], self.counting.mark());
        let expected = [Footprint::of_tail(&live.tail)];
        match place(&*self.ports.fs, &built, &key, Expected::OneOf(&expected)) {
            Ok(()) => {
                live.switch_to(built, now);
                live.compaction_problem = None;
                Counters::add(&self.counters.compactions, 1);
            }
            Err(NotPlaced::Superseded) => self.supersede(),
            Err(NotPlaced::Failed(why)) => self.put_off_compaction(why),
            Err(NotPlaced::Uncertain(why)) => {
                Counters::add(&self.counters.sync_errors, 1);
                live.retire(why, None, self.tuning.retry_after);
                live.remember_uncertain(&built, Some(built.tail.head));
                if let Err(why) = self.renew() {
                    tracing::error!(why, "the state cannot be written");
                }
            }
        }
    }

    fn put_off_compaction(&mut self, why: String) {
        let now = self.ports.clock.elapsed();
        tracing::warn!(why, "sealed_data could not be compacted");
        let Mode::Durable(live) = &mut self.mode else { return };
        live.compact_after = now + COMPACTION_PAUSE;
        live.compaction_problem = Some(format!("sealed_data grows, since it could not be compacted: {why}"));
    }
}

/// How many bytes of deltas are let be: as many as the snapshot has, but at least `least`, and never so many that
/// the file could become too long for further commits before it is compacted.
fn allowed_deltas(snapshot: u64, least: u64) -> u64 {
    least.max(snapshot.min(MAX_STATE.saturating_sub(snapshot) / 2))
}

fn catch_up(mut writer: FileWriter<Sink>, groups: &[(u64, u64, Arc<[Change]>)]) -> Result<Built, WriteError> {
    for (sequence, time_ms, changes) in groups {
        writer.append(*sequence, *time_ms, changes.iter())?;
    }
    finish(writer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_compacted_when_its_deltas_outgrow_the_snapshot_and_before_it_is_too_long() {
        const MIB: u64 = 1 << 20;
        assert_eq!(allowed_deltas(0, MIB), MIB);
        assert_eq!(allowed_deltas(300 * MIB, MIB), 300 * MIB);
        for snapshot in [350 * MIB, 600 * MIB, 1000 * MIB] {
            let room = MAX_STATE - snapshot;
            assert_eq!(allowed_deltas(snapshot, MIB), room / 2, "half of the room is left for the time it takes");
        }
    }
}
