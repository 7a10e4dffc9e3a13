//! From which state may a request be answered? Where a Coordinator has its state for itself, the one that is published
//! is the newest, and nothing here costs anything. Where several share one, another may have changed it since: reads of
//! secrets and refusals are answered from a state that was proved to be the newest after the request came, and an
//! activation goes on from the published one for a while if the place does not answer (cluster protocol, section 3).
//!
//! Guards the promise that an acknowledged change is in force everywhere: a refusal that one instance gives does not
//! contradict what another has acknowledged before.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use marblerun_state::State;
use marblerun_store::cluster::{ClusterView, DecisionError};
use marblerun_store::{NotCurrent, Store};

use crate::error::{Error, ErrorKind};

/// How long a request waits for the proof that a state is the newest.
const PATIENCE: Duration = Duration::from_secs(5);

/// What takes a while.
pub(super) type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an operator decides about a shared state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// What lies in the shared place replaces what this instance knows.
    AcceptRestore,
    /// What this instance knows is written back.
    RejectRestore,
    /// Another key encryption key; `revoke`: without the old ones.
    RotateKek { revoke: bool },
}

/// A state that others may write too. The store is one; tests have another.
pub(super) trait Source: Send + Sync {
    /// The published state.
    fn snapshot(&self) -> Arc<State>;
    /// What is known about sharing; `None` where the state is nobody else's.
    fn view(&self) -> Option<Arc<ClusterView>>;
    /// The published state, proved to be the newest.
    fn validated(&self, patience: Duration) -> Waiting<'_, Result<Arc<State>, NotCurrent>>;
    /// Carries out a decision of that actor.
    fn decide<'a>(&'a self, decision: Decision, by: &'a str) -> Waiting<'a, Result<(), DecisionError>>;
}

impl Source for Store {
    fn snapshot(&self) -> Arc<State> {
        Store::snapshot(self)
    }

    fn view(&self) -> Option<Arc<ClusterView>> {
        self.cluster().map(|cluster| cluster.view())
    }

    fn validated(&self, patience: Duration) -> Waiting<'_, Result<Arc<State>, NotCurrent>> {
        Box::pin(Store::validated(self, patience))
    }

    fn decide<'a>(&'a self, decision: Decision, by: &'a str) -> Waiting<'a, Result<(), DecisionError>> {
        Box::pin(async move {
            let not_shared = || DecisionError::NotNow("this Coordinator does not share its state".to_owned());
            let cluster = self.cluster().ok_or_else(not_shared)?;
            match decision {
                Decision::AcceptRestore => cluster.accept_restore(by).await,
                Decision::RejectRestore => cluster.reject_restore(by).await,
                Decision::RotateKek { revoke } => cluster.rotate_kek(by, revoke).await,
            }
        })
    }
}

/// The store, and how current its state has to be. Cheap to clone.
#[derive(Clone)]
pub(super) struct Currency {
    store: Store,
    source: Arc<dyn Source>,
    grace: Duration,
}

/// What is known about a state that an activation was prepared on.
#[derive(Debug)]
pub(super) enum Proof {
    /// This is the newest one.
    Current(Arc<State>),
    /// The place does not answer; the state was the newest that long ago, which is within the grace.
    Offline(Duration),
}

impl Currency {
    /// `grace`: how long activations go on while the place does not answer; zero: not at all.
    pub(super) fn new(store: Store, grace: Duration) -> Self {
        Self { source: Arc::new(store.clone()), store, grace }
    }

    /// The same with another view of the state than the store's own.
    #[cfg(test)]
    pub(super) fn over(store: Store, source: Arc<dyn Source>, grace: Duration) -> Self {
        Self { store, source, grace }
    }

    /// For whoever looks now and then, as long as somebody uses it.
    pub(super) fn downgrade(&self) -> Weak<dyn Source> {
        Arc::downgrade(&self.source)
    }

    /// Where transactions go.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The published state. Never waits.
    pub(super) fn snapshot(&self) -> Arc<State> {
        self.source.snapshot()
    }

    /// What is known about sharing; `None` where the state is nobody else's.
    pub(super) fn view(&self) -> Option<Arc<ClusterView>> {
        self.source.view()
    }

    /// Whether others write the same state.
    pub(super) fn is_shared(&self) -> bool {
        self.view().is_some()
    }

    /// Carries out a decision of that actor.
    pub(super) async fn carry_out(&self, decision: Decision, by: &str) -> Result<(), DecisionError> {
        self.source.decide(decision, by).await
    }

    /// How long activations go on while the place does not answer.
    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    /// Refuses while what lies in the shared place does not go on from the state that is published here.
    pub(super) fn require_undiverged(&self) -> Result<(), Error> {
        match self.view().as_ref().and_then(|view| view.diverged.as_ref()) {
            None => Ok(()),
            Some(divergence) => Err(diverged(&divergence.reason)),
        }
    }

    /// The newest state.
    pub(super) async fn validated(&self) -> Result<Arc<State>, Error> {
        self.require_undiverged()?;
        let state = self.source.validated(PATIENCE).await;
        // The reading may just have found that out, and that says more than that it failed.
        self.require_undiverged()?;
        state.map_err(|error| not_validated(&error))
    }

    /// Answers from the newest state alone.
    pub(super) async fn read<T>(&self, answer: impl FnOnce(&State) -> Result<T, Error>) -> Result<T, Error> {
        answer(&*self.validated().await?)
    }

    /// Answers from the published state; but a refusal from the newest one alone.
    pub(super) async fn decide<T>(&self, answer: impl Fn(&State) -> Result<T, Error>) -> Result<T, Error> {
        let state = self.snapshot();
        match answer(&state) {
            Ok(answer) => Ok(answer),
            Err(refusal) => answer(&*self.newer(&state, refusal).await?),
        }
    }

    /// What there is to go on from instead of giving this refusal, which was decided on that state: a newer one.
    ///
    /// # Errors
    /// The refusal, if it stands; or why that cannot be told now.
    pub(super) async fn newer(&self, than: &Arc<State>, refusal: Error) -> Result<Arc<State>, Error> {
        if !follows_from_state(refusal.kind) || !self.is_shared() {
            return Err(refusal);
        }
        let newest = self.validated().await?;
        if Arc::ptr_eq(&newest, than) { Err(refusal) } else { Ok(newest) }
    }

    /// As [`Currency::newer`], where the published state will do if there is nothing better.
    pub(super) async fn decide_here<T>(&self, answer: impl Fn(&State) -> Result<T, Error>) -> Result<T, Error> {
        match answer(&self.snapshot()) {
            Err(refusal) if follows_from_state(refusal.kind) && self.is_shared() => {
                // Whether or not it can be validated: the newest that is known here decides.
                let _ = self.source.validated(PATIENCE).await;
                answer(&self.snapshot())
            }
            answered => answered,
        }
    }

    /// What there is to say of a state that was prepared on, for what goes on within the grace.
    ///
    /// # Errors
    /// If the newest one cannot be told, and has not been for too long; or is another one altogether.
    pub(super) async fn proof(&self) -> Result<Proof, Error> {
        match self.validated().await {
            Ok(state) => Ok(Proof::Current(state)),
            Err(error) => {
                self.require_undiverged()?;
                let age = self.view().and_then(|view| offline_for(&view, self.grace, Instant::now()));
                age.map(Proof::Offline).ok_or(error)
            }
        }
    }
}

/// How long the place has not answered, if that is within the grace.
pub(super) fn offline_for(view: &ClusterView, grace: Duration, now: Instant) -> Option<Duration> {
    let age = now.saturating_duration_since(view.validated?);
    (view.diverged.is_none() && age < grace).then_some(age)
}

/// Whether another state might lead to another answer. Malformed requests, what other Coordinators do, and faults are none
/// of its business.
fn follows_from_state(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Unauthorized | ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Refused => true,
        ErrorKind::BadRequest
        | ErrorKind::Conflict
        | ErrorKind::TooLarge
        | ErrorKind::Internal
        | ErrorKind::Unavailable => false,
    }
}

/// The refusal of everything that would be decided by a state that another one contradicts.
pub(super) fn diverged(reason: &str) -> Error {
    Error::new(ErrorKind::Unavailable, "diverged", format!("nothing is written and nobody admitted: {reason}"))
}

fn not_validated(error: &NotCurrent) -> Error {
    Error::new(ErrorKind::Unavailable, "not_validated", format!("{error}; try again"))
}

#[cfg(test)]
mod tests;
