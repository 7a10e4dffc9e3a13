//! A backend on a hostile disk, with a clock and a background that move when the test says so.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use marblerun_sealing::{KeySealer, Plain, Sealers, Surroundings};
use marblerun_state::{AuditEntry, AuditEvent, Change, Draft, Phase, State};

use super::super::{Background, Clock, FileBackend, Ports, Task};
use crate::backend::{Backend, Failure, Group, WaitingRoom};
use crate::disk::hostile::Hostile;
use crate::slots::{SlotError, SlotPlan};
use crate::testing::{count, make};
use crate::{RecoverError, RollbackPolicy, StoreConfig, StoreMode, StoreTuning};

/// Time that stands still unless somebody sleeps or moves it.
#[derive(Debug, Default)]
pub(super) struct HandClock(AtomicU64);

impl HandClock {
    pub(super) fn pass(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + self.0.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn sleep(&self, time: Duration) {
        self.pass(time);
    }
}

/// Keeps background work until the test runs it.
#[derive(Default)]
pub(super) struct HandBackground(Mutex<Vec<Task>>);

impl HandBackground {
    /// Runs what has come in; tells whether there was anything.
    pub(super) fn work(&self) -> bool {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap());
        let any = !tasks.is_empty();
        tasks.into_iter().for_each(|task| task());
        any
    }
}

impl Background for HandBackground {
    fn run(&self, task: Task) -> io::Result<()> {
        self.0.lock().unwrap().push(task);
        Ok(())
    }
}

/// How a directory is opened.
#[derive(Clone)]
pub(super) struct Rig {
    pub(super) disk: Hostile,
    pub(super) config: StoreConfig,
    pub(super) tuning: StoreTuning,
}

impl Rig {
    pub(super) fn new() -> Self {
        let config = StoreConfig::new("unused".into(), Sealers::simulation(Plain), "test 1");
        Self { disk: Hostile::new(), config, tuning: StoreTuning { compact_bytes: 0, ..StoreTuning::default() } }
    }

    pub(super) fn with_sealer(mut self, sealer: impl KeySealer + 'static) -> Self {
        self.config.sealers = Sealers::simulation(sealer);
        self
    }

    pub(super) fn with_sealers(mut self, sealers: Vec<Arc<dyn KeySealer>>) -> Self {
        self.config.sealers = Sealers::new(Surroundings::Simulation, sealers).unwrap();
        self
    }

    pub(super) fn refusing_rollback(mut self) -> Self {
        self.config.rollback = RollbackPolicy::Refuse;
        self
    }

    /// The same on another disk.
    pub(super) fn on(&self, disk: Hostile) -> Self {
        Self { disk, ..self.clone() }
    }

    /// The power goes and comes back.
    pub(super) fn after_power_loss(&self, seed: u64) -> Self {
        self.on(self.disk.power_loss(seed))
    }

    /// The process was killed.
    pub(super) fn after_kill(&self) -> Self {
        self.on(self.disk.restart())
    }

    pub(super) fn open(&self) -> Session {
        self.try_open(&make).unwrap()
    }

    pub(super) fn try_open(&self, make: &dyn Fn(Phase) -> Result<State, String>) -> io::Result<Session> {
        let (clock, background) = (Arc::new(HandClock::default()), Arc::new(HandBackground::default()));
        let ports = Ports { fs: Arc::new(self.disk.clone()), clock: clock.clone(), background: background.clone() };
        let opening = FileBackend::open(self.config.clone(), self.tuning.clone(), ports, make)?;
        let (state, room) = (opening.state, opening.waiting_room.unwrap());
        Ok(Session { backend: opening.backend, state, room, clock, background })
    }
}

/// One run of a backend, as the engine would drive it.
pub(super) struct Session {
    pub(super) backend: FileBackend,
    pub(super) state: Arc<State>,
    pub(super) room: Arc<dyn WaitingRoom>,
    pub(super) clock: Arc<HandClock>,
    pub(super) background: Arc<HandBackground>,
}

impl Session {
    /// Stores one group.
    pub(super) fn commit(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<(), Failure> {
        let mut draft = Draft::new(&self.state);
        for change in changes {
            draft.record(change).unwrap();
        }
        let (next, changes) = draft.into_parts();
        let next = Arc::new(next);
        let result = self.backend.store(&Group { next: Arc::clone(&next), changes: changes.into() }).map(drop);
        if result.is_ok() {
            self.state = next;
        }
        self.backend.tend();
        result
    }

    /// Counts, which must work.
    pub(super) fn count(&mut self, value: u64) {
        self.commit([count(value)]).unwrap();
    }

    /// Changes key slots, as the store does.
    pub(super) fn slots(&mut self, plan: &SlotPlan) -> Result<(), SlotError> {
        let entry = AuditEntry::new(AuditEvent::SlotAdded, 0, "operator", "slot");
        let change = self.backend.keyring()?.prepare(plan, entry)?;
        let (state, result) = self.backend.change_slots(change);
        if let Some(state) = state {
            self.state = state;
        }
        self.backend.tend();
        result
    }

    pub(super) fn recover(&mut self, root: &marblerun_recovery::RecoveryRoot) -> Result<(), RecoverError> {
        self.state = self.backend.recover(root, Box::new(|_| Ok(Vec::new())))?;
        self.backend.tend();
        Ok(())
    }

    pub(super) fn mode(&self) -> StoreMode {
        self.backend.facts().mode
    }

    /// Code of the recovery mode.
    pub(super) fn code(&self) -> &'static str {
        match self.mode() {
            StoreMode::Recovery { code, .. } => code,
            other => panic!("not in recovery mode: {other:?}"),
        }
    }

    pub(super) fn warnings(&self) -> String {
        self.backend.facts().warnings.join("\n")
    }

    pub(super) fn close(mut self) {
        self.backend.close();
    }

    /// Time passes, and the backend looks after itself.
    pub(super) fn pass(&mut self, time: Duration) {
        self.clock.pass(time);
        self.backend.tend();
    }
}
