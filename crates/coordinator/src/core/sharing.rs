//! A state that several Coordinators share, as operators see it: what is known about it, what they decide where it does
//! not go on from the one that is served, and how large it may still grow.

use std::sync::Arc;
use std::time::Duration;

use marblerun_state::{Permission, State};
use marblerun_store::cluster::{ClusterView, DecisionError};

use crate::core::answer::{PeerCertificate, UpdateAnswer};
use crate::core::currency::Decision;
use crate::core::{Coordinator, audit, identity};
use crate::error::{Error, ErrorKind};

/// Most bytes that an object is planned to have (cluster protocol, section 8).
const PLANNED_BYTES: usize = 1_000_000;
/// From here on `kubectl apply` of a backup may fail: it repeats the object in an annotation, of which an API server
/// takes 262,144 bytes, and the object stands there as base64.
const APPLICABLE_BYTES: usize = 180 << 10;

impl Coordinator {
    /// What is known about sharing the state; `None` where it is nobody else's. Never waits.
    #[must_use]
    pub fn cluster_view(&self) -> Option<Arc<ClusterView>> {
        self.currency.view()
    }

    /// How long activations go on while the place of a shared state does not answer.
    #[must_use]
    pub fn offline_grace(&self) -> Duration {
        self.currency.grace()
    }

    /// Refuses whoever is no user of the state that is served here: the guard of decisions about states that contradict
    /// it, so it is not for those to say who decides.
    ///
    /// # Errors
    /// 401 with upstream's text.
    pub async fn authenticate_user_here(&self, peer: Option<&PeerCertificate>) -> Result<String, Error> {
        self.currency.decide_here(|state| identity::user(state, peer).map(|user| user.name.clone())).await
    }

    /// What lies in the shared place replaces what is served here. Answers who decided, as the audit trail names him.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn accept_restore(&self, user: Option<&PeerCertificate>) -> Result<String, Error> {
        let decided = self.decided_here(user, Decision::AcceptRestore, "accept or reject a restored state").await;
        self.noted(user, "accept_restore", decided)
    }

    /// What is served here is written back over what lies in the shared place.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn reject_restore(&self, user: Option<&PeerCertificate>) -> Result<String, Error> {
        let decided = self.decided_here(user, Decision::RejectRestore, "accept or reject a restored state").await;
        self.noted(user, "reject_restore", decided)
    }

    /// Another key encryption key. `revoke`: the old ones go at once, and the data encryption key with them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rotate_kek(&self, user: Option<&PeerCertificate>, revoke: bool) -> Result<String, Error> {
        let rotated = async {
            self.require_shared()?;
            let judge = |state: &State| judge(state, user, "rotate the key encryption key");
            let by = self.currency.read(judge).await?;
            self.carry_out(Decision::RotateKek { revoke }, by).await
        };
        let rotated = rotated.await;
        self.noted(user, "rotate_kek", rotated)
    }

    /// From when on an update that was applied is in force at the other Coordinators; `None` if there are no others, or
    /// it is not in force yet.
    #[must_use]
    pub fn in_force_elsewhere(&self, update: &UpdateAnswer) -> Option<Duration> {
        (update.missing_acknowledgments == 0 && self.currency.is_shared()).then_some(self.currency.grace())
    }

    async fn decided_here(
        &self,
        user: Option<&PeerCertificate>,
        decision: Decision,
        what: &str,
    ) -> Result<String, Error> {
        self.require_shared()?;
        let by = self.currency.decide_here(|state| judge(state, user, what)).await?;
        self.carry_out(decision, by).await
    }

    async fn carry_out(&self, decision: Decision, by: String) -> Result<String, Error> {
        let done = self.currency.carry_out(decision, &by).await;
        done.map_err(|error| match error {
            DecisionError::NotNow(cause) => Error::new(ErrorKind::Refused, "nothing_to_decide", cause),
            DecisionError::NotStored(cause) => Error::new(ErrorKind::Unavailable, "not_stored", cause),
        })?;
        tracing::warn!(by, ?decision, "an operator decided about the shared state");
        Ok(by)
    }

    fn require_shared(&self) -> Result<(), Error> {
        if self.currency.is_shared() { Ok(()) } else { Err(not_shared()) }
    }

    /// Has it said in the log when the shared state has grown into another range of sizes.
    pub(super) fn watch_size(&self) {
        let Some(cluster) = self.store.cluster() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut changes = cluster.changes();
        // Must not keep a store open that nobody uses any more.
        let source = self.currency.downgrade();
        runtime.spawn(async move {
            let mut said = 0;
            while changes.changed().await.is_ok() {
                let Some(view) = source.upgrade().and_then(|source| source.view()) else { return };
                let warnings = of_size(view.bytes);
                for warning in warnings.iter().skip(said) {
                    tracing::warn!("{warning}");
                }
                said = warnings.len();
            }
        });
    }
}

/// The refusal where there is nothing to share.
pub(crate) fn not_shared() -> Error {
    Error::new(ErrorKind::Refused, "state_not_shared", "this Coordinator does not share its state")
}

/// Who asks, as the audit trail names him, if he may decide about the state.
pub(super) fn judge(state: &State, peer: Option<&PeerCertificate>, what: &str) -> Result<String, Error> {
    let user = identity::user(state, peer)?;
    if !user.is_allowed(Permission::UpdateManifest, std::iter::empty()) {
        let text = format!("user {} is not allowed to {what}: it takes UpdateManifest", user.name);
        return Err(Error::new(ErrorKind::Forbidden, "not_allowed", text));
    }
    Ok(audit::user(&user.name).into_owned())
}

/// What an operator should know about the size of the shared object; more of it the larger it is.
pub(super) fn of_size(bytes: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if bytes >= APPLICABLE_BYTES {
        warnings.push(format!(
            "the shared state has {bytes} bytes: `kubectl apply` of a backup fails from about {APPLICABLE_BYTES} bytes on (annotation limit 262,144); use `kubectl replace --force`"
        ));
    }
    if bytes >= PLANNED_BYTES / 10 * 7 {
        warnings.push(format!(
            "the shared state has {bytes} of {PLANNED_BYTES} bytes: beyond them changes are refused, unless parts are allowed; remove secrets and monotonic counters that nobody uses"
        ));
    }
    warnings
}

/// What an operator should know about the shared state besides its size.
pub(super) fn warnings(view: &ClusterView) -> Vec<String> {
    let mut warnings = Vec::new();
    if view.missing {
        warnings.push(format!(
            "{} was deleted while its state is served: it is not made again by itself; put it back, or have it written back with `marblerun restore reject`",
            view.place
        ));
    }
    if view.serving && !view.entry_sealed {
        warnings.push(
            "the key encryption key is not kept for this host yet: after a restart it has to come from another Coordinator"
                .to_owned(),
        );
    }
    warnings.extend(of_size(view.bytes));
    warnings
}

#[cfg(test)]
mod tests;
