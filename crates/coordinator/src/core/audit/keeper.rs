//! Sees to it that refusals are recorded: one task, only while there are any.

use std::sync::Arc;

use jiff::Timestamp;
use marblerun_state::Phase;
use tokio::runtime::Handle;

use super::refusals::{FLUSH_EVERY, Refusals};
use crate::core::currency::Currency;
use crate::core::transaction::{self, Step};

/// The refusals of a Coordinator, and where they go.
pub(in crate::core) struct Keeper {
    currency: Currency,
    refusals: Refusals,
}

impl Keeper {
    pub(in crate::core) fn new(currency: Currency) -> Arc<Self> {
        Arc::new(Self { currency, refusals: Refusals::default() })
    }

    /// Counts one refusal, which will be recorded soon.
    pub(in crate::core) fn note(
        self: &Arc<Self>,
        actor: Option<&str>,
        subject: &'static str,
        reason: &'static str,
        now: Timestamp,
    ) {
        if !self.refusals.note(actor, subject, reason, now) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        // Must not keep a store open that nobody uses any more.
        let keeper = Arc::downgrade(self);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(FLUSH_EVERY).await;
                let Some(keeper) = keeper.upgrade() else { return };
                keeper.flush(false).await;
                if keeper.refusals.is_done() {
                    return;
                }
            }
        });
    }

    /// Records what is due, or everything.
    pub(in crate::core) async fn flush(&self, everything: bool) {
        // The state that is served in recovery mode is thrown away; the one that waits will have them.
        if self.currency.snapshot().phase() == Phase::Recovery {
            return;
        }
        let taken = Arc::new(self.refusals.take(everything));
        if taken.is_empty() {
            return;
        }
        let refusals = Arc::clone(&taken);
        let recorded =
            transaction::commit(&self.currency, "", move |draft| refusals.record(draft).map_err(Step::from)).await;
        if let Err(step) = recorded {
            tracing::debug!(?step, "refusals are not recorded yet");
            self.refusals.put_back(&taken);
        }
    }
}
