//! What a store needs from the place where it keeps its state. Below the engine, above the bytes: the
//! engine decides what a group is and who is answered when, a backend only makes one group after another
//! durable: a directory ([`crate::file`]), a place that several Coordinators share ([`crate::cluster`]), or memory
//! alone ([`crate::memory`]).

use std::sync::Arc;
use std::time::Duration;

use marblerun_recovery::RecoveryRoot;
use marblerun_state::{Change, State};

use crate::facts::Facts;
use crate::keyring::Keyring;
use crate::slots::{SlotChange, SlotError};
use crate::{RecoverError, RecoveryCheck, RecoveryMaterial};

/// The transactions of one group, taken together.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// The state after them.
    pub(crate) next: Arc<State>,
    /// What leads from the published state to it; never empty.
    pub(crate) changes: Arc<[Change]>,
}

/// Why a group is not published.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Certainly not stored; the next group may be.
    NotStored(String),
    /// Maybe stored.
    Unknown(String),
    /// Not even tried: writes are not possible now.
    Unavailable(String),
    /// Somebody else was first: this is the newest state, run the transactions again on it.
    /// Only a backend that several Coordinators share says so.
    Stale(Arc<State>),
}

/// What housekeeping came to.
#[derive(Debug, Default)]
pub(crate) struct Tended {
    /// When to be called again at the latest; `None`: when something happens.
    pub(crate) patience: Option<Duration>,
    /// A newer state to publish: somebody else's commit, or one that could be opened at last.
    pub(crate) publish: Option<Arc<State>>,
}

/// A place where a state is kept. Used by one thread at a time.
pub(crate) trait Backend: Send {
    /// Makes a group durable. On success the state returned is published.
    ///
    /// # Errors
    /// [`Failure`]; nothing is published then.
    fn store(&mut self, group: &Group) -> Result<Arc<State>, Failure>;

    /// Makes sure that the published state is the newest there is. `Some`: it was not, this one is.
    ///
    /// # Errors
    /// Why that cannot be told now.
    fn validate(&mut self) -> Result<Option<Arc<State>>, String> {
        Ok(None)
    }

    /// Whether others write the same state. Then a transaction that changed nothing was decided on a state that has
    /// to be validated before it is answered.
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether a transaction that leads from one state to the other must be the last of its group,
    /// because storing it is more than appending it.
    fn ends_group(&self, before: &State, after: &State, changes: &[Change]) -> bool;

    /// Housekeeping, after each group and whenever the returned time has passed (`None`: never by itself).
    fn tend(&mut self) -> Tended;

    /// Opens the state that waits for recovery keys, and makes it durable as a new incarnation.
    ///
    /// # Errors
    /// [`RecoverError`]; nothing is changed.
    fn recover(&mut self, root: &RecoveryRoot, check: RecoveryCheck) -> Result<Arc<State>, RecoverError>;

    /// What it takes to try, make and remove key slots.
    ///
    /// # Errors
    /// [`SlotError::NotHere`] where there are none that an operator could change.
    fn keyring(&mut self) -> Result<Keyring, SlotError> {
        Err(SlotError::NotHere("nothing is stored here".to_owned()))
    }

    /// Makes a change of key slots durable. Answers the state to publish, if that changed with it.
    fn change_slots(&mut self, change: SlotChange) -> (Option<Arc<State>>, Result<(), SlotError>) {
        drop(change);
        (None, self.keyring().map(drop))
    }

    /// Clean stop. Nothing is called afterwards.
    fn close(&mut self);

    /// Facts for status and metrics.
    fn facts(&self) -> Facts;
}

/// A look at the state that waits for recovery keys, from any thread.
pub(crate) trait WaitingRoom: Send + Sync {
    /// What a ceremony needs; looks again.
    fn material(&self) -> RecoveryMaterial;
    /// Whether a candidate root opens it.
    fn opens(&self, candidate: &[u8]) -> bool;
}
