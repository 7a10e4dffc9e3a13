//! A deployment whose instances, hosts and peers a test drives step by step.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use marblerun_recovery::RecoveryRoot;
use marblerun_sealing::{HostKeyFile, KeySealer, Sealers, Surroundings};
use marblerun_state::{AuditEntry, AuditEvent, Change, Draft, Phase, State};

use crate::backend::{Backend, Failure, Group};
use crate::cluster::handle::{Decision, Desk, Errand};
use crate::cluster::simulated::SimulatedStore;
use crate::cluster::{
    ClusterBackend, ClusterConfig, ClusterTuning, ClusterView, DecisionError, Peer, PeerAnswer, PeerGreeting,
    SealIdentity,
};
use crate::engine::Queue;
use crate::keyring::Keyring;
use crate::slots::{SlotError, SlotPlan};
use crate::testing::{count, counted, make_another, manifest, recovery};
use crate::{RecoverError, RollbackPolicy, StoreMode};

/// What an instance seals with, by the file that plays its host.
type Backends = Rc<dyn Fn(&Path) -> Vec<Arc<dyn KeySealer>>>;

/// A deployment.
pub(super) struct Deployment {
    pub(super) place: SimulatedStore,
    hosts: tempfile::TempDir,
    backends: Backends,
    pub(super) rollback: RollbackPolicy,
    pub(super) tuning: ClusterTuning,
}

/// One instance.
pub(super) struct Instance {
    pub(super) name: String,
    pub(super) backend: ClusterBackend,
    desk: Arc<Desk>,
    /// Published.
    pub(super) state: Arc<State>,
}

/// Everything is due at once.
pub(super) fn impatient() -> ClusterTuning {
    ClusterTuning {
        greeting_wait: Duration::ZERO,
        validate_every: Duration::ZERO,
        look_again: (Duration::ZERO, Duration::ZERO),
        entry_every: Duration::ZERO,
        seen_every: Duration::ZERO,
        doubt: Duration::from_millis(30),
        strange: Duration::ZERO,
        stale: Duration::ZERO,
        abandoned: Duration::ZERO,
    }
}

impl Deployment {
    pub(super) fn new() -> Self {
        Self {
            place: SimulatedStore::new(),
            hosts: tempfile::tempdir().unwrap(),
            backends: Rc::new(|host| vec![Arc::new(HostKeyFile::new(host))]),
            rollback: RollbackPolicy::Warn,
            tuning: impatient(),
        }
    }

    /// What instances seal with that start from now on.
    pub(super) fn seal_with(&mut self, backends: impl Fn(&Path) -> Vec<Arc<dyn KeySealer>> + 'static) {
        self.backends = Rc::new(backends);
    }

    /// The same hosts over another place.
    pub(super) fn with_place(&self, place: SimulatedStore) -> Self {
        let hosts = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.hosts.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), hosts.path().join(file.file_name())).unwrap();
        }
        let backends = Rc::clone(&self.backends);
        Self { place, hosts, backends, rollback: self.rollback, tuning: self.tuning.clone() }
    }

    fn host(&self, host: &str) -> PathBuf {
        self.hosts.path().join(host)
    }

    /// The host is gone: another one of that name seals with another key.
    pub(super) fn lose_host(&self, host: &str) {
        let _ = std::fs::remove_file(self.host(host));
    }

    /// Starts an instance that has heard of nobody yet.
    pub(super) fn boot(&self, name: &str, host: &str) -> Instance {
        self.boot_as(name, host, SealIdentity::default())
    }

    pub(super) fn boot_as(&self, name: &str, host: &str, identity: SealIdentity) -> Instance {
        let config = ClusterConfig {
            backend: "simulated",
            sealers: Sealers::new(Surroundings::Simulation, (self.backends)(&self.host(host))).unwrap(),
            identity,
            rollback: self.rollback,
            writer: "test".to_owned(),
            recovery_in_header: true,
            deny_reset: false,
            inline_max: 950_000,
            queue: 16,
        };
        let queue = Arc::new(Queue::new(16));
        let place = Box::new(self.place.place(name));
        // At once, so that a test knows when.
        let aside = Box::new(|task: Box<dyn FnOnce() + Send>| task());
        let (opening, desk) =
            ClusterBackend::open(place, config, self.tuning.clone(), queue, Box::new(make_another), aside).unwrap();
        Instance { name: name.to_owned(), backend: opening.backend, desk, state: opening.state }
    }

    /// Starts an instance that finds nobody else, and lets it look.
    pub(super) fn start_alone(&self, name: &str, host: &str) -> Instance {
        let mut instance = self.boot(name, host);
        instance.hear(Vec::new());
        instance.tend();
        instance
    }

    /// Starts one among others that run.
    pub(super) fn start_among(&self, name: &str, host: &str, others: &mut [&mut Instance]) -> Instance {
        let mut instance = self.boot(name, host);
        {
            let mut all: Vec<&mut Instance> = others.iter_mut().map(|other| &mut **other).collect();
            all.push(&mut instance);
            gossip(&mut all);
            gossip(&mut all);
            gossip(&mut all);
        }
        instance
    }

    /// A deployment that runs: an instance with a manifest that names one recovery party, and a count of 1.
    pub(super) fn running(&self, name: &str, host: &str) -> Instance {
        let mut instance = self.start_alone(name, host);
        instance.commit([manifest(""), recovery("alice")]).unwrap();
        instance.count(1).unwrap();
        instance
    }
}

impl Instance {
    pub(super) fn view(&self) -> Arc<ClusterView> {
        self.desk.now()
    }

    pub(super) fn mode(&self) -> StoreMode {
        self.backend.facts().mode
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        self.backend.facts().warnings
    }

    pub(super) fn phase(&self) -> Phase {
        self.state.phase()
    }

    pub(super) fn counted(&self) -> u64 {
        counted(&self.state)
    }

    /// The code of recovery mode.
    pub(super) fn code(&self) -> &'static str {
        match self.mode() {
            StoreMode::Recovery { code, .. } => code,
            other => panic!("{}: not in recovery mode but {other:?}", self.name),
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        self.mode() == StoreMode::Durable
    }

    pub(super) fn is_diverged(&self) -> bool {
        matches!(self.mode(), StoreMode::Diverged { .. })
    }

    pub(super) fn tend(&mut self) {
        if let Some(newest) = self.backend.tend().publish {
            self.publish(newest);
        }
    }

    /// What is published goes on from what was, unless a life that somebody confirmed began.
    fn publish(&mut self, newest: Arc<State>) {
        self.state = newest;
    }

    pub(super) fn validate(&mut self) -> Result<(), String> {
        if let Some(newest) = self.backend.validate()? {
            self.publish(newest);
        }
        Ok(())
    }

    /// One group, run again on newer states as the engine does.
    pub(super) fn commit(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<(), Failure> {
        let changes: Vec<Change> = changes.into_iter().collect();
        for _ in 0..50 {
            let mut draft = Draft::new(&self.state);
            for change in &changes {
                draft.record(change.clone()).map_err(|error| Failure::NotStored(error.to_string()))?;
            }
            let (next, changes) = draft.into_parts();
            match self.backend.store(&Group { next: Arc::new(next), changes: changes.into() }) {
                Ok(newest) => {
                    self.publish(newest);
                    return Ok(());
                }
                Err(Failure::Stale(newest)) => self.publish(newest),
                Err(other) => return Err(other),
            }
        }
        panic!("{}: others were first fifty times", self.name)
    }

    pub(super) fn count(&mut self, value: u64) -> Result<(), Failure> {
        self.commit([count(value)])
    }

    pub(super) fn recover(&mut self, root: &RecoveryRoot) -> Result<(), RecoverError> {
        let newest = self.backend.recover(root, Box::new(|_| Ok(vec!["alice".to_owned()])))?;
        self.publish(newest);
        Ok(())
    }

    pub(super) fn hear(&mut self, peers: Vec<Peer>) {
        self.desk.leave_word(Errand::Heard(peers));
    }

    pub(super) fn greeting(&self) -> PeerGreeting {
        let view = self.view();
        PeerGreeting {
            boot: view.boot,
            standing: view.standing.clone(),
            serving: view.serving,
            recovering: matches!(self.mode(), StoreMode::Recovery { .. }),
            keks: view.kek_ids(),
            format: view.format,
            version: "test".to_owned(),
        }
    }

    pub(super) fn peer(&self) -> Peer {
        Peer { address: self.name.clone(), answer: PeerAnswer::Greeted(Box::new(self.greeting())) }
    }

    fn decide(&mut self, decision: Decision) -> Result<(), DecisionError> {
        let (sender, mut answer) = tokio::sync::oneshot::channel();
        self.desk.leave_word(Errand::Decide(decision, sender));
        self.tend();
        answer.try_recv().expect("the decision is answered")
    }

    pub(super) fn accept(&mut self) -> Result<(), DecisionError> {
        self.decide(Decision::Accept { by: "admin".to_owned() })
    }

    pub(super) fn reject(&mut self) -> Result<(), DecisionError> {
        self.decide(Decision::Reject { by: "admin".to_owned() })
    }

    /// The key slots, without trying them.
    pub(super) fn keyring(&mut self) -> Keyring {
        self.try_keyring().unwrap()
    }

    pub(super) fn try_keyring(&mut self) -> Result<Keyring, SlotError> {
        self.backend.keyring()
    }

    /// Changes key slots, as the store does.
    pub(super) fn slots(&mut self, plan: &SlotPlan) -> Result<(), SlotError> {
        let entry = AuditEntry::new(AuditEvent::SlotAdded, 0, "operator", "slot");
        let change = self.backend.keyring()?.prepare(plan, entry)?;
        let (state, result) = self.backend.change_slots(change);
        if let Some(state) = state {
            self.publish(state);
        }
        self.tend();
        result
    }

    pub(super) fn rotate(&mut self, revoke: bool) -> Result<(), DecisionError> {
        self.decide(Decision::Rotate { by: "admin".to_owned(), revoke })
    }

    /// A clean stop.
    pub(super) fn stop(mut self) {
        self.backend.close();
    }
}

/// One round among instances that run: everyone hears everyone, keys that are wanted are given, all do what is due.
pub(super) fn gossip(instances: &mut [&mut Instance]) {
    let peers: Vec<Peer> = instances.iter().map(|instance| instance.peer()).collect();
    let keks: Vec<_> = instances.iter().map(|instance| instance.view()).collect();
    for (at, instance) in instances.iter_mut().enumerate() {
        let mut heard = peers.clone();
        if let Some(mine) = heard.get_mut(at) {
            mine.answer = PeerAnswer::Myself;
        }
        instance.hear(heard);
        let wanted = instance.view().wanted.clone();
        let givers = keks.iter().enumerate().filter(|(other, view)| *other != at && view.serving);
        let given: Vec<_> =
            givers.flat_map(|(_, view)| view.keks.iter().filter(|kek| wanted.contains(&kek.id())).cloned()).collect();
        if !given.is_empty() {
            instance.desk.leave_word(Errand::Offer { from: "peer".to_owned(), keks: given });
        }
    }
    for instance in instances.iter_mut() {
        instance.tend();
    }
}
