//! What was attempted and refused. Anybody can attempt anything at any rate, so refusals are gathered in memory and
//! recorded together: equal ones as one entry with a count, few kinds of them, one commit in ten seconds at
//! most. They go to a trail of their own, which is short; nothing that happened is pushed out by them.
//! What a crash can lose are the refusals of the last ten seconds, and repetitions that were still being counted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use marblerun_state::{AuditEntry, AuditEvent, AuditKind, ChangeError, Draft};
use tokio::time::Instant;

use super::{ANYONE, append, entry, user};

/// How long the first refusal of a kind waits for others.
pub(in crate::core) const FLUSH_EVERY: Duration = Duration::from_secs(10);
/// How long repetitions by a user are counted before they are recorded.
const QUIET_USER: Duration = Duration::from_secs(60);
/// The same of strangers, who have no name that would tell one from another.
const QUIET_STRANGERS: Duration = Duration::from_secs(600);
/// Kinds that are told apart at a time; beyond them there is one for all others.
const MAX_KINDS: usize = 128;
/// Actor, subject and reason of that one.
pub(super) const OTHERS: &str = "others";

/// What makes refusals equal. Subjects and reasons are texts of this program; only actors are not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    actor: String,
    subject: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone)]
struct Tally {
    first: Timestamp,
    count: u64,
    /// When to record it, or to forget the kind if nothing has been counted by then.
    due: Instant,
}

/// Refusals that wait to be recorded. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(in crate::core) struct Refusals {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: BTreeMap<Kind, Tally>,
    /// Somebody is going to record them.
    attended: bool,
}

/// Refusals that are being recorded.
pub(in crate::core) struct Taken(Vec<(Kind, Tally)>);

impl Refusals {
    /// Counts one. Answers whether somebody has to see to its being recorded.
    pub(in crate::core) fn note(
        &self,
        actor: Option<&str>,
        subject: &'static str,
        reason: &'static str,
        now: Timestamp,
    ) -> bool {
        let mut inner = self.lock();
        let kind = Kind { actor: actor.map_or(Cow::Borrowed(ANYONE), user).into_owned(), subject, reason };
        let fits = inner.waiting.len() < MAX_KINDS || inner.waiting.contains_key(&kind);
        let others = || Kind { actor: OTHERS.to_owned(), subject: OTHERS, reason: OTHERS };
        inner.add(if fits { kind } else { others() }, now, 1, Instant::now() + FLUSH_EVERY);
        !std::mem::replace(&mut inner.attended, true)
    }

    /// Takes what is due (`everything`: all there is).
    pub(in crate::core) fn take(&self, everything: bool) -> Taken {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.waiting.retain(|_, tally| tally.count > 0 || tally.due > now);
        let due = inner.waiting.iter_mut().filter(|(_, tally)| tally.count > 0 && (everything || tally.due <= now));
        let taken = due.map(|(kind, tally)| {
            let taken = (kind.clone(), tally.clone());
            let quiet = if kind.actor == ANYONE { QUIET_STRANGERS } else { QUIET_USER };
            (tally.count, tally.due) = (0, now + quiet);
            taken
        });
        Taken(taken.collect())
    }

    /// Counts again what could not be recorded.
    pub(in crate::core) fn put_back(&self, taken: &Taken) {
        let due = Instant::now() + FLUSH_EVERY;
        let mut inner = self.lock();
        for (kind, tally) in &taken.0 {
            inner.add(kind.clone(), tally.first, tally.count, due);
            // It has waited long enough already.
            if let Some(tally) = inner.waiting.get_mut(kind) {
                tally.due = due;
            }
        }
    }

    /// Whether nothing is counted any more; then nobody attends to it from now on.
    pub(in crate::core) fn is_done(&self) -> bool {
        let mut inner = self.lock();
        inner.attended = !inner.waiting.is_empty();
        !inner.attended
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here can be left half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, kind: Kind, first: Timestamp, count: u64, due: Instant) {
        let tally = self.waiting.entry(kind).or_insert(Tally { first, count: 0, due });
        if tally.count == 0 {
            tally.first = first;
        }
        tally.first = tally.first.min(first);
        tally.count = tally.count.saturating_add(count);
    }
}

impl Taken {
    pub(in crate::core) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Records them, oldest first.
    pub(in crate::core) fn record(&self, draft: &mut Draft) -> Result<(), ChangeError> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|(_, tally)| tally.first);
        let entries = sorted.into_iter().map(|(kind, tally)| {
            let refused = entry(AuditEvent::Refused, tally.first, &kind.actor, kind.subject).reason(kind.reason);
            AuditEntry { count: tally.count, ..refused }
        });
        append(draft, AuditKind::Refusals, entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(taken: &Taken) -> Vec<(&str, u64)> {
        taken.0.iter().map(|(kind, tally)| (kind.actor.as_str(), tally.count)).collect()
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[tokio::test(start_paused = true)]
    async fn equal_refusals_are_one_entry_and_a_minute_of_repetitions_is_one_more() {
        let refusals = Refusals::default();
        assert!(refusals.note(Some("eve"), "update", "not_allowed", now()));
        assert!(!refusals.note(Some("eve"), "update", "not_allowed", now()), "somebody attends to it");
        assert!(refusals.take(false).is_empty(), "others may follow");
        tokio::time::advance(FLUSH_EVERY).await;
        assert_eq!(counts(&refusals.take(false)), [("eve", 2)]);
        for _ in 0..50 {
            refusals.note(Some("eve"), "update", "not_allowed", now());
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(refusals.take(false).is_empty());
        }
        tokio::time::advance(FLUSH_EVERY).await;
        assert_eq!(counts(&refusals.take(false)), [("eve", 50)]);
        assert!(!refusals.is_done());
        tokio::time::advance(QUIET_USER).await;
        assert!(refusals.take(false).is_empty());
        assert!(refusals.is_done());
        assert!(refusals.note(Some("eve"), "update", "not_allowed", now()), "and it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_whoever_tries_what() {
        let refusals = Refusals::default();
        for n in 0..100_000 {
            refusals.note(Some(&n.to_string()), "update", "not_allowed", now());
        }
        let taken = refusals.take(true);
        assert_eq!(taken.0.len(), MAX_KINDS + 1);
        assert_eq!(counts(&taken).iter().find(|(actor, _)| *actor == OTHERS).unwrap().1, 100_000 - MAX_KINDS as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_recorded_is_counted_on() {
        let refusals = Refusals::default();
        refusals.note(None, "recover", "recovery_secret_refused", now());
        let taken = refusals.take(true);
        assert!(refusals.take(true).is_empty());
        refusals.note(None, "recover", "recovery_secret_refused", now());
        refusals.put_back(&taken);
        assert_eq!(counts(&refusals.take(true)), [(ANYONE, 2)]);
    }
}
