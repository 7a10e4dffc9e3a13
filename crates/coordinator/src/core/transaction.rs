//! Transactions in two halves. The first half does what is slow, on a snapshot, off the committer. The
//! second runs on the committer: it checks again what the first relied on and records the changes, or
//! says that the world has moved, and the first half is done again.

use std::future::Future;
use std::sync::Arc;

use marblerun_state::{Change, ChangeError, Draft, State};
use marblerun_store::{CommitError, Store};

use crate::error::{Error, ErrorKind};

/// How often a first half is done before the caller is told to come back. Each time somebody else's
/// change of manifest or keys got in between, so even the second is rare.
const ATTEMPTS: usize = 8;

/// Why the second half recorded nothing.
#[derive(Debug)]
pub(super) enum Step {
    /// What the first half relied on has changed: do it again.
    Stale,
    /// The request is refused.
    Refused(Error),
}

impl From<Error> for Step {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<ChangeError> for Step {
    fn from(error: ChangeError) -> Self {
        Self::Refused(Error::new(ErrorKind::Internal, "change_refused", error.to_string()))
    }
}

/// Runs both halves until the second one fits. `prefix` stands before the text of a failed commit.
pub(super) async fn run<P, T, Prepare, Preparing, Commit>(
    store: &Store,
    prefix: &'static str,
    prepare: Prepare,
    commit: Commit,
) -> Result<T, Error>
where
    P: Send + Sync + 'static,
    T: Send + 'static,
    Prepare: Fn(Arc<State>) -> Preparing,
    Preparing: Future<Output = Result<P, Error>>,
    Commit: Fn(&mut Draft, &P) -> Result<T, Step> + Send + Sync + Clone + 'static,
{
    for _ in 0..ATTEMPTS {
        let prepared = prepare(store.snapshot()).await?;
        let second_half = commit.clone();
        match self::commit(store, prefix, move |draft| second_half(draft, &prepared)).await {
            Ok(answer) => return Ok(answer),
            Err(Step::Refused(error)) => return Err(error),
            Err(Step::Stale) => {}
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "contention",
        "the state kept changing while this request was prepared; nothing was changed, try again",
    ))
}

/// Runs a second half alone.
pub(super) async fn commit<T, F>(store: &Store, prefix: &'static str, transaction: F) -> Result<T, Step>
where
    T: Send + 'static,
    F: FnMut(&mut Draft) -> Result<T, Step> + Send + 'static,
{
    store.commit(transaction).await.map_err(|error| {
        let (kind, code) = match error {
            CommitError::Rejected(step) => return step,
            CommitError::NotStored(_) => (ErrorKind::Internal, "not_stored"),
            CommitError::Unknown(_) => (ErrorKind::Internal, "outcome_unknown"),
            CommitError::Busy => (ErrorKind::Unavailable, "busy"),
            CommitError::Unavailable(_) => (ErrorKind::Unavailable, "unavailable"),
        };
        let cause = match error {
            CommitError::NotStored(cause) => format!("not stored: {cause}"),
            CommitError::Unknown(cause) => format!("outcome unknown: {cause}"),
            CommitError::Unavailable(cause) => cause,
            CommitError::Busy | CommitError::Rejected(_) => "too many transactions are waiting; try again".to_owned(),
        };
        Step::Refused(Error::new(kind, code, format!("{prefix}{cause}")))
    })
}

/// Records all changes, in order.
pub(super) fn record_all(draft: &mut Draft, changes: impl IntoIterator<Item = Change>) -> Result<(), Step> {
    changes.into_iter().try_for_each(|change| draft.record(change).map_err(Step::from))
}
