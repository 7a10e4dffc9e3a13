//! A shared place in memory, for tests: what an API server answers, and everything that can go wrong on the way, when
//! the test says so. No thread, no clock, no randomness: the same calls give the same answers.
//!
//! A [`SimulatedStore`] is the place; each instance has a [`SimulatedPlace`], which may lose requests and answers, may be
//! refused verbs, and may be shown another history than the others.

mod fault;
mod operator;
mod place;
#[cfg(test)]
mod tests;
mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cluster::Version;

pub use fault::{Call, Fault, Logged, Outcome};
pub use place::SimulatedPlace;
pub use world::{Archived, Report, Written};
use world::{Request, World};

/// A place that several instances share. Clones are the same place.
#[derive(Clone)]
pub struct SimulatedStore(Arc<Mutex<Inner>>);

struct Inner {
    /// What there is.
    world: World,
    /// What is shown to instances that [`SimulatedStore::fork`] led astray.
    forks: Vec<World>,
    instances: BTreeMap<String, Instance>,
    late: Vec<Late>,
    log: Vec<Logged>,
    reports: Vec<Report>,
}

#[derive(Default)]
struct Instance {
    /// Which world it sees: 0 is what there is, the others count the forks from 1.
    fork: usize,
    /// What it reads instead of what there is.
    frozen: Option<World>,
    stalled: bool,
    /// How many calls still arrive, if they are counted.
    left: Option<usize>,
    denied: BTreeSet<Call>,
    faults: VecDeque<(Call, Fault)>,
    before: VecDeque<(Call, Box<dyn FnOnce() + Send>)>,
}

struct Late {
    instance: String,
    fork: usize,
    request: Request,
}

impl Inner {
    fn instance(&mut self, name: &str) -> &mut Instance {
        self.instances.entry(name.to_owned()).or_default()
    }

    fn fork_of(&self, instance: &str) -> usize {
        self.instances.get(instance).map_or(0, |it| it.fork)
    }

    /// What an instance reads from.
    fn seen_by(&self, instance: &str) -> &World {
        let frozen = self.instances.get(instance).and_then(|it| it.frozen.as_ref());
        let fork = self.fork_of(instance).checked_sub(1).and_then(|index| self.forks.get(index));
        frozen.or(fork).unwrap_or(&self.world)
    }

    /// What is changed by writes to that fork.
    fn world_mut(&mut self, fork: usize) -> &mut World {
        fork.checked_sub(1).and_then(|index| self.forks.get_mut(index)).unwrap_or(&mut self.world)
    }
}

impl Default for SimulatedStore {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedStore {
    /// An empty place with the limits of a Secret, without parts.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            world: World::new(),
            forks: Vec::new(),
            instances: BTreeMap::new(),
            late: Vec::new(),
            log: Vec::new(),
            reports: Vec::new(),
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// The place as the instance of that name reaches it. Two handles of one name are one instance that started again.
    #[must_use]
    pub fn place(&self, instance: &str) -> SimulatedPlace {
        self.lock().instance(instance);
        SimulatedPlace::new(self.clone(), instance)
    }

    /// The next call of that kind by that instance meets that fault. Faults for one kind queue.
    pub fn fault(&self, instance: &str, call: Call, fault: Fault) {
        self.lock().instance(instance).faults.push_back((call, fault));
    }

    /// Runs something right before the next call of that kind by that instance, such as a commit of somebody else
    /// between its read and its write.
    pub fn before(&self, instance: &str, call: Call, run: impl FnOnce() + Send + 'static) {
        self.lock().instance(instance).before.push_back((call, Box::new(run)));
    }

    /// Nothing of what that instance sends arrives, until [`Self::resume`].
    pub fn stall(&self, instance: &str) {
        self.lock().instance(instance).stalled = true;
    }

    /// Only that many more calls of that instance arrive, until [`Self::resume`]: a process that ends there.
    pub fn stall_after(&self, instance: &str, calls: usize) {
        self.lock().instance(instance).left = Some(calls);
    }

    /// Ends [`Self::stall`] and [`Self::stall_after`].
    pub fn resume(&self, instance: &str) {
        let mut inner = self.lock();
        let it = inner.instance(instance);
        (it.stalled, it.left) = (false, None);
    }

    /// That instance is not permitted that call, until [`Self::permit`].
    pub fn deny(&self, instance: &str, call: Call) {
        self.lock().instance(instance).denied.insert(call);
    }

    /// Ends [`Self::deny`].
    pub fn permit(&self, instance: &str, call: Call) {
        self.lock().instance(instance).denied.remove(&call);
    }

    /// How many requests are on their way ([`Fault::Late`]).
    #[must_use]
    pub fn late(&self) -> usize {
        self.lock().late.len()
    }

    /// The oldest late request arrives. `None` if there is none; `Err` tells what it was refused for.
    pub fn land(&self) -> Option<Result<Option<Version>, String>> {
        let mut inner = self.lock();
        if inner.late.is_empty() {
            return None;
        }
        let late = inner.late.remove(0);
        Some(inner.world_mut(late.fork).land(&late.instance, &late.request))
    }

    /// All calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Logged> {
        self.lock().log.clone()
    }

    /// Takes the log, which begins anew.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Logged> {
        std::mem::take(&mut self.lock().log)
    }

    /// What operators were told.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.lock().reports.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that panicked while it held the lock has failed already; the others may look.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SimulatedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedStore").finish_non_exhaustive()
    }
}
