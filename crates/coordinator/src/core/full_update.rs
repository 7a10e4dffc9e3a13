//! Full updates: the whole manifest is replaced, once as many of its owners agree as the manifest in force
//! asks for. Everything that could fail is tried when the update is proposed, not after the last
//! acknowledgement; and each step is one transaction, so an update is applied exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use marblerun_pki::Authority;
use marblerun_state::{AuditEvent, Change, ChangeError, Draft, PendingUpdate, Permission, State, User};
use sha2::{Digest as _, Sha256};

use crate::core::HsmSealing;
use crate::core::answer::{PeerCertificate, UpdateAnswer};
use crate::core::audit;
use crate::core::candidate::{Candidate, Purpose};
use crate::core::identity;
use crate::core::installation::{self, Installation};
use crate::core::sameness::same_value;
use crate::core::transaction::{Step, record_all};
use crate::core::update::{Basis, is_unmoved};
use crate::core::update_log::{Entry, Progress, line};
use crate::core::update_notices::notices;
use crate::error::{Error, ErrorKind};

/// A proposed manifest that was found good, ready to be applied.
pub(super) struct Prepared {
    basis: Basis,
    raw: Bytes,
    authority: Arc<Authority>,
    installation: Installation,
    now: Timestamp,
}

impl Prepared {
    /// Whether it would be prepared the same in this state.
    fn fits(&self, state: &State) -> bool {
        is_unmoved(state, &self.basis) && self.installation.fits(state)
    }
}

/// Says in the log what the new manifest takes away.
fn announce(state: &State, candidate: &Candidate, user: &str) {
    for notice in notices(state, &candidate.manifest) {
        tracing::warn!(user, "proposed update: {notice}");
    }
}

/// The first half of proposing an update.
pub(super) fn prepare(
    state: &State,
    user: &User,
    candidate: Candidate,
    now: Timestamp,
    hsm: HsmSealing,
) -> Result<Prepared, Error> {
    let basis = Basis::of(state)?;
    if !may_update(user) {
        return Err(not_allowed(format!("user {} is not allowed to update the complete manifest", user.name)));
    }
    candidate.check(Purpose::Update, now, hsm)?;
    announce(state, &candidate, &user.name);
    prepare_checked(state, basis, candidate, now)
}

fn prepare_checked(state: &State, basis: Basis, candidate: Candidate, now: Timestamp) -> Result<Prepared, Error> {
    let authority = Arc::new(basis.authority.rotate_intermediate(now).map_err(|error| {
        Error::new(ErrorKind::Internal, "certificates_not_made", format!("updating certificates: {error}"))
    })?);
    let installation = installation::prepare(&candidate, Some(state), &authority, now)?;
    Ok(Prepared { basis, raw: candidate.raw, authority, installation, now })
}

/// The second half of proposing: the proposal waits for others, or is applied at once.
pub(super) fn commit(draft: &mut Draft, prepared: &Prepared, user: &str) -> Result<UpdateAnswer, Step> {
    if !prepared.fits(draft.state()) {
        return Err(Step::Stale);
    }
    let pending = proposal(&prepared.basis, &prepared.raw, user);
    let fingerprint = fingerprint(&prepared.raw);
    tell(draft, AuditEvent::UpdateProposed, prepared.now, user, &fingerprint)?;
    if pending.missing_acknowledgments == 0 {
        let entry = Entry::UpdateInitiatedAlone { user, fingerprint: &fingerprint };
        draft.record(Change::Log(vec![line(entry, prepared.now)]))?;
        return apply(draft, prepared, user, &fingerprint);
    }
    let missing_users = missing_users(&pending);
    let progress = Progress {
        user,
        missing: pending.missing_acknowledgments,
        missing_users: &missing_users,
        fingerprint: &fingerprint,
    };
    draft.record(Change::Log(vec![line(Entry::UpdateInitiated(progress), prepared.now)]))?;
    let missing_acknowledgments = pending.missing_acknowledgments;
    draft.record(Change::PendingUpdate(Some(Arc::new(pending))))?;
    Ok(UpdateAnswer { missing_acknowledgments, missing_users: Some(missing_users), recovery_secrets: None })
}

/// The first half of an acknowledgement: nothing but a check, unless it is the last one.
pub(super) fn prepare_acknowledgement(
    state: &State,
    peer: Option<&PeerCertificate>,
    raw: &[u8],
    now: Timestamp,
    hsm: HsmSealing,
) -> Result<Acknowledgement, Error> {
    let user = identity::user(state, peer)?;
    let pending = pending(state)?;
    let acknowledged = acknowledge(pending, &user.name, raw)?;
    if acknowledged.missing_acknowledgments > 0 {
        return Ok(Acknowledgement { pending: Arc::clone(pending), application: None, now });
    }
    let application = Basis::of(state).and_then(|basis| {
        let candidate = Candidate::decode(pending.raw.clone(), Purpose::Update)?;
        candidate.check(Purpose::Update, now, hsm)?;
        prepare_checked(state, basis, candidate, now)
    });
    Ok(Acknowledgement { pending: Arc::clone(pending), application: Some(application), now })
}

/// An acknowledgement of one pending update; with the last one, the update itself or why it cannot be applied.
pub(super) struct Acknowledgement {
    pending: Arc<PendingUpdate>,
    application: Option<Result<Prepared, Error>>,
    now: Timestamp,
}

/// What an acknowledgement led to. A failed application is a committed change too: the update is over.
pub(super) type Acknowledged = Result<UpdateAnswer, Error>;

/// The second half of an acknowledgement.
pub(super) fn commit_acknowledgement(
    draft: &mut Draft,
    acknowledgement: &Acknowledgement,
    peer: Option<&PeerCertificate>,
) -> Result<Acknowledged, Step> {
    let user = identity::user(draft.state(), peer)?.name.clone();
    let pending = pending(draft.state())?;
    if !same_value(pending, &acknowledgement.pending) {
        return Err(Step::Stale);
    }
    let before = Arc::clone(pending);
    let after = acknowledge(&before, &user, &before.raw)?;
    let now = acknowledgement.now;
    let fingerprint = fingerprint(&after.raw);
    let missing_users = missing_users(&after);
    let progress = Progress {
        user: &user,
        missing: after.missing_acknowledgments,
        missing_users: &missing_users,
        fingerprint: &fingerprint,
    };
    let acknowledged = line(Entry::UpdateAcknowledged(progress), now);

    let Some(application) = &acknowledgement.application else {
        // A repeated acknowledgement says nothing new, and a log that repeats it would be a way to fill it.
        if after != *before {
            draft.record(Change::Log(vec![acknowledged]))?;
            draft.record(Change::PendingUpdate(Some(Arc::new(after.clone()))))?;
            tell(draft, AuditEvent::UpdateAcknowledged, now, &user, &fingerprint)?;
        }
        return Ok(Ok(UpdateAnswer {
            missing_acknowledgments: after.missing_acknowledgments,
            missing_users: Some(missing_users),
            recovery_secrets: None,
        }));
    };
    match application {
        Ok(prepared) if !prepared.fits(draft.state()) => Err(Step::Stale),
        Ok(prepared) => {
            draft.record(Change::Log(vec![acknowledged]))?;
            draft.record(Change::PendingUpdate(None))?;
            tell(draft, AuditEvent::UpdateAcknowledged, now, &user, &fingerprint)?;
            apply(draft, prepared, &user, &fingerprint).map(Ok)
        }
        Err(error) => {
            let failed = line(Entry::UpdateFailed { fingerprint: &fingerprint }, now);
            draft.record(Change::Log(vec![acknowledged, failed]))?;
            draft.record(Change::PendingUpdate(None))?;
            tell(draft, AuditEvent::UpdateAcknowledged, now, &user, &fingerprint)?;
            let entry =
                audit::about_manifest(AuditEvent::UpdateFailed, now, &audit::user(&user), draft.state(), &fingerprint)
                    .reason(error.code);
            audit::record(draft, [entry])?;
            Ok(Err(error.clone()))
        }
    }
}

/// Ends the pending update. Any owner may end anybody's.
pub(super) fn cancel(draft: &mut Draft, peer: Option<&PeerCertificate>, now: Timestamp) -> Result<(), Step> {
    let user = identity::user(draft.state(), peer)?;
    if !may_update(user) {
        return Err(not_allowed(format!("user {} is not allowed to cancel the manifest update", user.name)).into());
    }
    let user = user.name.clone();
    let fingerprint = fingerprint(&pending(draft.state())?.raw);
    let entry = Entry::UpdateCancelled { user: &user, fingerprint: &fingerprint };
    draft.record(Change::Log(vec![line(entry, now)]))?;
    draft.record(Change::PendingUpdate(None))?;
    tell(draft, AuditEvent::UpdateCancelled, now, &user, &fingerprint)?;
    Ok(())
}

/// The pending update: raw manifest, who has not acknowledged, how many are needed.
pub(super) fn view(state: &State) -> Result<(Vec<u8>, Vec<String>, i64), Error> {
    let pending = pending(state)?;
    Ok((pending.raw.to_vec(), missing_users(pending), pending.missing_acknowledgments))
}

fn apply(draft: &mut Draft, prepared: &Prepared, user: &str, fingerprint: &str) -> Result<UpdateAnswer, Step> {
    tell(draft, AuditEvent::UpdateApplied, prepared.now, user, fingerprint)?;
    draft.record(Change::Authority(Arc::clone(&prepared.authority)))?;
    record_all(draft, prepared.installation.changes.iter().cloned())?;
    draft.record(Change::Log(vec![line(Entry::UpdateApplied { fingerprint }, prepared.now)]))?;
    Ok(UpdateAnswer {
        missing_acknowledgments: 0,
        missing_users: None,
        recovery_secrets: prepared.installation.recovery_secrets.clone(),
    })
}

/// An entry in the audit trail about the proposed manifest, beside the one in force.
fn tell(
    draft: &mut Draft,
    event: AuditEvent,
    now: Timestamp,
    user: &str,
    fingerprint: &str,
) -> Result<(), ChangeError> {
    let entry = audit::about_manifest(event, now, &audit::user(user), draft.state(), fingerprint);
    audit::record(draft, [entry])
}

/// The pending update of a fresh proposal, with the proposer's own acknowledgement. Who is asked, and how
/// many are needed, is what the manifest in force says.
fn proposal(basis: &Basis, raw: &Bytes, proposer: &str) -> PendingUpdate {
    let owners = basis.manifest.users.values().filter(|user| may_update(user));
    let required_users: BTreeMap<String, bool> =
        owners.map(|user| (user.name.clone(), user.name == proposer)).collect();
    let needed = match basis.manifest.manifest.config.update_threshold {
        0 => required_users.len() as u64,
        threshold => threshold,
    };
    let missing_acknowledgments = i64::try_from(needed).unwrap_or(i64::MAX).saturating_sub(1).max(0);
    PendingUpdate { raw: raw.clone(), required_users, missing_acknowledgments }
}

/// The pending update after an acknowledgement. One that was given before does not count again.
fn acknowledge(pending: &PendingUpdate, user: &str, raw: &[u8]) -> Result<PendingUpdate, Error> {
    let Some(acknowledged) = pending.required_users.get(user) else {
        return Err(not_allowed(format!("user {user} is not allowed to acknowledge manifest updates")));
    };
    if raw != &pending.raw[..] {
        return Err(Error::new(
            ErrorKind::Refused,
            "manifest_mismatch",
            "provided manifest does not match the pending manifest",
        ));
    }
    let mut after = pending.clone();
    if !acknowledged {
        after.required_users.insert(user.to_owned(), true);
        after.missing_acknowledgments = (after.missing_acknowledgments - 1).max(0);
    }
    Ok(after)
}

fn pending(state: &State) -> Result<&Arc<PendingUpdate>, Error> {
    state.pending_update().ok_or_else(|| Error::new(ErrorKind::NotFound, "no_pending_update", "no update in progress"))
}

fn missing_users(pending: &PendingUpdate) -> Vec<String> {
    pending.required_users.iter().filter(|(_, acknowledged)| !**acknowledged).map(|(name, _)| name.clone()).collect()
}

fn may_update(user: &User) -> bool {
    user.is_allowed(Permission::UpdateManifest, std::iter::empty())
}

fn fingerprint(raw: &[u8]) -> String {
    hex::encode(Sha256::digest(raw))
}

fn not_allowed(text: String) -> Error {
    Error::new(ErrorKind::Refused, "not_allowed", text)
}

#[cfg(test)]
mod tests;
