//! A counter that can only go up, kept where the host cannot put it back: what stops who restores an old state
//! *together with* the old `sealed_key` beside it.
//!
//! The witness in `sealed_key` carries the value the counter is about to have. The order is: write the witness with
//! `value + 1`, make it durable, then [`increment`](MonotonicCounter::increment). A crash in between leaves a witness
//! that is one ahead, which [`judge`] lets pass and the next start makes good; every older witness is behind, for ever.

use zeroize::Zeroizing;

/// A device that has counters: one for each key. What the key opens belongs to who has the key alone.
pub trait CounterDevice: Send + Sync + std::fmt::Debug {
    /// One word for logs and status, such as `tpm`.
    fn name(&self) -> &'static str;

    /// The counter of that key. Nothing is asked of the device yet.
    ///
    /// # Errors
    /// [`CounterError::Unavailable`] if there can be none of the settings given.
    fn counter(&self, key: Zeroizing<[u8; 32]>) -> Result<Box<dyn MonotonicCounter>, CounterError>;
}

/// A counter that only goes up. May block; not for async threads.
pub trait MonotonicCounter: Send + Sync + std::fmt::Debug {
    /// One word for logs and status, such as `tpm`.
    fn name(&self) -> &'static str;

    /// Makes it if there is none; its value. One that is made anew begins above all values it ever had.
    ///
    /// # Errors
    /// [`CounterError::Foreign`], [`CounterError::Unavailable`].
    fn ensure(&self) -> Result<u64, CounterError>;

    /// Public name of this very counter: another device has another one. It stands beside the value, so that a value
    /// of another counter is not compared.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn id(&self) -> Result<[u8; 16], CounterError>;

    /// Its value. Values need not begin at zero, nor be dense.
    ///
    /// # Errors
    /// [`CounterError::Missing`] if it was removed or never made, which is a reason to distrust the state that names
    /// it; [`CounterError::Foreign`], [`CounterError::Unavailable`].
    fn read(&self) -> Result<u64, CounterError>;

    /// Adds one; the value after it. When this returns, the value survives a loss of power.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn increment(&self) -> Result<u64, CounterError>;
}

/// Why a counter does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CounterError {
    /// There is none.
    #[error("the monotonic counter does not exist: {0}")]
    Missing(String),
    /// Something else is in its place.
    #[error("the monotonic counter is not the one that was made: {0}")]
    Foreign(String),
    /// The device did not answer.
    #[error("the monotonic counter {backend} is not available: {reason}")]
    Unavailable {
        /// Name of the backend.
        backend: &'static str,
        /// What it said.
        reason: String,
    },
}

/// What a witness is worth beside the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It is the newest.
    Current,
    /// It is the newest, and the increment that belongs to it is still to be made.
    Unfinished,
    /// A newer one was written since: the state beside it is old.
    Stale {
        /// How many newer ones.
        by: u64,
    },
    /// It names a value that the counter never had: it was not made with this counter.
    Impossible,
}

/// Compares the value in a witness with the counter's.
#[must_use]
pub fn judge(witness: u64, counter: u64) -> Freshness {
    match (witness.checked_sub(counter), counter.checked_sub(witness)) {
        (Some(0), _) => Freshness::Current,
        (Some(1), _) => Freshness::Unfinished,
        (Some(_), _) => Freshness::Impossible,
        (None, by) => Freshness::Stale { by: by.unwrap_or(u64::MAX) },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn only_the_newest_witness_counts_even_if_its_increment_is_missing() {
        assert_eq!(judge(7, 7), Freshness::Current);
        assert_eq!(judge(8, 7), Freshness::Unfinished);
        assert_eq!(judge(6, 7), Freshness::Stale { by: 1 });
        assert_eq!(judge(0, u64::MAX), Freshness::Stale { by: u64::MAX });
        assert_eq!(judge(9, 7), Freshness::Impossible);
        assert_eq!(judge(u64::MAX, 0), Freshness::Impossible);
    }

    #[derive(Debug)]
    struct InMemory(AtomicU64);

    impl MonotonicCounter for InMemory {
        fn name(&self) -> &'static str {
            "memory"
        }
        fn ensure(&self) -> Result<u64, CounterError> {
            self.read()
        }
        fn id(&self) -> Result<[u8; 16], CounterError> {
            Ok([1; 16])
        }
        fn read(&self) -> Result<u64, CounterError> {
            Ok(self.0.load(Ordering::SeqCst))
        }
        fn increment(&self) -> Result<u64, CounterError> {
            Ok(self.0.fetch_add(1, Ordering::SeqCst) + 1)
        }
    }

    /// Writes witnesses in the order above, with the power lost at every point, and keeps every witness ever written.
    #[test]
    fn wherever_the_power_goes_exactly_the_witnesses_that_may_be_on_disk_open() {
        let counter = InMemory(AtomicU64::new(5));
        let mut all = vec![5];
        for crash_before_increment in [false, true, false, true, true, false] {
            // A start: what is on disk is the last one written, and it must be good.
            let on_disk = *all.last().unwrap();
            match judge(on_disk, counter.read().unwrap()) {
                Freshness::Current => {}
                Freshness::Unfinished => assert_eq!(counter.increment().unwrap(), on_disk),
                other => panic!("{on_disk} is {other:?}"),
            }
            for old in all.iter().filter(|old| **old < on_disk) {
                assert!(matches!(judge(*old, counter.read().unwrap()), Freshness::Stale { .. }), "{old}");
            }
            all.push(counter.read().unwrap() + 1);
            if !crash_before_increment {
                counter.increment().unwrap();
            }
        }
    }
}
