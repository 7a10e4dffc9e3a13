//! Setting a manifest: the first one, or one over a state that waits for recovery (which the store puts
//! away first). All checks come before the one commit, so a refused manifest changes nothing anywhere.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use marblerun_pki::Authority;
use marblerun_state::{AuditEvent, Change, Draft, Phase, State};
use sha2::{Digest as _, Sha256};

use crate::core::HsmSealing;
use crate::core::answer::ManifestSetAnswer;
use crate::core::audit;
use crate::core::candidate::{Candidate, Purpose};
use crate::core::installation::{self, Installation};
use crate::core::sameness::same_authority;
use crate::core::transaction::{Step, record_all};
use crate::core::update_log::{Entry, line};
use crate::error::Error;

pub(super) const COMMIT_PREFIX: &str = "sealing state: ";

/// A manifest that was found good for one authority.
pub(super) struct Prepared {
    installation: Installation,
    /// That of the state it was prepared on.
    base: Arc<Authority>,
    /// The one that clients were shown, and that stays.
    shown: Arc<Authority>,
    warnings: Vec<String>,
    /// Who sets it, for the audit trail.
    actor: &'static str,
    fingerprint: String,
    now: Timestamp,
}

/// Whether a manifest can be set at all; asked before anything of it is read.
pub(super) fn require_acceptance(state: &State) -> Result<(), Error> {
    match state.phase() {
        Phase::Recovery | Phase::AcceptingManifest => Ok(()),
        Phase::AcceptingMarbles => Err(Error::wrong_state()),
    }
}

/// The first half: all stages. Slow. `shown` is the authority that clients have met, the state's own but where
/// Coordinators recover together.
pub(super) fn prepare(
    state: &State,
    shown: Arc<Authority>,
    raw: Bytes,
    actor: &'static str,
    now: Timestamp,
    hsm: HsmSealing,
) -> Result<Prepared, Error> {
    require_acceptance(state)?;
    let candidate = Candidate::decode(raw, Purpose::Set)?;
    let warnings = candidate.check(Purpose::Set, now, hsm)?;
    let base = Arc::clone(state.authority());
    let installation = installation::prepare(&candidate, None, &shown, now)?;
    let fingerprint = hex::encode(Sha256::digest(&candidate.raw));
    Ok(Prepared { installation, base, shown, warnings, actor, fingerprint, now })
}

/// The second half.
pub(super) fn commit(draft: &mut Draft, prepared: &Prepared) -> Result<ManifestSetAnswer, Step> {
    require_acceptance(draft.state())?;
    if !same_authority(draft.state().authority(), &prepared.base) {
        return Err(Step::Stale);
    }
    if !same_authority(&prepared.base, &prepared.shown) {
        record_all(draft, [Change::Authority(Arc::clone(&prepared.shown))])?;
    }
    let waited = draft.state().phase() == Phase::Recovery;
    let entry = audit::about_manifest(
        AuditEvent::ManifestSet,
        prepared.now,
        prepared.actor,
        draft.state(),
        &prepared.fingerprint,
    );
    // What the state that waited had told stays with it, in the archive.
    audit::record(draft, [if waited { entry.reason("recovery_given_up") } else { entry }])?;
    record_all(draft, prepared.installation.changes.iter().cloned())?;
    record_all(draft, [Change::LogReset, Change::Log(vec![line(Entry::ManifestSet, prepared.now)])])?;
    Ok(ManifestSetAnswer {
        recovery_secrets: prepared.installation.recovery_secrets.clone().unwrap_or_default(),
        warnings: prepared.warnings.clone(),
    })
}
