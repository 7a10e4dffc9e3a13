//! Reading the trail.

use marblerun_state::{AuditBase, AuditKind, SignedAuditHead};

use crate::core::{Coordinator, off_thread};
use crate::error::{Error, ErrorKind};

/// Most entries in one answer.
const MAX_PAGE: usize = 1000;

/// Some entries of a trail, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// What the first entry chains to; where the answer begins, if older entries were asked for and are dropped.
    pub start: AuditBase,
    /// The entries, each a line of JSON.
    pub lines: Vec<String>,
    /// The newest entry of the trail.
    pub head: AuditBase,
}

impl Coordinator {
    /// `GET audit`: entries of a trail after a sequence number, at most `limit` (and never more than 1000).
    #[must_use]
    pub fn audit_page(&self, kind: AuditKind, after: u64, limit: usize) -> AuditPage {
        let state = self.snapshot();
        let trail = state.audit(kind);
        let (start, lines) = trail.lines(after);
        AuditPage { start, lines: lines.take(limit.clamp(1, MAX_PAGE)).collect(), head: trail.head() }
    }

    /// `GET audit/head`: the heads of both trails, signed by the root key.
    ///
    /// # Errors
    /// If signing fails.
    pub async fn audit_head(&self) -> Result<SignedAuditHead, Error> {
        let now = u64::try_from(self.settings.clock.now().as_millisecond()).unwrap_or_default();
        let state = self.snapshot();
        off_thread(move || {
            let signed = state.sign_audit_head(now);
            signed.map_err(|error| Error::new(ErrorKind::Internal, "signing_failed", error.to_string()))
        })
        .await
    }

    /// Records all refusals now that would be recorded soon.
    pub async fn record_refusals(&self) {
        self.keeper.flush(true).await;
    }
}
