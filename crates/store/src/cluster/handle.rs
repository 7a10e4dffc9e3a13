//! The store of an instance as its peers, its operators and its watch see it. Everything that is done is done by the
//! committer's thread; this only leaves word for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};

use super::copies::Report;
use super::{ClusterView, Kek, KekId, NotGiven, Peer};
use crate::Store;
use crate::engine::Queue;

/// A validation as recent as this lets a key be given away.
const RECENT: Duration = Duration::from_secs(10);
/// How long giving a key away waits for a validation.
const PATIENCE: Duration = Duration::from_secs(5);

/// A handle. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) store: Store,
    pub(crate) desk: Arc<Desk>,
}

/// Why an operator's decision was not carried out. Nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// There is nothing to decide, or not this.
    #[error("{0}")]
    NotNow(String),
    /// It could not be written.
    #[error("{0}")]
    NotStored(String),
}

/// What the committer finds when it looks.
pub(super) enum Errand {
    /// Keys from an appraised peer.
    Offer { from: String, keks: Vec<Kek> },
    /// What all listed addresses answered.
    Heard(Vec<Peer>),
    /// Something may have changed.
    Nudge,
    /// A sealing backend has done what it was asked for; `None`: there is nothing else.
    Copied(Option<Report>),
    /// An operator decides.
    Decide(Decision, oneshot::Sender<Result<(), DecisionError>>),
}

/// What an operator decides, and who it is (as the audit trail names actors).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// What lies there replaces what this instance knows.
    Accept { by: String },
    /// What this instance knows is written back.
    Reject { by: String },
    /// Another key encryption key; `revoke`: the old ones and the data encryption key go at once.
    Rotate { by: String, revoke: bool },
}

/// Between the handle and the committer.
pub(crate) struct Desk {
    errands: Mutex<VecDeque<Errand>>,
    queue: Arc<Queue>,
    view: ArcSwap<ClusterView>,
    changed: watch::Sender<u64>,
}

impl Desk {
    pub(super) fn new(queue: Arc<Queue>, view: ClusterView) -> Self {
        Self { errands: Mutex::default(), queue, view: ArcSwap::from_pointee(view), changed: watch::Sender::new(0) }
    }

    pub(super) fn take(&self) -> Option<Errand> {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(super) fn show(&self, view: ClusterView) {
        let before = self.view.swap(Arc::new(view));
        let now = self.view.load();
        let same = before.serving == now.serving
            && before.settled == now.settled
            && before.wanted == now.wanted
            && before.slots == now.slots
            && before.diverged == now.diverged
            && before.standing.as_ref().map(|s| s.head) == now.standing.as_ref().map(|s| s.head);
        if !same {
            self.changed.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    pub(super) fn now(&self) -> Arc<ClusterView> {
        self.view.load_full()
    }

    pub(super) fn leave_word(&self, errand: Errand) {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner).push_back(errand);
        self.queue.wake();
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("place", &self.view().place).finish_non_exhaustive()
    }
}

impl Cluster {
    /// This moment. Never waits.
    #[must_use]
    pub fn view(&self) -> Arc<ClusterView> {
        self.desk.now()
    }

    /// Counts up whenever state, mode, slots or wanted keys change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.desk.changed.subscribe()
    }

    /// Waits until the first look at the shared place is over, or no longer than `patience`.
    pub async fn settled(&self, patience: Duration) {
        let mut changes = self.changes();
        let settled = async {
            while !self.view().settled {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // If it takes longer, the status says what is waited for.
        let _ = tokio::time::timeout(patience, settled).await;
    }

    /// Something may have changed (the watch says so): look soon.
    pub fn nudge(&self) {
        self.desk.leave_word(Errand::Nudge);
    }

    /// Keys that an appraised peer gave. They count once they open the state.
    pub fn offer(&self, from: &str, keks: Vec<Kek>) {
        self.desk.leave_word(Errand::Offer { from: from.to_owned(), keks });
    }

    /// What all listed addresses answered, newest first hand.
    pub fn heard(&self, peers: Vec<Peer>) {
        self.desk.leave_word(Errand::Heard(peers));
    }

    /// A key for an appraised peer: one of those wanted, else any. Only while this instance serves, and not before it
    /// has made sure that the key is still in force.
    ///
    /// # Errors
    /// [`NotGiven`].
    pub async fn give(&self, wanted: &[KekId]) -> Result<Kek, NotGiven> {
        if self.view().validated.is_none_or(|at| at.elapsed() > RECENT) {
            self.store.validated(PATIENCE).await.map_err(|error| NotGiven::NotValidated(error.0))?;
        }
        let view = self.view();
        if !view.serving {
            return Err(NotGiven::NoKey);
        }
        let of = |kek: &&Kek| wanted.is_empty() || wanted.contains(&kek.id());
        view.keks.iter().find(of).cloned().ok_or(NotGiven::NoKey)
    }

    /// An operator lets what lies there replace what this instance knows.
    ///
    /// # Errors
    /// [`DecisionError`].
    pub async fn accept_restore(&self, by: &str) -> Result<(), DecisionError> {
        self.decide(Decision::Accept { by: by.to_owned() }).await
    }

    /// An operator has what this instance knows written back, also where the object was deleted.
    ///
    /// # Errors
    /// [`DecisionError`].
    pub async fn reject_restore(&self, by: &str) -> Result<(), DecisionError> {
        self.decide(Decision::Reject { by: by.to_owned() }).await
    }

    /// Another key encryption key. With `revoke` the old ones go at once, and the data encryption key with them.
    ///
    /// # Errors
    /// [`DecisionError`].
    pub async fn rotate_kek(&self, by: &str, revoke: bool) -> Result<(), DecisionError> {
        self.decide(Decision::Rotate { by: by.to_owned(), revoke }).await
    }

    async fn decide(&self, decision: Decision) -> Result<(), DecisionError> {
        let (sender, answer) = oneshot::channel();
        self.desk.leave_word(Errand::Decide(decision, sender));
        answer.await.unwrap_or_else(|_| Err(DecisionError::NotNow("the store is closed".to_owned())))
    }
}
