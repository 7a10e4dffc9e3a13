//! What the use cases tell about themselves: counts for the metrics, and the last activations.
//!
//! Everything here is fed by unauthenticated callers, so everything is bounded: Marble types are counted
//! by name only once the manifest is known to have them, instances only up to a number, and the ring of
//! activations has a limit in entries and in bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

/// Series of (type, UUID) that are told apart; further instances are counted as [`OTHER`].
const MAX_SERIES: usize = 4096;
/// Activations that are remembered.
const MAX_EVENTS: usize = 1024;
/// Evidence that is remembered with them, in bytes.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// Label of what is not told apart: types the manifest does not have, UUIDs that are none, instances beyond the limit.
pub const OTHER: &str = "other";

/// A successful activation.
#[derive(Debug, Clone)]
pub struct ActivationEvent {
    /// When.
    pub time: Timestamp,
    /// Marble type.
    pub marble_type: String,
    /// UUID as the Marble sent it.
    pub uuid: String,
    /// Evidence as the Marble sent it.
    pub quote: Arc<[u8]>,
}

/// Counts of one series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActivationCounts {
    /// Attempts.
    pub attempts: u64,
    /// Attempts that succeeded.
    pub successes: u64,
}

/// Collects. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Observer {
    inner: Arc<Mutex<Inner>>,
}

/// What went on while the place of a shared state did not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OfflineCounts {
    /// Activations.
    pub activations: u64,
    /// Statements about quotes.
    pub signed_quotes: u64,
}

#[derive(Debug, Default)]
struct Inner {
    activations: BTreeMap<(String, String), ActivationCounts>,
    events: VecDeque<ActivationEvent>,
    event_bytes: usize,
    offline: OfflineCounts,
}

impl Observer {
    /// Counts by (Marble type, UUID), in that order.
    #[must_use]
    pub fn activations(&self) -> Vec<((String, String), ActivationCounts)> {
        self.lock().activations.iter().map(|(key, counts)| (key.clone(), *counts)).collect()
    }

    /// The last successful activations, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<ActivationEvent> {
        self.lock().events.iter().cloned().collect()
    }

    /// What went on while the place of a shared state did not answer.
    #[must_use]
    pub fn offline(&self) -> OfflineCounts {
        self.lock().offline
    }

    /// An activation went on.
    pub(super) fn activated_offline(&self) {
        self.lock().offline.activations += 1;
    }

    /// A statement was made.
    pub(super) fn signed_offline(&self) {
        self.lock().offline.signed_quotes += 1;
    }

    /// An attempt. `marble_type` and `uuid` are `None` until they are known to be real.
    pub(super) fn attempted(&self, marble_type: Option<&str>, uuid: Option<&str>) {
        self.count(marble_type, uuid, |counts| counts.attempts += 1);
    }

    /// A success; the attempt was counted before.
    pub(super) fn succeeded(&self, uuid: &str, event: ActivationEvent) {
        self.count(Some(&event.marble_type), Some(uuid), |counts| counts.successes += 1);
        let mut inner = self.lock();
        inner.event_bytes += event.quote.len();
        inner.events.push_back(event);
        while inner.events.len() > MAX_EVENTS || inner.event_bytes > MAX_EVENT_BYTES {
            let Some(oldest) = inner.events.pop_front() else { break };
            inner.event_bytes -= oldest.quote.len();
        }
    }

    fn count(&self, marble_type: Option<&str>, uuid: Option<&str>, add: impl FnOnce(&mut ActivationCounts)) {
        let mut key = (marble_type.unwrap_or(OTHER).to_owned(), uuid.unwrap_or(OTHER).to_owned());
        let mut inner = self.lock();
        if inner.activations.len() >= MAX_SERIES && !inner.activations.contains_key(&key) {
            key.1 = OTHER.to_owned();
        }
        add(inner.activations.entry(key).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here can be left half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(quote: usize) -> ActivationEvent {
        ActivationEvent {
            time: Timestamp::UNIX_EPOCH,
            marble_type: "backend".into(),
            uuid: "u".into(),
            quote: vec![0; quote].into(),
        }
    }

    #[test]
    fn attempts_and_successes_are_counted_by_type_and_instance() {
        let observer = Observer::default();
        observer.attempted(Some("backend"), Some("u"));
        observer.attempted(Some("backend"), Some("u"));
        observer.attempted(None, None);
        observer.succeeded("u", event(3));
        let counts = observer.activations();
        assert_eq!(counts[0].0, ("backend".to_owned(), "u".to_owned()));
        assert_eq!(counts[0].1, ActivationCounts { attempts: 2, successes: 1 });
        assert_eq!(counts[1].0, (OTHER.to_owned(), OTHER.to_owned()));
        assert_eq!(observer.events().len(), 1);
    }

    #[test]
    fn a_stranger_cannot_make_it_grow() {
        let observer = Observer::default();
        for n in 0..MAX_SERIES + 500 {
            observer.attempted(Some("backend"), Some(&n.to_string()));
        }
        assert_eq!(observer.activations().len(), MAX_SERIES + 1);
        for _ in 0..MAX_EVENTS + 10 {
            observer.succeeded("u", event(0));
        }
        assert_eq!(observer.events().len(), MAX_EVENTS);
        for _ in 0..10 {
            observer.succeeded("u", event(MAX_EVENT_BYTES / 2));
        }
        assert_eq!(observer.events().len(), 2);
        observer.succeeded("u", event(MAX_EVENT_BYTES + 1));
        assert_eq!(observer.events().len(), 0);
    }
}
