//! The monotonic counter beside the files: what stops who puts an old `sealed_data` back together with the `sealed_key` of
//! its time.
//!
//! Every witness carries a mark: name and value of the counter. At an event (a start, a change of the manifest or of keys,
//! a clean stop) a witness with the next value is made durable, and only then the counter counts. What else is written in
//! between carries the same mark, as each increment wears the device. The key of the counter follows from the
//! deployment's root key, so only who has the state can count, and a state of another deployment has another counter.

use std::sync::Arc;
use std::time::Duration;

use marblerun_sealing::counter::judge;
use marblerun_sealing::{CounterDevice, CounterError, Freshness, MonotonicCounter};
use marblerun_state::{Change, State};
use zeroize::Zeroizing;

use crate::format::{CounterFinding, CounterMark, Refusal, Witness, hkdf};

/// Wait after an attempt to count that failed.
const PAUSE: Duration = Duration::from_secs(60);
const LABEL: &[u8] = b"marblerun monotonic counter v1";
/// The only kind of device whose counter a witness can name so far.
const USUAL: &str = "tpm";

/// What is known about the counter of a stored state.
#[derive(Debug, Default)]
pub(super) struct Counting {
    device: Option<Arc<dyn CounterDevice>>,
    /// Stands in each witness.
    mark: Option<CounterMark>,
    /// Whether a witness with that mark is durable. Else it can be used for another one.
    is_durable: bool,
    /// Something has happened that must be counted.
    due: bool,
    /// Something was stored since it last counted.
    stored: bool,
    /// Not before that time.
    next_try: Duration,
    problem: Option<String>,
    /// What happened to the counter while it was in use.
    found: Option<String>,
}

/// A count that is half done: the witness is to be written.
pub(super) struct Count(Box<dyn MonotonicCounter>);

/// Whether a change is worth a count.
pub(super) fn is_event(change: &Change) -> bool {
    matches!(change, Change::Manifest { .. } | Change::Package(..) | Change::Recovery(_) | Change::RootSecret { .. })
}

impl Counting {
    pub(super) fn new(device: Option<Arc<dyn CounterDevice>>) -> Self {
        Self { device, ..Self::default() }
    }

    /// For the next witness.
    pub(super) fn mark(&self) -> Option<CounterMark> {
        self.mark
    }

    /// Something was stored; `event`: that must be counted.
    pub(super) fn note(&mut self, event: bool) {
        self.stored = true;
        self.due |= event;
    }

    /// A clean stop: what was stored since the last count is counted, even if that did not work a moment ago.
    pub(super) fn stop(&mut self) {
        self.due |= self.stored;
        self.next_try = Duration::ZERO;
    }

    /// When there is something to do; `None`: not by itself.
    pub(super) fn next(&self) -> Option<Duration> {
        (self.due && self.device.is_some()).then_some(self.next_try)
    }

    /// No witness can be written now.
    pub(super) fn put_off(&mut self, now: Duration) {
        self.next_try = now + PAUSE;
    }

    /// What an operator should know.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> + '_ {
        self.problem.iter().chain(&self.found).cloned()
    }

    /// At a start: what the counter says about a witness. Whatever that is, the next witness gets a mark that fits.
    pub(super) fn examine(&mut self, state: &State, witness: Option<&Witness>) -> Result<(), Refusal> {
        let named = witness.and_then(|witness| witness.counter);
        let device = self.device.as_ref().map_or(USUAL, |device| device.name());
        let says = |finding| Err(Refusal::Counter { device, finding });
        let now = match self.look(state) {
            Some(Ok(now)) => now,
            None => {
                // Kept for the day when it is configured again: it has not counted until then.
                (self.mark, self.is_durable) = (named, true);
                let why = "no sealing backend with a counter is configured (MARBLERUN_SEAL)";
                return named.map_or(Ok(()), |_| says(CounterFinding::Unavailable(why.to_owned())));
            }
            Some(Err(error @ CounterError::Unavailable { .. })) => {
                (self.mark, self.is_durable) = (named, true);
                return named.map_or(Ok(()), |_| says(CounterFinding::Unavailable(error.to_string())));
            }
            Some(Err(error)) => return named.map_or(Ok(()), |_| says(CounterFinding::Another(error.to_string()))),
        };
        (self.mark, self.is_durable) = (Some(now), true);
        let finding = match named {
            // A witness that is lost was told of already.
            None if witness.is_none() => return Ok(()),
            None => CounterFinding::Unmarked,
            Some(named) if named.id != now.id => {
                CounterFinding::Another("it is in another TPM, or at another index".to_owned())
            }
            Some(named) => match judge(named.value, now.value) {
                Freshness::Current => return Ok(()),
                Freshness::Unfinished => {
                    self.mark = Some(named);
                    return Ok(());
                }
                Freshness::Stale { by } => CounterFinding::Older { by },
                Freshness::Impossible => {
                    let CounterMark { value, .. } = named;
                    CounterFinding::Another(format!("it never had the value {value}; it has {}", now.value))
                }
            },
        };
        says(finding)
    }

    /// A state is about to be founded: the witness that comes with it gets the counter's value, if it has one already.
    pub(super) fn found(&mut self, state: &State) {
        self.mark = self.look(state).and_then(Result::ok);
        self.is_durable = true;
        self.note(true);
    }

    /// Before a witness is written: gives it the next mark, if it is time to count. A failure is told, and tried again.
    pub(super) fn begin(&mut self, state: &State, now: Duration) -> Option<Count> {
        if self.next().is_none_or(|time| now < time) {
            return None;
        }
        self.put_off(now);
        let begun = self.counter(state)?.and_then(|counter| self.advance(counter));
        begun.map_err(|error| self.failed(&error)).ok()
    }

    /// After the witness was made durable.
    pub(super) fn finish(&mut self, count: &Count) {
        self.is_durable = true;
        match (count.0.increment(), self.mark) {
            (Ok(value), Some(mark)) if value == mark.value => {
                (self.due, self.stored, self.problem) = (false, false, None);
                self.next_try = Duration::ZERO;
            }
            (Ok(_), _) => self.failed(&"somebody else counts, too: another Coordinator has this state"),
            (Err(error), _) => self.failed(&error),
        }
    }

    /// The value of the counter now, and the mark for the next witness.
    fn advance(&mut self, counter: Box<dyn MonotonicCounter>) -> Result<Count, CounterError> {
        let read = match counter.read() {
            Err(CounterError::Missing(why)) => {
                if self.mark.take().is_some() {
                    self.tell(format!("the monotonic counter was removed, and is made anew: {why}"));
                }
                counter.ensure()
            }
            other => other,
        };
        let (mut value, id) = (read?, counter.id()?);
        if let Some(mark) = self.mark {
            match judge(mark.value, value) {
                Freshness::Current if mark.id == id => {}
                // The count that belongs to the witness on disk: the next mark must be another one than its.
                Freshness::Unfinished if mark.id == id && self.is_durable => value = counter.increment()?,
                Freshness::Unfinished if mark.id == id => {}
                _ => self.tell(format!(
                    "the monotonic counter has the value {value}, and not {} as this Coordinator left it",
                    mark.value
                )),
            }
        }
        let value = value.saturating_add(1);
        (self.mark, self.is_durable) = (Some(CounterMark { id, value }), false);
        Ok(Count(counter))
    }

    fn tell(&mut self, what: String) {
        tracing::warn!("{what}");
        self.found = Some(what);
    }

    fn failed(&mut self, why: &dyn std::fmt::Display) {
        let problem = format!(
            "the newest state is stored, but not counted, so a restore of sealed_data and sealed_key as they were before would \
             not be noticed: {why}. It is tried again each minute"
        );
        tracing::warn!("{problem}");
        self.problem = Some(problem);
    }

    fn look(&self, state: &State) -> Option<Result<CounterMark, CounterError>> {
        let look = |counter: Box<dyn MonotonicCounter>| {
            let value = counter.read()?;
            Ok(CounterMark { id: counter.id()?, value })
        };
        Some(self.counter(state)?.and_then(look))
    }

    /// The counter of this state.
    fn counter(&self, state: &State) -> Option<Result<Box<dyn MonotonicCounter>, CounterError>> {
        let device = self.device.as_ref()?;
        let unavailable = || CounterError::Unavailable { backend: device.name(), reason: "no key for it".to_owned() };
        Some(counter_key(state).ok_or_else(unavailable).and_then(|key| device.counter(key)))
    }
}

/// Follows from what stays the same in a deployment, whatever else is rotated.
fn counter_key(state: &State) -> Option<Zeroizing<[u8; 32]>> {
    hkdf(&[], state.authority().root_key.scalar().as_slice(), &[LABEL]).ok()
}
