//! A state that is stored: its file, its key, its witness, and what must be looked after between commits.

use std::time::Duration;

use marblerun_state::State;

use super::archive::{archive, prune};
use super::compaction::Compaction;
use super::footprint::{Footprint, Found};
use super::key::{self, HostKey, witness};
use super::names::Reason;
use super::new_file::{Built, Content, Expected, NotPlaced, build, place};
use super::{FileBackend, Mode};
use crate::disk::{Access, DiskFile};
use crate::facts::Counters;
use crate::format::{CounterMark, Head, KeyEntry, SealedKey, Tail, describe_set};

/// Longest wait between two attempts to write a new file.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Pause after a compaction that failed.
pub(super) const COMPACTION_PAUSE: Duration = Duration::from_secs(60);

/// A stored state.
pub(super) struct Live {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) tail: Tail,
    pub(super) key: HostKey,
    /// Other entries that `sealed_key` must keep, because a loss of power may bring their file back.
    pub(super) others: Vec<KeyEntry>,
    /// Set if this file must never be written again.
    pub(super) fault: Option<Fault>,
    pub(super) compaction: Option<Compaction>,
    /// Not before that time.
    pub(super) compact_after: Duration,
    pub(super) compaction_problem: Option<String>,
    /// Set while there is no room for a change.
    pub(super) full: Option<String>,
    pub(super) vouched: Vouched,
    pub(super) looked_at: Duration,
}

/// What is known about the witness on disk.
#[derive(Debug, Default)]
pub(super) struct Vouched {
    /// There is something newer than it says.
    pub(super) due: bool,
    /// That should not wait for its turn.
    pub(super) urgent: bool,
    /// When it was last written, or tried.
    pub(super) at: Duration,
    pub(super) problem: Option<String>,
}

/// Why a new file must be written before the next commit.
#[derive(Debug)]
pub(super) struct Fault {
    reason: String,
    /// To be kept before the file is replaced: why, and from which byte on.
    keep: Option<(Reason, u64)>,
    /// Files that may also lie under the name, left by attempts whose outcome is not known.
    also: Vec<Footprint>,
    /// Head that one of them has at the current sequence, if it has further records behind its snapshot.
    head: Option<Head>,
    next_try: Duration,
    wait: Duration,
}

impl Live {
    /// A file that is in place and good.
    pub(super) fn new(built: Built, key: HostKey, now: Duration) -> Self {
        Self::of(built.file, built.tail, key, now)
    }

    /// A file that was found.
    pub(super) fn of(file: Box<dyn DiskFile>, tail: Tail, key: HostKey, now: Duration) -> Self {
        Self {
            file,
            tail,
            key,
            others: Vec::new(),
            fault: None,
            compaction: None,
            compact_after: Duration::ZERO,
            compaction_problem: None,
            full: None,
            vouched: Vouched { due: true, urgent: true, at: now, problem: None },
            looked_at: now,
        }
    }

    pub(super) fn fault_reason(&self) -> Option<&str> {
        self.fault.as_ref().map(|fault| fault.reason.as_str())
    }

    pub(super) fn head(&self) -> Head {
        self.tail.head
    }

    pub(super) fn bytes(&self) -> u64 {
        self.tail.end
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = String> + '_ {
        let of_slots = self.key.problems.iter().map(|(_, what)| what);
        of_slots.chain(&self.vouched.problem).chain(&self.compaction_problem).chain(&self.full).cloned()
    }

    /// Ways to open the state, for people.
    pub(super) fn slots(&self, state: &State) -> Vec<String> {
        let recovery = state.recovery().iter().map(|entry| describe_set(&entry.set));
        self.key.describe().chain(recovery).collect()
    }

    /// This file must not be written any more.
    pub(super) fn retire(&mut self, reason: String, keep: Option<(Reason, u64)>, retry_after: Duration) {
        let fault = Fault { reason, keep, also: Vec::new(), head: None, next_try: Duration::ZERO, wait: retry_after };
        self.fault.get_or_insert(fault);
    }

    /// A file was put in place, but a loss of power may undo that.
    pub(super) fn remember_uncertain(&mut self, built: &Built, head_now: Option<Head>) {
        if let Some(fault) = &mut self.fault {
            fault.also.push(built.footprint());
            fault.head = fault.head.or(head_now);
        }
    }

    /// The content of `sealed_key` for a state that may have any of these heads.
    pub(super) fn sealed_key(
        &self,
        state: &State,
        sequence: u64,
        heads: Vec<Head>,
        counter: Option<CounterMark>,
    ) -> SealedKey {
        let own = self.key.entry(false, witness(state, sequence, heads, counter));
        SealedKey { entries: std::iter::once(own).chain(self.others.iter().cloned()).collect() }
    }

    /// Replaces the file by one that continues it with the same key.
    pub(super) fn switch_to(&mut self, built: Built, now: Duration) {
        self.file = built.file;
        self.tail = built.tail;
        self.others.clear();
        self.fault = None;
        self.full = None;
        // The witness on disk names this head and the one before it.
        self.vouched = Vouched { due: true, urgent: false, at: now, problem: None };
    }
}

impl FileBackend {
    /// Between commits. Returns when to come again.
    pub(super) fn tend_live(&mut self) -> Duration {
        self.repair_if_due();
        self.finish_compaction();
        self.look_if_due();
        self.vouch_if_due();
        self.start_compaction_if_due();
        let now = self.ports.clock.elapsed();
        let Mode::Durable(live) = &self.mode else { return LONGEST_RETRY };
        let looks = (live.looked_at + self.tuning.look_every).saturating_sub(now);
        let vouches = (live.vouched.at + self.tuning.witness_every).saturating_sub(now);
        let repairs = live.fault.as_ref().map(|fault| fault.next_try.saturating_sub(now));
        let counts = self.counting.next().filter(|_| live.fault.is_none()).map(|time| time.saturating_sub(now));
        let next = [Some(looks), live.vouched.due.then_some(vouches), repairs, counts].into_iter().flatten().min();
        // Never spin, whatever the intervals are.
        next.unwrap_or(LONGEST_RETRY).max(Duration::from_millis(5))
    }

    /// Clean stop: the witness, and nothing that takes time.
    pub(super) fn close_live(&mut self) {
        self.cancel_compaction();
        let Mode::Durable(live) = &mut self.mode else { return };
        live.vouched.urgent = live.vouched.due;
        self.counting.stop();
        self.vouch_if_due();
    }

    /// Whether the file under the name is ours; becomes superseded if it is not.
    pub(super) fn look(&mut self) -> std::io::Result<Found> {
        let now = self.ports.clock.elapsed();
        let Mode::Durable(live) = &mut self.mode else { return Ok(Found::Other) };
        let (found, file) = Footprint::of_tail(&live.tail).open(&*self.ports.fs, Access::Write)?;
        live.looked_at = now;
        if let Some(file) = file {
            live.file = file;
        }
        if found == Found::Other {
            self.supersede();
        }
        Ok(found)
    }

    /// Another file is there: nothing is written from now on.
    pub(super) fn supersede(&mut self) {
        self.cancel_compaction();
        tracing::error!("{}", super::SUPERSEDED);
        self.mode = Mode::Superseded;
    }

    /// After a failed write or sync: retires the file and tries at once to write a new one from memory.
    /// `Ok` if that is in place.
    pub(super) fn retire(&mut self, reason: String) -> Result<(), String> {
        Counters::add(&self.counters.sync_errors, 1);
        tracing::error!(reason, "writing the state failed; a new file is written from memory");
        let Mode::Durable(live) = &mut self.mode else { return Err(reason) };
        live.retire(reason, None, self.tuning.retry_after);
        self.renew()
    }

    /// Writes the published state as a new file with the same key, in place of one that must not be written any more.
    pub(super) fn renew(&mut self) -> Result<(), String> {
        self.cancel_compaction();
        let now = self.ports.clock.elapsed();
        let fs = &*self.ports.fs;
        let Mode::Durable(live) = &mut self.mode else { return Err("nothing is stored".to_owned()) };
        let Some(fault) = &mut live.fault else { return Ok(()) };
        fault.next_try = now + fault.wait;
        fault.wait = (fault.wait * 2).min(LONGEST_RETRY);
        if let Some((reason, offset)) = fault.keep {
            match archive(fs, reason, self.sequence, offset) {
                Ok(archived) => {
                    tracing::warn!(archives = ?archived.names(), "kept what is about to be replaced");
                    fault.keep = None;
                    prune(fs, reason, &archived);
                }
                Err(error) => return Err(format!("what would be replaced cannot be archived: {error}")),
            }
        }
        let mut expected = fault.also.clone();
        expected.push(Footprint::of_tail(&live.tail).with_any_end());
        let head_of_also = fault.head;
        let content = Content {
            state: &self.state,
            sequence: self.sequence,
            time_ms: self.time_ms,
            previous_head: live.tail.head,
            key: &live.key,
        };
        let built = build(fs, &self.style, &content)?;
        // The head before is that of the old file and of any that continues it from this very sequence.
        let heads = vec![live.tail.head, head_of_also.unwrap_or(built.tail.head)];
        let key = live.sealed_key(&self.state, self.sequence, heads, self.counting.mark());
        match place(fs, &built, &key, Expected::OneOfOrNothing(&expected)) {
            Ok(()) => {
                live.switch_to(built, now);
                Ok(())
            }
            Err(NotPlaced::Superseded) => {
                self.supersede();
                Err(super::SUPERSEDED.to_owned())
            }
            Err(NotPlaced::Uncertain(why)) => {
                live.remember_uncertain(&built, None);
                Err(why)
            }
            Err(NotPlaced::Failed(why)) => Err(why),
        }
    }

    fn repair_if_due(&mut self) {
        let now = self.ports.clock.elapsed();
        let Mode::Durable(live) = &self.mode else { return };
        let Some(fault) = &live.fault else { return };
        if now < fault.next_try {
            return;
        }
        match self.renew() {
            Ok(()) => tracing::info!("the state is written again"),
            Err(why) => tracing::warn!(why, "the state still cannot be written"),
        }
    }

    fn look_if_due(&mut self) {
        let now = self.ports.clock.elapsed();
        let Mode::Durable(live) = &self.mode else { return };
        if live.fault.is_some() || now < live.looked_at + self.tuning.look_every {
            return;
        }
        match self.look() {
            Ok(Found::Missing) => {
                // As before a commit: it may be back in a moment.
                if let Err(why) = self.replace_missing() {
                    tracing::warn!(why, "sealed_data is missing and cannot be written anew");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "sealed_data cannot be looked at"),
        }
    }

    /// `sealed_data` is not there. Waits a moment, looks again, and writes it anew from memory.
    pub(super) fn replace_missing(&mut self) -> Result<(), String> {
        self.ports.clock.sleep(self.tuning.missing_wait);
        match self.look() {
            Ok(Found::Same) => Ok(()),
            Ok(Found::Missing) => {
                tracing::error!("sealed_data was removed; it is written anew from memory");
                let Mode::Durable(live) = &mut self.mode else { return Err(super::SUPERSEDED.to_owned()) };
                live.retire("sealed_data was removed".to_owned(), None, self.tuning.retry_after);
                self.renew()
            }
            Ok(Found::Other) => Err(super::SUPERSEDED.to_owned()),
            Err(error) => Err(format!("sealed_data cannot be looked at: {error}")),
        }
    }

    /// Writes the witness if its time has come. A failure is told, and tried again later.
    pub(super) fn vouch_if_due(&mut self) {
        let now = self.ports.clock.elapsed();
        let Mode::Durable(live) = &self.mode else { return };
        let due = live.vouched.urgent || now >= live.vouched.at + self.tuning.witness_every;
        let counts = self.counting.next().is_some_and(|time| now >= time);
        if live.fault.is_some() || !(counts || live.vouched.due && due) {
            return;
        }
        let result = match self.look() {
            Ok(Found::Same) => self.vouch(now).map_err(|error| format!("sealed_key cannot be written: {error}")),
            Ok(Found::Other) => return,
            Ok(Found::Missing) => Err("sealed_data is missing".to_owned()),
            Err(error) => Err(format!("sealed_data cannot be looked at: {error}")),
        };
        let Mode::Durable(live) = &mut self.mode else { return };
        live.vouched.at = now;
        live.vouched.urgent = false;
        live.vouched.due = result.is_err();
        if result.is_err() {
            self.counting.put_off(now);
        }
        live.vouched.problem = result.err().inspect(|why| tracing::warn!(why, "the witness was not written"));
    }

    fn vouch(&mut self, now: Duration) -> std::io::Result<()> {
        let Mode::Durable(live) = &self.mode else { return Ok(()) };
        // The counter counts after the witness with its next value is durable, never before.
        let count = self.counting.begin(&self.state, now);
        let key = live.sealed_key(&self.state, self.sequence, vec![live.tail.head], self.counting.mark());
        key::write(&*self.ports.fs, &key)?;
        if let Some(count) = count {
            self.counting.finish(&count);
        }
        Ok(())
    }
}
