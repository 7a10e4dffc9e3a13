//! What collateral was believed outlives the process: the verifier's marks stand in the sealed state, too.
//!
//! Whoever can restart a Coordinator, or roll its state over to another host, and serves it old collateral would otherwise
//! have it forget that a platform is known to be broken. The state in force and the verifier learn from each other: marks
//! of the state are the verifier's before anything is judged from that state, and what the verifier has seen beyond them
//! is written with the next activation that writes anyway, else soon in a small transaction. Nobody waits for that, and
//! nothing fails with it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use marblerun_attestation::{HighWater, Verifier};
use marblerun_state::{Change, Draft, Phase, State};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::core::currency::Currency;
use crate::core::transaction::{self, Step};

/// How long what has risen waits for more of it, or for a transaction that takes it along.
const GATHER: Duration = Duration::from_secs(2);
/// After a write that failed.
const RETRY: Duration = Duration::from_secs(60);

/// The marks of a Coordinator's verifier, and where they are kept.
pub(super) struct CollateralMarks {
    currency: Currency,
    verifier: Arc<dyn Verifier>,
    /// Those of the state that were learned last.
    learned: ArcSwapOption<BTreeMap<String, u64>>,
    /// Whether the verifier may know more than the state.
    is_ahead: Arc<AtomicBool>,
    rose: Arc<Notify>,
}

impl CollateralMarks {
    /// Of that verifier, which may have none.
    pub(super) fn new(currency: Currency, verifier: Arc<dyn Verifier>) -> Arc<Self> {
        let new = Arc::new(Self {
            currency,
            verifier,
            learned: ArcSwapOption::empty(),
            is_ahead: Arc::default(),
            rose: Arc::default(),
        });
        if let Some(high_water) = new.verifier.high_water() {
            let (is_ahead, rose) = (Arc::clone(&new.is_ahead), Arc::clone(&new.rose));
            high_water.on_rise(move || {
                is_ahead.store(true, Ordering::Release);
                rose.notify_one();
            });
            new.learn(&new.currency.snapshot());
            if let Ok(runtime) = Handle::try_current() {
                // Must not keep a store open that nobody uses any more.
                runtime.spawn(keep(Arc::downgrade(&new), Arc::clone(&new.rose)));
                new.follow(&runtime);
            }
        }
        new
    }

    /// Has the verifier know what the state knows; before anything is judged from that state. Costs next to nothing where
    /// the state's marks are those of before.
    pub(super) fn learn(&self, state: &State) {
        let Some(high_water) = self.verifier.high_water() else { return };
        // What is served in recovery mode is no state of the deployment.
        if state.phase() == Phase::Recovery {
            return;
        }
        let marks = state.collateral_marks();
        if self.learned.load().as_ref().is_none_or(|learned| !Arc::ptr_eq(learned, marks)) {
            if high_water.raise(marks) {
                self.is_ahead.store(true, Ordering::Release);
            }
            self.learned.store(Some(Arc::clone(marks)));
        }
        if self.is_ahead.load(Ordering::Acquire) {
            self.rose.notify_one();
        }
    }

    /// Takes along what the state does not know yet, in a transaction about something else.
    pub(super) fn take_along(&self, draft: &mut Draft) {
        let Some(high_water) = self.verifier.high_water() else { return };
        if let Some(change) = rising(high_water, draft.state())
            && let Err(error) = draft.record(change)
        {
            tracing::warn!(%error, "the newest collateral is not remembered");
        }
    }

    /// Writes what the state does not know yet, if there is anything.
    pub(super) async fn flush(self: &Arc<Self>) -> Result<(), Step> {
        let Some(high_water) = self.verifier.high_water() else { return Ok(()) };
        let state = self.currency.snapshot();
        // Without a manifest nothing is stored for the sake of this, and nothing was verified for a Marble.
        if state.phase() != Phase::AcceptingMarbles || !self.is_ahead.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        if rising(high_water, &state).is_none() {
            return Ok(());
        }
        let this = Arc::clone(self);
        let written = transaction::commit(&self.currency, "", move |draft| {
            this.take_along(draft);
            Ok(())
        });
        written.await.inspect_err(|_| self.is_ahead.store(true, Ordering::Release))
    }

    /// Learns from every state that others write, also while no Marble comes.
    fn follow(self: &Arc<Self>, runtime: &Handle) {
        let Some(cluster) = self.currency.store().cluster() else { return };
        let (mut changes, this) = (cluster.changes(), Arc::downgrade(self));
        runtime.spawn(async move {
            while changes.changed().await.is_ok() {
                let Some(this) = this.upgrade() else { return };
                this.learn(&this.currency.snapshot());
            }
        });
    }
}

impl Drop for CollateralMarks {
    fn drop(&mut self) {
        // Who waits there goes home.
        self.rose.notify_one();
    }
}

/// Writes what has risen, as long as somebody uses it.
async fn keep(marks: Weak<CollateralMarks>, rose: Arc<Notify>) {
    while marks.strong_count() > 0 {
        rose.notified().await;
        tokio::time::sleep(GATHER).await;
        let Some(marks) = marks.upgrade() else { return };
        let flushed = marks.flush().await;
        drop(marks);
        if let Err(step) = flushed {
            tracing::warn!(?step, "the newest collateral is not remembered yet");
            tokio::time::sleep(RETRY).await;
            rose.notify_one();
        }
    }
}

/// The change that has the state know what the verifier knows. Where there are too many marks for a state, those that
/// stand in it rise, and no new ones come.
fn rising(high_water: &HighWater, state: &State) -> Option<Change> {
    let known = state.collateral_marks();
    let mut room = Change::MAX_COLLATERAL_MARKS.saturating_sub(known.len());
    let mut rising = high_water.above(known);
    rising.retain(|name, _| {
        let fits = known.contains_key(name) || room > 0;
        room -= usize::from(fits && !known.contains_key(name));
        fits
    });
    (!rising.is_empty()).then_some(Change::CollateralMarks(rising))
}

#[cfg(test)]
mod tests {
    use marblerun_attestation::AnyTee;
    use marblerun_store::Store;

    use super::*;
    use crate::core::{Clock, sample};
    use crate::start::temporary_state;

    fn marks(marks: &[(&str, u64)]) -> BTreeMap<String, u64> {
        marks.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    /// A running deployment that knows these.
    fn state(known: &[(&str, u64)]) -> Arc<State> {
        let mut state = temporary_state(Phase::AcceptingManifest, "localhost", &Clock::system()).unwrap();
        state.apply(&Change::Manifest { raw: "{}".into(), signature: Vec::new() }).unwrap();
        state.apply(&Change::CollateralMarks(marks(known))).unwrap();
        Arc::new(state)
    }

    #[tokio::test]
    async fn what_another_instance_wrote_is_learned_and_a_restored_state_is_brought_up_to_date() {
        let first = state(&[("a", 5)]);
        let (store, place) = (Store::in_memory(State::clone(&first)), sample::Place::new(Arc::clone(&first)));
        let verifier = Arc::new(AnyTee::default());
        let known = || verifier.high_water().unwrap().marks();
        let currency = Currency::over(store.clone(), place.clone(), Duration::ZERO);
        let kept = CollateralMarks::new(currency, verifier.clone());
        assert_eq!(known(), marks(&[("a", 5)]), "at the start");
        kept.learn(&state(&[("a", 4), ("b", 7)]));
        assert_eq!(known(), marks(&[("a", 5), ("b", 7)]), "the greater of each");
        kept.flush().await.unwrap();
        assert_eq!(**store.snapshot().collateral_marks(), known(), "as if the older state had been restored here");
        let sequence = store.status().sequence;
        kept.learn(&store.snapshot());
        kept.flush().await.unwrap();
        assert_eq!(store.status().sequence, sequence, "nothing is left to write");
    }

    #[tokio::test]
    async fn what_is_served_in_recovery_mode_teaches_nothing() {
        let mut temporary = temporary_state(Phase::Recovery, "localhost", &Clock::system()).unwrap();
        temporary.apply(&Change::CollateralMarks(marks(&[("a", 5)]))).unwrap();
        let verifier = Arc::new(AnyTee::default());
        let store = Store::in_memory(temporary);
        let currency = Currency::new(store.clone(), Duration::ZERO);
        let kept = CollateralMarks::new(currency, verifier.clone());
        assert!(verifier.high_water().unwrap().marks().is_empty());
        verifier.high_water().unwrap().raise(&marks(&[("b", 5)]));
        kept.flush().await.unwrap();
        assert_eq!(**store.snapshot().collateral_marks(), marks(&[("a", 5)]), "and nothing is written into it");
    }

    #[test]
    fn a_full_state_keeps_what_it_has_and_has_that_rise() {
        let full: Vec<String> = (0..Change::MAX_COLLATERAL_MARKS).map(|number| number.to_string()).collect();
        let known: Vec<(&str, u64)> = full.iter().map(|name| (name.as_str(), 1)).collect();
        let (state, high_water) = (state(&known), HighWater::default());
        high_water.raise(&marks(&[("new", 9)]));
        assert!(rising(&high_water, &state).is_none());
        high_water.raise(&marks(&[("7", 2)]));
        let Some(Change::CollateralMarks(rising)) = rising(&high_water, &state) else { panic!("nothing rises") };
        assert_eq!(rising, marks(&[("7", 2)]));
    }
}
