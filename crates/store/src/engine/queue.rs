//! The bounded queue between callers and the committer. Callers never wait for room: beyond the bound
//! they are told that the store is busy.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use marblerun_recovery::RecoveryRoot;
use tokio::sync::oneshot;

use super::job::Job;
use crate::keyring::Keyring;
use crate::slots::{SlotChange, SlotError};
use crate::{RecoverError, RecoveryCheck};

/// One thing for the committer to do.
pub(crate) enum Entry {
    /// Run in the next group.
    Job(Box<dyn Job>),
    /// Open the waiting state.
    Recover(RecoveryRoot, RecoveryCheck, oneshot::Sender<Result<(), RecoverError>>),
    /// Hand out what it takes to prepare a change of key slots.
    Keyring(oneshot::Sender<Result<Keyring, SlotError>>),
    /// Change key slots.
    Slots(Box<SlotChange>, oneshot::Sender<Result<(), SlotError>>),
    /// Finish and stop.
    Close(oneshot::Sender<()>),
}

/// Why an entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many wait.
    Busy,
    /// The committer has stopped, or is about to.
    Closed,
}

/// What the committer finds when it looks.
pub(crate) enum Next {
    /// The oldest entry.
    Entry(Entry),
    /// No entry, but somebody waits to hear that the published state is the newest.
    Validate,
    /// Nothing, and it was woken or its time has come.
    Nothing,
    /// Nothing, and nobody is left who could ask for anything.
    Abandoned,
}

/// Where one hears whether the published state is the newest, or why that cannot be told.
pub(crate) type Validator = oneshot::Sender<Result<(), String>>;

/// The queue.
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct Inner {
    entries: VecDeque<Entry>,
    validators: Vec<Validator>,
    closed: bool,
    abandoned: bool,
    woken: bool,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { inner: Mutex::default(), changed: Condvar::new(), capacity }
    }

    /// Adds a transaction.
    pub(crate) fn push_job(&self, job: Box<dyn Job>) -> Result<(), Refused> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refused::Closed);
        }
        if inner.entries.len() >= self.capacity {
            return Err(Refused::Busy);
        }
        inner.entries.push_back(Entry::Job(job));
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Adds a recovery. It may pass the bound: there is one ceremony at a time.
    pub(crate) fn push_recover(
        &self,
        root: RecoveryRoot,
        check: RecoveryCheck,
        answer: oneshot::Sender<Result<(), RecoverError>>,
    ) -> Result<(), Refused> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refused::Closed);
        }
        inner.entries.push_back(Entry::Recover(root, check, answer));
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Adds a question about key slots, or a change of them. It may pass the bound: operators ask, one at a time.
    pub(crate) fn push_slots(&self, entry: Entry) -> Result<(), Refused> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refused::Closed);
        }
        inner.entries.push_back(entry);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Asks for a validation that begins after this call.
    pub(crate) fn push_validator(&self, validator: Validator) -> Result<(), Refused> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refused::Closed);
        }
        inner.validators.push(validator);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Everyone who waits for a validation now: one that begins after this call serves them all.
    pub(crate) fn take_validators(&self) -> Vec<Validator> {
        std::mem::take(&mut self.lock().validators)
    }

    /// Takes no more entries, and asks the committer to finish those there are.
    /// A second call is refused.
    pub(crate) fn close(&self, answer: oneshot::Sender<()>) -> Result<(), Refused> {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.closed, true) {
            return Err(Refused::Closed);
        }
        inner.entries.push_back(Entry::Close(answer));
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// The last handle is gone.
    pub(crate) fn abandon(&self) {
        self.lock().abandoned = true;
        self.changed.notify_one();
    }

    /// Makes [`Queue::next`] return soon, though there is no entry.
    pub(crate) fn wake(&self) {
        self.lock().woken = true;
        self.changed.notify_one();
    }

    /// Waits for an entry, a wake-up, or the end of `patience` (`None`: without end).
    pub(crate) fn next(&self, patience: Option<Duration>) -> Next {
        let idle = |inner: &mut Inner| {
            inner.entries.is_empty() && inner.validators.is_empty() && !inner.abandoned && !inner.woken
        };
        let inner = self.lock();
        let mut inner = match patience {
            Some(patience) => {
                self.changed.wait_timeout_while(inner, patience, idle).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait_while(inner, idle).unwrap_or_else(PoisonError::into_inner),
        };
        inner.woken = false;
        match inner.entries.pop_front() {
            Some(entry) => Next::Entry(entry),
            None if !inner.validators.is_empty() => Next::Validate,
            None if inner.abandoned => Next::Abandoned,
            None => Next::Nothing,
        }
    }

    /// The oldest entry, if it is a transaction.
    pub(crate) fn next_job(&self) -> Option<Box<dyn Job>> {
        let mut inner = self.lock();
        match inner.entries.pop_front() {
            Some(Entry::Job(job)) => Some(job),
            Some(other) => {
                inner.entries.push_front(other);
                None
            }
            None => None,
        }
    }

    /// Puts transactions back in front, first first, to be run again.
    pub(crate) fn put_back(&self, jobs: impl DoubleEndedIterator<Item = Box<dyn Job>>) {
        let mut inner = self.lock();
        for job in jobs.rev() {
            inner.entries.push_front(Entry::Job(job));
        }
    }

    /// Takes no more entries and gives up those that wait.
    pub(crate) fn drain(&self) -> Vec<Entry> {
        let mut inner = self.lock();
        inner.closed = true;
        // Whoever waits for a validation hears that nobody will make one.
        inner.validators.clear();
        inner.entries.drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that can panic runs under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
