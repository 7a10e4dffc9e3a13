//! The store of one Coordinator: reads never wait, commits are grouped.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use marblerun_recovery::RecoveryRoot;
use marblerun_state::{AuditEntry, Draft, Phase, State};
use tokio::sync::{Mutex, oneshot};

use crate::backend::{Backend, WaitingRoom};
use crate::backup::{self, BackupError, Copying};
use crate::cluster::{Aside, Cluster, ClusterBackend, ClusterConfig, ClusterTuning, Desk, SharedPlace};
use crate::disk::RealDirectory;
use crate::engine::{self, Committer, Entry, Queue, Refused, Shared};
use crate::file::{FileBackend, Opening, Ports};
use crate::keyring::Keyring;
use crate::memory::MemoryBackend;
use crate::slots::{SlotError, SlotPlan};
use crate::{
    CommitError, NotCurrent, RecoverError, RecoveryCheck, RecoveryMaterial, StoreConfig, StoreMode, StoreStatus,
    StoreTuning,
};

/// The store. Cheap to clone (a handle). When the last handle is dropped, what waits is still stored.
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    waiting_room: Option<Arc<dyn WaitingRoom>>,
    /// Where the state lies, if it lies in a directory.
    dir: Option<PathBuf>,
    /// Where word is left for the committer, if others write the same state.
    desk: Option<Arc<Desk>>,
    /// Held over a change of key slots, since each is prepared on what the one before left.
    slots: Mutex<()>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.abandon();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("facts", &self.handle.shared.facts.load()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the directory. Damage, a missing key, a rolled-back state lead to recovery mode, never to an error.
    /// `make` builds a temporary state for a phase ([`Phase::AcceptingManifest`] where there is no trace
    /// of an earlier state, [`Phase::Recovery`] where there is one that cannot be opened).
    ///
    /// # Errors
    /// Only if the directory cannot be used at all (permissions, lock held by another Coordinator).
    pub fn open(config: StoreConfig, make: &dyn Fn(Phase) -> Result<State, String>) -> Result<Self, io::Error> {
        Self::open_with(config, StoreTuning::default(), make)
    }

    /// [`Store::open`] with other intervals and bounds.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(
        config: StoreConfig,
        tuning: StoreTuning,
        make: &dyn Fn(Phase) -> Result<State, String>,
    ) -> Result<Self, io::Error> {
        let queue = Arc::new(Queue::new(tuning.queue));
        let dir = config.dir.clone();
        let ports = Ports::real(Arc::new(RealDirectory::new(&config.dir)), Arc::clone(&queue));
        let opening = FileBackend::open(config, tuning, ports, make)?;
        let shared = Self::shared(queue, &opening);
        Self::spawn(shared, opening, Some(dir), None).map_err(|(_, error)| error)
    }

    /// A store over a place that other Coordinators write, too. Returns at once; what is there shows when the first look
    /// is over ([`Cluster::settled`]), which waits for the first round of greetings ([`Cluster::heard`]). `make` builds
    /// a temporary state for a phase, as for [`Store::open`].
    ///
    /// # Errors
    /// If no temporary state can be made, or no thread started.
    pub fn open_shared(
        place: Box<dyn SharedPlace>,
        config: ClusterConfig,
        tuning: ClusterTuning,
        make: impl Fn(Phase) -> Result<State, String> + Send + 'static,
    ) -> Result<Self, io::Error> {
        let queue = Arc::new(Queue::new(config.queue));
        let (opening, desk) = ClusterBackend::open(place, config, tuning, Arc::clone(&queue), Box::new(make), aside())
            .map_err(io::Error::other)?;
        let shared = Self::shared(queue, &opening);
        Self::spawn(shared, opening, None, Some(desk)).map_err(|(_, error)| error)
    }

    /// A store that keeps nothing (tests).
    #[must_use]
    pub fn in_memory(state: State) -> Self {
        let backend = MemoryBackend::default();
        let opening = Opening { backend, state: Arc::new(state), counters: Arc::default(), waiting_room: None };
        let shared = Self::shared(Arc::new(Queue::new(StoreTuning::default().queue)), &opening);
        Self::spawn(shared, opening, None, None).unwrap_or_else(|(shared, _)| {
            // Without a thread nothing can be committed: a closed store says so.
            drop(shared.queue.drain());
            Self {
                handle: Arc::new(Handle { shared, waiting_room: None, dir: None, desk: None, slots: Mutex::default() }),
            }
        })
    }

    /// The current state. Never waits.
    #[must_use]
    pub fn snapshot(&self) -> Arc<State> {
        self.handle.shared.state.load_full()
    }

    /// The current state, proved to be the newest there was when this was called. Where nobody else writes it, that is
    /// [`Store::snapshot`] and never waits; where others do, it costs one small read, shared by all who wait for one.
    ///
    /// # Errors
    /// [`NotCurrent`]: that could not be told within `patience`.
    pub async fn validated(&self, patience: Duration) -> Result<Arc<State>, NotCurrent> {
        if self.handle.desk.is_none() {
            return Ok(self.snapshot());
        }
        let (sender, answer) = oneshot::channel();
        let closed = || NotCurrent("the store is closed".to_owned());
        self.handle.shared.queue.push_validator(sender).map_err(|_| closed())?;
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(Ok(()))) => Ok(self.snapshot()),
            Ok(Ok(Err(why))) => Err(NotCurrent(why)),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(NotCurrent("the place where the state lies does not answer".to_owned())),
        }
    }

    /// What there is to know and to do where several Coordinators share the state; `None` where one has its own.
    #[must_use]
    pub fn cluster(&self) -> Option<Cluster> {
        let desk = self.handle.desk.as_ref()?;
        Some(Cluster { store: self.clone(), desk: Arc::clone(desk) })
    }

    /// Runs a transaction in the next group. It may run more than once, each time on a newer state; it
    /// must do no I/O. Returns when the group is durable. A transaction that records no change costs no write,
    /// but its answer still waits for the groups it has seen. Once called it takes its course, also if the
    /// returned future is dropped.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit<T, E, F>(&self, transaction: F) -> Result<T, CommitError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnMut(&mut Draft) -> Result<T, E> + Send + 'static,
    {
        let (job, answer) = engine::transaction(transaction);
        match self.handle.shared.queue.push_job(job) {
            Ok(()) => {}
            Err(Refused::Busy) => return Err(CommitError::Busy),
            Err(Refused::Closed) => return Err(CommitError::Unavailable("the store is closed".to_owned())),
        }
        answer.await.unwrap_or_else(|_| Err(CommitError::Unknown("the store stopped".to_owned())))
    }

    /// What a ceremony needs; looks at the file again. `None` if not in recovery mode.
    #[must_use]
    pub fn recovery_material(&self) -> Option<RecoveryMaterial> {
        self.waiting_room().map(WaitingRoom::material)
    }

    /// Whether a candidate recovery root opens the waiting state. O(1) on our files.
    #[must_use]
    pub fn opens(&self, candidate: &[u8]) -> bool {
        self.waiting_room().is_some_and(|room| room.opens(candidate))
    }

    /// Opens the waiting state, lets `check` decide (signatures against the manifest inside), proves it,
    /// writes it as a new incarnation, publishes it.
    ///
    /// # Errors
    /// [`RecoverError`]; nothing is changed.
    pub async fn recover(&self, root: RecoveryRoot, check: RecoveryCheck) -> Result<(), RecoverError> {
        let stopped = || RecoverError::NotStored("the store is closed".to_owned());
        let (sender, answer) = oneshot::channel();
        self.handle.shared.queue.push_recover(root, check, sender).map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The key slots, and what it takes to try them. Where a state is shared, or none is stored, there are none to change.
    ///
    /// # Errors
    /// [`SlotError::NotHere`], [`SlotError::Stopped`].
    pub async fn keyring(&self) -> Result<Keyring, SlotError> {
        let (sender, answer) = oneshot::channel();
        self.handle.shared.queue.push_slots(Entry::Keyring(sender)).map_err(|_| SlotError::Stopped)?;
        answer.await.unwrap_or(Err(SlotError::Stopped))
    }

    /// Changes key slots. Returns when the change is durable and was read back. `entry` tells of it in the audit trail:
    /// before a slot is added, and together with a new key, in the same file. What blocks (devices, services) is done on a
    /// thread for that, while commits go on.
    ///
    /// # Errors
    /// [`SlotError`]; of those that do not say otherwise, all slots are as they were.
    pub async fn change_slots(&self, plan: SlotPlan, entry: AuditEntry) -> Result<(), SlotError> {
        /// How often the key may be replaced meanwhile.
        const ATTEMPTS: usize = 3;
        let _one_at_a_time = self.handle.slots.lock().await;
        for _ in 0..ATTEMPTS {
            let (keyring, plan, entry) = (self.keyring().await?, plan.clone(), entry.clone());
            let prepared = tokio::task::spawn_blocking(move || keyring.prepare(&plan, entry));
            let change = prepared.await.unwrap_or(Err(SlotError::Stopped))?;
            let (sender, answer) = oneshot::channel();
            let entry = Entry::Slots(Box::new(change), sender);
            self.handle.shared.queue.push_slots(entry).map_err(|_| SlotError::Stopped)?;
            match answer.await.unwrap_or(Err(SlotError::Stopped)) {
                Err(SlotError::Changed) => {}
                result => return result,
            }
        }
        Err(SlotError::Changed)
    }

    /// The bytes of a backup: all that is durable now, while commits go on. Reads the file, so it may take a while.
    ///
    /// # Errors
    /// [`BackupError::NoState`] if nothing is stored; [`BackupError::NotAsExpected`] if the file in place is not this
    /// store's; [`BackupError::NotWhole`], [`BackupError::Io`].
    pub fn copy(&self) -> Result<Copying, BackupError> {
        let no_state = || BackupError::NoState { path: self.handle.dir.clone().unwrap_or_default() };
        let dir = self.handle.dir.as_ref().ok_or_else(no_state)?;
        match self.status().mode {
            StoreMode::Durable | StoreMode::ReadOnly { .. } => {}
            StoreMode::Superseded | StoreMode::Diverged { .. } => return Err(not_ours()),
            StoreMode::Volatile | StoreMode::Recovery { .. } => return Err(no_state()),
        }
        let copying = backup::copy_of(dir)?;
        let lineage = *self.snapshot().lineage();
        if copying.lineage() == Some(&lineage) { Ok(copying) } else { Err(not_ours()) }
    }

    /// Facts for status and metrics. Never waits.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let shared = &self.handle.shared;
        shared.facts.load().to_status(&shared.counters)
    }

    /// Finishes the queue, writes the witness, stops the committer.
    pub async fn close(&self) {
        let (sender, answer) = oneshot::channel();
        if self.handle.shared.queue.close(sender).is_ok() {
            // An error means that the committer has ended already.
            let _ = answer.await;
        }
    }

    fn waiting_room(&self) -> Option<&dyn WaitingRoom> {
        let waits = matches!(self.handle.shared.facts.load().mode, StoreMode::Recovery { .. });
        self.handle.waiting_room.as_deref().filter(|_| waits)
    }

    #[cfg(test)]
    pub(crate) fn start<B: Backend + 'static>(queue: Arc<Queue>, opening: Opening<B>) -> io::Result<Self> {
        let shared = Self::shared(queue, &opening);
        Self::spawn(shared, opening, None, None).map_err(|(_, error)| error)
    }

    fn shared<B: Backend>(queue: Arc<Queue>, opening: &Opening<B>) -> Arc<Shared> {
        Arc::new(Shared {
            state: ArcSwap::new(Arc::clone(&opening.state)),
            facts: ArcSwap::from_pointee(opening.backend.facts()),
            counters: Arc::clone(&opening.counters),
            queue,
        })
    }

    fn spawn<B: Backend + 'static>(
        shared: Arc<Shared>,
        opening: Opening<B>,
        dir: Option<PathBuf>,
        desk: Option<Arc<Desk>>,
    ) -> Result<Self, (Arc<Shared>, io::Error)> {
        let Opening { backend, waiting_room, .. } = opening;
        let committer = Committer::new(Arc::clone(&shared), backend);
        match std::thread::Builder::new().name("committer".to_owned()).spawn(move || committer.run()) {
            Ok(_) => Ok(Self { handle: Arc::new(Handle { shared, waiting_room, dir, desk, slots: Mutex::default() }) }),
            Err(error) => Err((shared, error)),
        }
    }
}

/// A thread for each piece of work. One that cannot be started is as good as a backend that does not answer.
fn aside() -> Aside {
    Box::new(|task| {
        if let Err(error) = std::thread::Builder::new().name("sealing".to_owned()).spawn(task) {
            tracing::warn!(%error, "sealing backends cannot be asked: no thread can be started");
        }
    })
}

fn not_ours() -> BackupError {
    BackupError::NotAsExpected(
        "another sealed_data was put in place of this Coordinator's; restart it to load that, then back up".to_owned(),
    )
}
