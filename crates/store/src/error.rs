//! Why something was not done, and who has a say in it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use marblerun_state::State;

/// Decides about an opened state before it is served: the signatures over the secrets that opened it, against
/// the manifest inside. Answers the parties whose secrets counted; the audit trail names them.
pub type RecoveryCheck = Box<dyn FnOnce(&State) -> Result<Vec<String>, String> + Send>;

/// Has an opened state decided about. A check that panics refuses.
pub(crate) fn decide(check: RecoveryCheck, state: &State) -> Result<Vec<String>, RecoverError> {
    catch_unwind(AssertUnwindSafe(|| check(state)))
        .unwrap_or_else(|_| Err("the check of the recovered state failed internally".to_owned()))
        .map_err(RecoverError::Refused)
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

/// Why it could not be told whether the published state is the newest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the state cannot be validated now: {0}")]
pub struct NotCurrent(pub String);

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
