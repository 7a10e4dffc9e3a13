//! The committer: the one thread that changes the state.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use marblerun_state::State;

use super::group::Gathered;
use super::job::{Fate, Job};
use super::queue::{Entry, Next, Queue};
use crate::backend::{Backend, Failure, Group};
use crate::facts::{Counters, Facts};
use crate::{RecoverError, StoreMode};

/// What readers see. Replaced whole, never locked.
pub(crate) struct Shared {
    /// The published state.
    pub(crate) state: ArcSwap<State>,
    /// Facts about the store.
    pub(crate) facts: ArcSwap<Facts>,
    /// Numbers that only grow.
    pub(crate) counters: Arc<Counters>,
    /// What waits for the committer.
    pub(crate) queue: Arc<Queue>,
}

/// Runs on a thread of its own until it is closed or abandoned.
pub(crate) struct Committer<B> {
    shared: Arc<Shared>,
    backend: B,
}

impl<B: Backend> Committer<B> {
    pub(crate) fn new(shared: Arc<Shared>, backend: B) -> Self {
        Self { shared, backend }
    }

    /// The loop.
    pub(crate) fn run(mut self) {
        // Whatever ends this thread, nobody is left waiting.
        let _guard = StopGuard(Arc::clone(&self.shared));
        let mut patience = self.tend();
        loop {
            let done = match self.shared.queue.next(patience) {
                Next::Entry(Entry::Job(job)) => {
                    self.commit(job);
                    None
                }
                Next::Entry(Entry::Recover(root, check, answer)) => {
                    let result = self.backend.recover(&root, check).map(|state| self.shared.state.store(state));
                    self.publish_facts();
                    let _ = answer.send(result);
                    None
                }
                Next::Entry(Entry::Close(answer)) => Some(Some(answer)),
                Next::Abandoned => Some(None),
                Next::Nothing => None,
            };
            if let Some(answer) = done {
                self.backend.close();
                self.publish_facts();
                // The lock is given back before anyone hears that the store is closed.
                drop(self.backend);
                if let Some(answer) = answer {
                    let _ = answer.send(());
                }
                return;
            }
            patience = self.tend();
        }
    }

    fn commit(&mut self, first: Box<dyn Job>) {
        let base = self.shared.state.load_full();
        let mut gathered = Gathered::gather(&base, first, &self.shared.queue, &self.backend);
        if gathered.is_empty() {
            return gathered.answer(&Fate::Decided);
        }
        let (next, changes) = gathered.outcome();
        let fate = match self.backend.store(&Group { next: Arc::clone(&next), changes }) {
            Ok(()) => {
                self.shared.state.store(next);
                Fate::Decided
            }
            Err(Failure::Stale(newest)) => {
                self.shared.state.store(newest);
                return self.shared.queue.put_back(gathered.into_jobs());
            }
            Err(Failure::NotStored(why)) => Fate::NotStored(why),
            Err(Failure::Unknown(why)) => Fate::Unknown(why),
            Err(Failure::Unavailable(why)) => Fate::Unavailable(why),
        };
        if matches!(fate, Fate::Decided) {
            Counters::add(&self.shared.counters.groups, 1);
            Counters::add(&self.shared.counters.commits, gathered.writers());
        }
        // Who reads the status after an answer finds the answer's commit in it.
        self.publish_facts();
        gathered.answer(&fate);
    }

    fn tend(&mut self) -> Option<Duration> {
        let patience = self.backend.tend();
        self.publish_facts();
        patience
    }

    fn publish_facts(&self) {
        self.shared.facts.store(Arc::new(self.backend.facts()));
    }
}

struct StopGuard(Arc<Shared>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Reads go on; that nothing can be written any more must be told.
            let reason = "writing ended by a fault in this program; restart it".to_owned();
            let facts = Facts { mode: StoreMode::ReadOnly { reason }, ..Facts::clone(&self.0.facts.load()) };
            self.0.facts.store(Arc::new(facts));
        }
        for entry in self.0.queue.drain() {
            match entry {
                Entry::Job(job) => job.answer(Fate::Unavailable("the store is closed".to_owned())),
                Entry::Recover(_, _, answer) => {
                    let _ = answer.send(Err(RecoverError::NotStored("the store is closed".to_owned())));
                }
                Entry::Close(answer) => drop(answer),
            }
        }
    }
}
