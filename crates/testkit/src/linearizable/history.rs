//! What was asked and answered, in the order of a clock that all clients of a test share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A call with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<C, A> {
    /// The object.
    pub key: String,
    /// Who was asked, for people.
    pub instance: String,
    /// What was asked.
    pub call: C,
    /// What was answered; none if the outcome is not known.
    pub answer: Option<A>,
    /// Before anything of it can have happened.
    pub called: u64,
    /// After all of it has happened; `u64::MAX` if the outcome is not known.
    pub answered: u64,
}

/// All calls of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History<C, A> {
    /// In the order in which they were made.
    pub operations: Vec<Operation<C, A>>,
}

/// Takes down calls and answers of many clients at once.
#[derive(Debug)]
pub struct Recorder<C, A> {
    shared: Arc<Shared<C, A>>,
}

#[derive(Debug)]
struct Shared<C, A> {
    /// Times start after 0, which is the time of initial values.
    clock: AtomicU64,
    operations: Mutex<Vec<Option<Operation<C, A>>>>,
}

impl<C, A> Shared<C, A> {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn operations(&self) -> MutexGuard<'_, Vec<Option<Operation<C, A>>>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C, A> Recorder<C, A> {
    /// Nothing is taken down yet.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { clock: AtomicU64::new(1), operations: Mutex::default() }) }
    }

    /// A call is about to be made.
    pub fn call(&self, key: &str, instance: &str, call: C) -> Pending<C, A> {
        let mut operations = self.shared.operations();
        let operation = Operation {
            key: key.to_owned(),
            instance: instance.to_owned(),
            call,
            answer: None,
            called: self.shared.tick(),
            answered: u64::MAX,
        };
        operations.push(Some(operation));
        Pending { shared: self.shared.clone(), number: operations.len() - 1 }
    }
}

impl<C: Clone, A: Clone> Recorder<C, A> {
    /// What was taken down so far. Calls without an answer are open.
    #[must_use]
    pub fn history(&self) -> History<C, A> {
        History { operations: self.shared.operations().iter().flatten().cloned().collect() }
    }
}

impl<C, A> Default for Recorder<C, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C, A> Clone for Recorder<C, A> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

/// A call that was made. Dropped, or if its client ends, its outcome is not known.
#[derive(Debug)]
#[must_use = "dropped, the outcome counts as unknown"]
pub struct Pending<C, A> {
    shared: Arc<Shared<C, A>>,
    number: usize,
}

impl<C, A> Pending<C, A> {
    /// It was answered.
    pub fn answered(self, answer: A) {
        let now = self.shared.tick();
        if let Some(Some(operation)) = self.shared.operations().get_mut(self.number) {
            (operation.answer, operation.answered) = (Some(answer), now);
        }
    }

    /// It is known to have had no effect: it was refused.
    pub fn refused(self) {
        if let Some(operation) = self.shared.operations().get_mut(self.number) {
            *operation = None;
        }
    }

    /// Its answer was lost, or said that the outcome is not known.
    pub fn unknown(self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_stays_open_and_what_was_refused_is_no_call() {
        let recorder: Recorder<&str, u8> = Recorder::new();
        let (first, second) = (recorder.call("k", "i", "first"), recorder.call("k", "i", "second"));
        second.answered(2);
        recorder.call("k", "i", "refused").refused();
        recorder.call("k", "i", "lost").unknown();
        first.answered(1);
        let told: Vec<(&str, Option<u8>, u64, u64)> = recorder
            .history()
            .operations
            .iter()
            .map(|operation| (operation.call, operation.answer, operation.called, operation.answered))
            .collect();
        assert_eq!(told, [("first", Some(1), 1, 6), ("second", Some(2), 2, 3), ("lost", None, 5, u64::MAX)]);
    }
}
