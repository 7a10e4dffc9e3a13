//! The store of one Coordinator: reads never wait, commits are grouped.

use std::path::PathBuf;
use std::sync::Arc;

use marblerun_recovery::{RecoveryRoot, RecoverySet};
use marblerun_sealing::KeySealer;
use marblerun_state::{Draft, Phase, State};

/// What to do about a state older than the one this host vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackPolicy {
    /// Serve it, and say so (default in simulation).
    Warn,
    /// Recovery mode.
    Refuse,
}

/// Where and how to keep the state.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Seal directory; made with mode 0700 if absent.
    pub dir: PathBuf,
    /// Source of host-bound slot secrets.
    pub sealer: Arc<dyn KeySealer>,
    /// What to do about an older state.
    pub rollback: RollbackPolicy,
    /// Program and version, for the header.
    pub writer: String,
    /// Keep the parties' encrypted secrets in the header (`MARBLERUN_RECOVERY_IN_HEADER`).
    pub recovery_in_header: bool,
    /// Forbid a new manifest over a state that cannot be opened (`MARBLERUN_RECOVERY_RESET=deny`).
    pub deny_reset: bool,
    /// Continue a damaged file from there (`--accept-loss-after`).
    pub accept_loss_after: Option<u64>,
    /// Rename every trace of an earlier state away (`--discard-existing-state`).
    pub discard_existing_state: bool,
}

/// What the store is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreMode {
    /// No manifest yet, or seal mode `Disabled`: nothing on disk.
    Volatile,
    /// Every acknowledged change is on disk.
    Durable,
    /// A sealed state exists and cannot be opened.
    Recovery {
        /// Stable code: `no_key`, `wrong_key`, `damaged`, `cut_short`, `newer_format`, `no_witness`, `older_than_witness`, `forked`, ..
        code: &'static str,
        /// Cause, object, recommendation.
        message: String,
    },
    /// Another file was put in place; a restart loads it.
    Superseded,
    /// Writing failed and could not be repaired yet; reads go on.
    ReadOnly {
        /// Cause.
        reason: String,
    },
}

/// Facts for status, metrics and events.
#[derive(Debug, Clone)]
pub struct StoreStatus {
    /// What the store is doing.
    pub mode: StoreMode,
    /// Sequence number of the last durable state.
    pub sequence: u64,
    /// Head of the last durable record (hex for people).
    pub head: Option<[u8; 32]>,
    /// Size of `sealed_data` in bytes.
    pub file_bytes: u64,
    /// Human-readable slots: kind and label.
    pub slots: Vec<String>,
    /// Things an operator should know (torn tail dropped, header altered, rolled back, ..).
    pub warnings: Vec<String>,
}

/// What a ceremony needs to know about the state that waits.
#[derive(Debug, Clone)]
pub struct RecoveryMaterial {
    /// Changes when another file is put in place: the ceremony starts anew.
    pub file_id: [u8; 32],
    /// From the header; empty if unknown.
    pub sets: Vec<RecoverySet>,
}

/// Why a transaction was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError<E> {
    /// The transaction itself refused.
    #[error("{0}")]
    Rejected(E),
    /// Certainly not stored; may be tried again.
    #[error("not stored: {0}")]
    NotStored(String),
    /// It is not known whether it is stored.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// Too many transactions wait.
    #[error("too many transactions are waiting; try again")]
    Busy,
    /// Writes are not possible now: superseded, read-only, closed.
    #[error("{0}")]
    Unavailable(String),
}

/// Why a recovery did not succeed. The sealed state is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Not in recovery mode.
    #[error("server is not in expected state")]
    NotInRecovery,
    /// The check of the opened state refused it (signatures).
    #[error("{0}")]
    Refused(String),
    /// The state cannot be opened with this root.
    #[error("{0}")]
    CannotOpen(String),
    /// The recovered state could not be written.
    #[error("{0}")]
    NotStored(String),
}

/// The store. Cheap to clone (a handle).
#[derive(Clone)]
pub struct Store {
    _private: (),
}

impl Store {
    /// Opens the directory. Damage, a missing key, a rolled-back state lead to recovery mode, never to an error.
    /// `make` builds a temporary state for a phase ([`Phase::AcceptingManifest`] where there is no trace
    /// of an earlier state, [`Phase::Recovery`] where there is one that cannot be opened).
    ///
    /// # Errors
    /// Only if the directory cannot be used at all (permissions, lock held by another Coordinator).
    pub fn open(_config: StoreConfig, _make: &dyn Fn(Phase) -> Result<State, String>) -> Result<Self, std::io::Error> {
        todo!()
    }

    /// A store that keeps nothing (tests).
    #[must_use]
    pub fn in_memory(_state: State) -> Self {
        todo!()
    }

    /// The current state. Never waits.
    #[must_use]
    pub fn snapshot(&self) -> Arc<State> {
        todo!()
    }

    /// Runs a transaction in the next group. It may run more than once, each time on a newer state; it
    /// must do no I/O. Returns when the group is durable. A transaction that records no change costs no write,
    /// but its answer still waits for the groups it has seen.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit<T, E, F>(&self, _transaction: F) -> Result<T, CommitError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnMut(&mut Draft) -> Result<T, E> + Send + 'static,
    {
        todo!()
    }

    /// What a ceremony needs; looks at the file again. `None` if not in recovery mode.
    #[must_use]
    pub fn recovery_material(&self) -> Option<RecoveryMaterial> {
        todo!()
    }

    /// Whether a candidate recovery root opens the waiting state. O(1) on our files.
    #[must_use]
    pub fn opens(&self, _candidate: &[u8]) -> bool {
        todo!()
    }

    /// Opens the waiting state, lets `check` decide (signatures against the manifest inside), proves it,
    /// writes it as a new incarnation, publishes it.
    ///
    /// # Errors
    /// [`RecoverError`]; nothing is changed.
    pub async fn recover(
        &self,
        _root: RecoveryRoot,
        _check: Box<dyn FnOnce(&State) -> Result<(), String> + Send>,
    ) -> Result<(), RecoverError> {
        todo!()
    }

    /// Facts for status and metrics.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        todo!()
    }

    /// Finishes the queue, writes the witness, stops the committer.
    pub async fn close(&self) {
        todo!()
    }
}
