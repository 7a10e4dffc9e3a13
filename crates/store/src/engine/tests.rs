//! The promises of group commit, over a backend that does what the test says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use marblerun_recovery::RecoveryRoot;
use marblerun_state::{Change, Phase, State};

use super::Queue;
use crate::backend::{Backend, Failure, Group, Tended};
use crate::facts::Facts;
use crate::file::Opening;
use crate::testing::{count, counted, make, root, secret};
use crate::{CommitError, RecoverError, RecoveryCheck, Store, StoreMode};

/// Tells each group it gets, and stores it when the test says how.
struct Scripted {
    begun: Sender<Group>,
    results: Receiver<Result<(), Failure>>,
    closed: Arc<AtomicBool>,
    last_of_group: fn(&[Change]) -> bool,
}

/// The test's side of it.
struct Script {
    groups: Receiver<Group>,
    results: Sender<Result<(), Failure>>,
    closed: Arc<AtomicBool>,
}

impl Script {
    /// The group that is being stored.
    fn group(&self) -> Group {
        self.groups.recv_timeout(Duration::from_secs(10)).expect("a group is stored")
    }

    fn end(&self, result: Result<(), Failure>) {
        self.results.send(result).unwrap();
    }

    /// Nothing is being stored, and nothing will be soon.
    fn is_idle(&self) -> bool {
        self.groups.recv_timeout(Duration::from_millis(50)).is_err()
    }
}

impl Backend for Scripted {
    fn store(&mut self, group: &Group) -> Result<Arc<State>, Failure> {
        // A test that has ended wants nothing any more.
        let _ = self.begun.send(group.clone());
        self.results.recv().unwrap_or(Ok(())).map(|()| Arc::clone(&group.next))
    }

    fn ends_group(&self, _before: &State, _after: &State, changes: &[Change]) -> bool {
        (self.last_of_group)(changes)
    }

    fn tend(&mut self) -> Tended {
        Tended::default()
    }

    fn recover(&mut self, _root: &RecoveryRoot, check: RecoveryCheck) -> Result<Arc<State>, RecoverError> {
        let state = make(Phase::AcceptingManifest).unwrap();
        check(&state).map_err(RecoverError::Refused)?;
        Ok(Arc::new(state))
    }

    fn close(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    fn facts(&self) -> Facts {
        let (mode, slots, warnings) = (StoreMode::Durable, Vec::new(), Vec::new());
        Facts { mode, sequence: 0, head: None, file_bytes: 0, slots, warnings }
    }
}

fn scripted(capacity: usize, last_of_group: fn(&[Change]) -> bool) -> (Store, Script) {
    let (begun, groups) = channel();
    let (results, wanted) = channel();
    let closed = Arc::new(AtomicBool::new(false));
    let backend = Scripted { begun, results: wanted, closed: Arc::clone(&closed), last_of_group };
    let state = Arc::new(make(Phase::AcceptingManifest).unwrap());
    let opening = Opening { backend, state, counters: Arc::default(), waiting_room: None };
    let store = Store::start(Arc::new(Queue::new(capacity)), opening).unwrap();
    (store, Script { groups, results, closed })
}

fn store() -> (Store, Script) {
    scripted(64, |_| false)
}

type Answer = tokio::task::JoinHandle<Result<u64, CommitError<String>>>;

/// Commits on a task of its own, polled at once so that it is in the queue when this returns.
async fn spawn<F>(store: &Store, transaction: F) -> Answer
where
    F: FnMut(&mut marblerun_state::Draft) -> Result<u64, String> + Send + 'static,
{
    let store = store.clone();
    let answer = tokio::spawn(async move { store.commit(transaction).await });
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    answer
}

async fn spawn_count(store: &Store, value: u64) -> Answer {
    spawn(store, move |draft| {
        draft.record(count(value)).map_err(|error| error.to_string())?;
        Ok(value)
    })
    .await
}

#[tokio::test]
async fn no_answer_leaves_before_its_group_is_durable() {
    let (store, script) = store();
    let answer = spawn_count(&store, 7).await;
    let group = script.group();
    assert_eq!(counted(&group.next), 7);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!answer.is_finished());
    assert_eq!(counted(&store.snapshot()), 0, "readers see what is durable, and do not wait");
    script.end(Ok(()));
    assert_eq!(answer.await.unwrap().unwrap(), 7);
    assert_eq!(counted(&store.snapshot()), 7);
    assert_eq!((store.status().counters.commits, store.status().counters.groups), (1, 1));
}

#[tokio::test]
async fn all_that_wait_go_into_one_group_in_order() {
    let (store, script) = store();
    let first = spawn_count(&store, 1).await;
    script.group();
    let mut waiting = Vec::new();
    for value in 2..=33 {
        waiting.push(spawn_count(&store, value).await);
    }
    script.end(Ok(()));
    first.await.unwrap().unwrap();
    let group = script.group();
    assert_eq!(group.changes.len(), 32);
    let values = group.changes.iter().map(|change| match change {
        Change::Counter(_, value) => *value,
        _ => panic!("a counter"),
    });
    assert!(values.eq(2..=33));
    script.end(Ok(()));
    for answer in waiting {
        answer.await.unwrap().unwrap();
    }
    assert_eq!((store.status().counters.commits, store.status().counters.groups), (33, 2));
}

#[tokio::test]
async fn a_transaction_that_fails_or_panics_leaves_no_trace() {
    let (store, script) = store();
    let blocker = spawn_count(&store, 1).await;
    script.group();
    let refused = spawn(&store, |draft| {
        draft.record(count(50)).unwrap();
        Err("no".to_owned())
    })
    .await;
    let panicked = spawn(&store, |draft| {
        draft.record(count(60)).unwrap();
        panic!("a mistake in a transaction (this message is expected)")
    })
    .await;
    let good = spawn(&store, |draft| {
        assert_eq!(counted(draft.state()), 1);
        draft.record(count(2)).unwrap();
        Ok(2)
    })
    .await;
    script.end(Ok(()));
    blocker.await.unwrap().unwrap();
    let group = script.group();
    assert_eq!((group.changes.len(), counted(&group.next)), (1, 2));
    script.end(Ok(()));
    assert!(matches!(refused.await.unwrap(), Err(CommitError::Rejected(why)) if why == "no"));
    assert!(matches!(panicked.await.unwrap(), Err(CommitError::NotStored(_))));
    assert_eq!(good.await.unwrap().unwrap(), 2);
    assert_eq!(counted(&store.snapshot()), 2);
}

#[tokio::test]
async fn a_transaction_without_changes_costs_no_write() {
    let (store, script) = store();
    let read = spawn(&store, |draft| Ok(counted(draft.state()))).await;
    assert_eq!(read.await.unwrap().unwrap(), 0);
    assert!(script.is_idle());
}

#[tokio::test]
async fn what_was_seen_of_a_group_that_is_not_stored_is_not_answered() {
    let (store, script) = store();
    let blocker = spawn_count(&store, 1).await;
    script.group();
    let before = spawn(&store, |draft| Ok(counted(draft.state()))).await;
    let refused_before = spawn(&store, |_| Err("no".to_owned())).await;
    let writer = spawn_count(&store, 2).await;
    let after = spawn(&store, |draft| Ok(counted(draft.state()))).await;
    let refused_after = spawn(&store, |_| Err("no".to_owned())).await;
    script.end(Ok(()));
    blocker.await.unwrap().unwrap();
    script.group();
    script.end(Err(Failure::NotStored("disk".to_owned())));
    assert_eq!(before.await.unwrap().unwrap(), 1);
    assert!(matches!(refused_before.await.unwrap(), Err(CommitError::Rejected(_))));
    for answer in [writer, after, refused_after] {
        assert!(matches!(answer.await.unwrap(), Err(CommitError::NotStored(why)) if why == "disk"));
    }
    assert_eq!(counted(&store.snapshot()), 1);
}

#[tokio::test]
async fn an_unknown_outcome_is_said_to_be_unknown() {
    let (store, script) = store();
    let first = spawn_count(&store, 1).await;
    script.group();
    script.end(Err(Failure::Unknown("sync".to_owned())));
    assert!(matches!(first.await.unwrap(), Err(CommitError::Unknown(why)) if why == "sync"));
    let second = spawn_count(&store, 1).await;
    script.group();
    script.end(Err(Failure::Unavailable("read-only".to_owned())));
    assert!(matches!(second.await.unwrap(), Err(CommitError::Unavailable(why)) if why == "read-only"));
    assert_eq!(counted(&store.snapshot()), 0);
    assert_eq!(store.status().counters.groups, 0);
}

#[tokio::test]
async fn beyond_the_bound_of_the_queue_the_store_is_busy() {
    let (store, script) = scripted(2, |_| false);
    let running = spawn_count(&store, 1).await;
    script.group();
    let waiting = [spawn_count(&store, 2).await, spawn_count(&store, 3).await];
    let one_more = spawn_count(&store, 4).await;
    assert!(matches!(one_more.await.unwrap(), Err(CommitError::Busy)));
    script.end(Ok(()));
    script.end(Ok(()));
    running.await.unwrap().unwrap();
    for answer in waiting {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn where_somebody_else_was_first_transactions_run_again_on_the_newer_state() {
    let (store, script) = store();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted_runs = Arc::clone(&runs);
    let answer = spawn(&store, move |draft| {
        counted_runs.fetch_add(1, Ordering::SeqCst);
        let value = counted(draft.state()) + 1;
        draft.record(count(value)).unwrap();
        Ok(value)
    })
    .await;
    script.group();
    let mut newer = make(Phase::AcceptingManifest).unwrap();
    newer.apply(&count(10)).unwrap();
    script.end(Err(Failure::Stale(Arc::new(newer))));
    assert_eq!(counted(&script.group().next), 11);
    script.end(Ok(()));
    assert_eq!(answer.await.unwrap().unwrap(), 11);
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_change_that_needs_more_than_an_append_ends_its_group() {
    let (store, script) = scripted(64, |changes| matches!(changes, [Change::Counter(_, 3)]));
    let mut answers = vec![spawn_count(&store, 1).await];
    script.group();
    for value in 2..=5 {
        answers.push(spawn_count(&store, value).await);
    }
    script.end(Ok(()));
    assert_eq!(counted(&script.group().next), 3);
    script.end(Ok(()));
    assert_eq!(counted(&script.group().next), 5);
    script.end(Ok(()));
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_group_is_bounded_in_bytes_and_a_value_too_large_is_refused_alone() {
    let (store, script) = store();
    let blocker = spawn_count(&store, 1).await;
    script.group();
    let record = |names: &'static [&'static str], size: usize| {
        move |draft: &mut marblerun_state::Draft| {
            for name in names {
                draft.record(secret(name, size)).map_err(|error| error.to_string())?;
            }
            Ok(0)
        }
    };
    let too_large = spawn(&store, record(&["a", "b", "c", "d", "e"], 7 << 20)).await;
    let first = spawn(&store, record(&["first"], 1 << 20)).await;
    let second = spawn(&store, record(&["second"], 1 << 20)).await;
    let third = spawn(&store, record(&["third"], 100)).await;
    script.end(Ok(()));
    assert!(matches!(too_large.await.unwrap(), Err(CommitError::NotStored(why)) if why.contains("too large")));
    assert_eq!(script.group().changes.len(), 2);
    script.end(Ok(()));
    assert_eq!(script.group().changes.len(), 1);
    script.end(Ok(()));
    for answer in [blocker, first, second, third] {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn closing_finishes_the_queue_and_refuses_what_comes_later() {
    let (store, script) = store();
    let running = spawn_count(&store, 1).await;
    script.group();
    let waiting = spawn_count(&store, 2).await;
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    let late = spawn_count(&store, 3).await.await.unwrap();
    assert!(matches!(late, Err(CommitError::Unavailable(_))));
    script.end(Ok(()));
    script.end(Ok(()));
    running.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
    closing.await.unwrap();
    assert!(script.closed.load(Ordering::SeqCst));
    store.close().await;
    assert_eq!(counted(&store.snapshot()), 2);
    assert!(matches!(store.recover(root("any"), Box::new(|_| Ok(Vec::new()))).await, Err(RecoverError::NotStored(_))));
}

#[tokio::test]
async fn a_fault_in_the_committer_is_told_and_leaves_nobody_waiting() {
    let (store, _script) = scripted(64, |_| panic!("this message is expected"));
    let first = spawn_count(&store, 1).await.await.unwrap();
    assert!(matches!(first, Err(CommitError::Unknown(_))));
    let later = spawn_count(&store, 2).await.await.unwrap();
    assert!(matches!(later, Err(CommitError::Unavailable(_))));
    assert!(matches!(store.status().mode, StoreMode::ReadOnly { .. }));
    assert_eq!(counted(&store.snapshot()), 0, "reads go on");
}

#[tokio::test]
async fn when_the_last_handle_goes_what_waits_is_still_stored() {
    let (store, script) = store();
    let mut answers = VecDeque::from([spawn_count(&store, 1).await]);
    script.group();
    answers.push_back(spawn_count(&store, 2).await);
    // The callers stop waiting, and then nobody holds the store.
    answers.iter().for_each(Answer::abort);
    drop(store);
    script.end(Ok(()));
    assert_eq!(counted(&script.group().next), 2);
    script.end(Ok(()));
    for _ in 0..1000 {
        if script.closed.load(Ordering::SeqCst) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the committer goes on without any handle");
}

#[tokio::test]
async fn a_recovered_state_is_published_and_a_refused_one_is_not() {
    let (store, _script) = store();
    let before = store.snapshot();
    let refused = store.recover(root("a"), Box::new(|_| Err("bad signature".to_owned()))).await;
    assert!(matches!(refused, Err(RecoverError::Refused(why)) if why == "bad signature"));
    assert!(Arc::ptr_eq(&before, &store.snapshot()));
    store.recover(root("a"), Box::new(|_| Ok(Vec::new()))).await.unwrap();
    assert!(!Arc::ptr_eq(&before, &store.snapshot()));
}

#[tokio::test]
async fn memory_keeps_what_is_committed() {
    let store = Store::in_memory(make(Phase::AcceptingManifest).unwrap());
    spawn_count(&store, 3).await.await.unwrap().unwrap();
    assert_eq!(counted(&store.snapshot()), 3);
    assert_eq!((store.status().mode, store.status().sequence), (StoreMode::Volatile, 1));
    assert!(store.recovery_material().is_none() && !store.opens(&[0; 32]));
    store.close().await;
}
