//! One transaction on its way: its closure, the result of the last run, and who waits for the answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use marblerun_state::Draft;
use tokio::sync::oneshot;

use crate::CommitError;

/// How long a transaction is run again because others were first.
const DEADLINE: Duration = Duration::from_secs(10);

/// How a run of a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// It succeeded; its changes count.
    Accepted,
    /// It refused; its draft is dropped.
    Refused,
    /// It panicked; its draft is dropped.
    Panicked,
}

/// What became of a transaction and of the group it depends on.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// All it has seen is durable: its own result is the answer.
    Decided,
    /// Certainly not stored.
    NotStored(String),
    /// Maybe stored.
    Unknown(String),
    /// Writes are not possible now.
    Unavailable(String),
    /// Others were first, again and again.
    Busy,
}

/// A transaction with its types erased.
pub(crate) trait Job: Send {
    /// Runs it on a fresh draft and keeps its result. May be called again on a newer state.
    fn run(&mut self, draft: &mut Draft) -> Run;
    /// Whether it was tried for so long that its caller is told to come back.
    fn is_overdue(&self) -> bool;
    /// Answers whoever waits. A caller that has gone away is no error.
    fn answer(self: Box<Self>, fate: Fate);
}

/// Where the answer to a transaction will arrive.
pub(crate) type Answer<T, E> = oneshot::Receiver<Result<T, CommitError<E>>>;

/// A transaction, and where its answer will arrive.
pub(crate) fn transaction<T, E, F>(run: F) -> (Box<dyn Job>, Answer<T, E>)
where
    T: Send + 'static,
    E: Send + 'static,
    F: FnMut(&mut Draft) -> Result<T, E> + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    (Box::new(Transaction { run, result: None, sender, begun: Instant::now() }), receiver)
}

struct Transaction<T, E, F> {
    run: F,
    result: Option<Result<T, E>>,
    sender: oneshot::Sender<Result<T, CommitError<E>>>,
    begun: Instant,
}

impl<T, E, F> Job for Transaction<T, E, F>
where
    T: Send,
    E: Send,
    F: FnMut(&mut Draft) -> Result<T, E> + Send,
{
    fn run(&mut self, draft: &mut Draft) -> Run {
        // The draft is dropped after a panic, and the closure is not called again: nothing broken is seen.
        self.result = catch_unwind(AssertUnwindSafe(|| (self.run)(draft))).ok();
        match &self.result {
            Some(Ok(_)) => Run::Accepted,
            Some(Err(_)) => Run::Refused,
            None => Run::Panicked,
        }
    }

    fn is_overdue(&self) -> bool {
        self.begun.elapsed() > DEADLINE
    }

    fn answer(self: Box<Self>, fate: Fate) {
        let answer = match (fate, self.result) {
            (Fate::Decided, Some(Ok(value))) => Ok(value),
            (Fate::Decided, Some(Err(error))) => Err(CommitError::Rejected(error)),
            (Fate::Decided, None) => Err(CommitError::NotStored("the transaction failed internally".to_owned())),
            (Fate::NotStored(why), _) => Err(CommitError::NotStored(why)),
            (Fate::Unknown(why), _) => Err(CommitError::Unknown(why)),
            (Fate::Unavailable(why), _) => Err(CommitError::Unavailable(why)),
            (Fate::Busy, _) => Err(CommitError::Busy),
        };
        // The receiver is gone if the caller stopped waiting.
        let _ = self.sender.send(answer);
    }
}
