//! One request to a service, and all who wait for it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use marblerun_attestation::CollateralError;

use super::item::Item;

type Answer = Result<Item, CollateralError>;

#[derive(Default)]
pub(super) struct Flight {
    answer: Mutex<Option<Answer>>,
    landed: Condvar,
}

impl Flight {
    /// Waits for the answer; `None` if there was none in time.
    pub(super) fn wait(&self, patience: Duration) -> Option<Answer> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.landed.wait_timeout_while(answer, patience, |answer| answer.is_none());
        let (answer, _) = waited.unwrap_or_else(PoisonError::into_inner);
        answer.clone()
    }

    /// Tells all.
    pub(super) fn land(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.landed.notify_all();
    }
}
