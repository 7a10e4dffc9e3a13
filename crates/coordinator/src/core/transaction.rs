//! Transactions in two halves. The first half does what is slow, on a snapshot, off the committer. The
//! second runs on the committer: it checks again what the first relied on and records the changes, or
//! says that the world has moved, and the first half is done again.

use std::future::Future;
use std::sync::Arc;

use marblerun_state::{Change, ChangeError, Draft, State};
use marblerun_store::CommitError;

use crate::core::currency::Currency;
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

/// Runs both halves until the second one fits. `prefix` stands before the text of a failed commit. The first half refuses
/// from the newest state alone; that of the second, too, is for the store to see to.
pub(super) async fn run<P, T, Prepare, Preparing, Commit>(
    currency: &Currency,
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
    currency.require_undiverged()?;
    let mut state = currency.snapshot();
    // Whether it is at least as new as one that was proved the newest after the request came.
    let mut is_proved = false;
    for _ in 0..ATTEMPTS {
        let prepared = match prepare(Arc::clone(&state)).await {
            Ok(prepared) => prepared,
            Err(refusal) if is_proved => return Err(refusal),
            Err(refusal) => {
                state = currency.newer(&state, refusal).await?;
                is_proved = true;
                continue;
            }
        };
        let second_half = commit.clone();
        match self::commit(currency, prefix, move |draft| second_half(draft, &prepared)).await {
            Ok(answer) => return Ok(answer),
            Err(Step::Refused(error)) => return Err(error),
            Err(Step::Stale) => state = currency.snapshot(),
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "contention",
        "the state kept changing while this request was prepared; nothing was changed, try again",
    ))
}

/// Runs a second half alone.
pub(super) async fn commit<T, F>(currency: &Currency, prefix: &'static str, transaction: F) -> Result<T, Step>
where
    T: Send + 'static,
    F: FnMut(&mut Draft) -> Result<T, Step> + Send + 'static,
{
    match currency.store().commit(transaction).await {
        Ok(answer) => Ok(answer),
        Err(CommitError::Rejected(step)) => Err(step),
        Err(error) => {
            // That may be why, and it says more.
            currency.require_undiverged()?;
            Err(Step::Refused(not_committed(error, prefix, currency.is_shared())))
        }
    }
}

/// What a caller is told. Where a state is shared, the place where it lies may be away for a while, and whoever asks
/// again, perhaps another instance, is served; where it lies in files, a failed write is this program's failure.
fn not_committed(error: CommitError<Step>, prefix: &str, is_shared: bool) -> Error {
    let failed = if is_shared { ErrorKind::Unavailable } else { ErrorKind::Internal };
    let (kind, code, cause) = match error {
        CommitError::NotStored(cause) => (failed, "not_stored", format!("not stored: {cause}")),
        CommitError::Unknown(cause) => (failed, "outcome_unknown", format!("outcome unknown: {cause}")),
        CommitError::Busy | CommitError::Rejected(_) => {
            (ErrorKind::Unavailable, "busy", "too many transactions are waiting; try again".to_owned())
        }
        CommitError::Unavailable(cause) => (ErrorKind::Unavailable, "unavailable", cause),
    };
    Error::new(kind, code, format!("{prefix}{cause}"))
}

/// Records all changes, in order.
pub(super) fn record_all(draft: &mut Draft, changes: impl IntoIterator<Item = Change>) -> Result<(), Step> {
    changes.into_iter().try_for_each(|change| draft.record(change).map_err(Step::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_of_unknown_outcome_is_a_failure_alone_and_a_matter_of_asking_again_among_several() {
        let told = |error, is_shared| {
            let error = not_committed(error, "sealing state: ", is_shared);
            (error.kind, error.code)
        };
        let unknown = || CommitError::Unknown("it may have landed".to_owned());
        assert_eq!(told(unknown(), false), (ErrorKind::Internal, "outcome_unknown"));
        assert_eq!(told(unknown(), true), (ErrorKind::Unavailable, "outcome_unknown"));
        let refused = || CommitError::NotStored("no".to_owned());
        assert_eq!(told(refused(), false), (ErrorKind::Internal, "not_stored"));
        assert_eq!(told(refused(), true), (ErrorKind::Unavailable, "not_stored"));
        for is_shared in [false, true] {
            assert_eq!(told(CommitError::Busy, is_shared), (ErrorKind::Unavailable, "busy"));
            let closed = CommitError::Unavailable("closed".to_owned());
            assert_eq!(told(closed, is_shared), (ErrorKind::Unavailable, "unavailable"));
        }
    }
}
