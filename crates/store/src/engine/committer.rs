//! The committer: the one thread that changes the state.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use marblerun_state::State;

use super::group::Gathered;
use super::job::{Fate, Job};
use super::queue::{Entry, Next, Queue, Validator};
use crate::backend::{Backend, Failure, Group, Tended};
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
                Next::Entry(Entry::Keyring(answer)) => {
                    let _ = answer.send(self.backend.keyring());
                    None
                }
                Next::Entry(Entry::Slots(change, answer)) => {
                    let (state, result) = self.backend.change_slots(*change);
                    if let Some(state) = state {
                        self.shared.state.store(state);
                    }
                    self.publish_facts();
                    let _ = answer.send(result);
                    None
                }
                Next::Entry(Entry::Close(answer)) => Some(Some(answer)),
                Next::Validate => {
                    let validators = self.shared.queue.take_validators();
                    let valid = self.validate().map(drop);
                    answer_validators(validators, &valid);
                    None
                }
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
        // A write that succeeds proves that what it replaced was the newest: it serves them, too.
        let validators = self.shared.queue.take_validators();
        let base = self.shared.state.load_full();
        let mut gathered = Gathered::gather(&base, first, &self.shared.queue, &self.backend);
        if gathered.is_empty() {
            let valid = self.validate();
            answer_validators(validators, &valid.as_ref().map(drop).map_err(String::clone));
            return match valid {
                Ok(false) => gathered.answer(&Fate::Decided),
                Ok(true) => self.again(gathered),
                Err(why) => gathered.answer_all(&Fate::Unavailable(why)),
            };
        }
        let (next, changes) = gathered.outcome();
        let stored = self.backend.store(&Group { next, changes });
        let valid = match &stored {
            Ok(_) | Err(Failure::Stale(_)) => Ok(()),
            Err(Failure::NotStored(why) | Failure::Unknown(why) | Failure::Unavailable(why)) => Err(why.clone()),
        };
        answer_validators(validators, &valid);
        let fate = match stored {
            Ok(newest) => {
                self.shared.state.store(newest);
                Fate::Decided
            }
            Err(Failure::Stale(newest)) => {
                self.shared.state.store(newest);
                self.publish_facts();
                return self.again(gathered);
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
        if self.backend.is_shared() { gathered.answer_all(&fate) } else { gathered.answer(&fate) }
    }

    /// Has the transactions run again on the newer state, but for those that were tried for too long.
    fn again(&self, gathered: Gathered) {
        let (late, rest): (Vec<_>, Vec<_>) = gathered.into_jobs().partition(|job| job.is_overdue());
        late.into_iter().for_each(|job| job.answer(Fate::Busy));
        self.shared.queue.put_back(rest.into_iter());
    }

    /// Whether there was a newer state; it is published then.
    fn validate(&mut self) -> Result<bool, String> {
        let newer = self.backend.validate();
        let found = match newer {
            Ok(Some(newer)) => {
                self.shared.state.store(newer);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(why) => Err(why),
        };
        if self.backend.is_shared() {
            self.publish_facts();
        }
        found
    }

    fn tend(&mut self) -> Option<Duration> {
        let Tended { patience, publish } = self.backend.tend();
        if let Some(newest) = publish {
            self.shared.state.store(newest);
        }
        self.publish_facts();
        patience
    }

    fn publish_facts(&self) {
        self.shared.facts.store(Arc::new(self.backend.facts()));
    }
}

fn answer_validators(validators: Vec<Validator>, valid: &Result<(), String>) {
    for validator in validators {
        // Who has gone away wants to hear nothing.
        let _ = validator.send(valid.clone());
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
                // Who waits for these is told by their end.
                Entry::Keyring(answer) => drop(answer),
                Entry::Slots(_, answer) => drop(answer),
                Entry::Close(answer) => drop(answer),
            }
        }
    }
}
