//! `POST update`: which kind of update is it? A package update names packages and nothing else, and raises
//! security versions. Everything else replaces the whole manifest, with as many acknowledgements as asked for.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use marblerun_pki::Authority;
use marblerun_state::{ActiveManifest, Draft, Phase, State};

use crate::core::HsmSealing;
use crate::core::answer::{PeerCertificate, UpdateAnswer};
use crate::core::candidate::{Candidate, Purpose};
use crate::core::sameness::{same_authority, same_manifest};
use crate::core::transaction::Step;
use crate::core::{full_update, identity, package_update};
use crate::error::{Error, ErrorKind};

pub(super) const COMMIT_PREFIX: &str = "committing store transaction: ";

/// An update that was found good for one state.
pub(super) enum Prepared {
    /// Security versions.
    Packages(package_update::Prepared),
    /// The whole manifest.
    Full(full_update::Prepared),
}

/// The first half.
pub(super) fn prepare(
    state: &State,
    peer: Option<&PeerCertificate>,
    raw: &Bytes,
    now: Timestamp,
    hsm: HsmSealing,
) -> Result<Prepared, Error> {
    let user = identity::user(state, peer)?;
    let candidate = Candidate::decode(raw.clone(), Purpose::Update)?;
    require_none_pending(state)?;
    if candidate.manifest.is_package_update() {
        package_update::prepare(state, user, &candidate, now).map(Prepared::Packages)
    } else {
        full_update::prepare(state, user, candidate, now, hsm).map(Prepared::Full)
    }
}

/// The second half.
pub(super) fn commit(
    draft: &mut Draft,
    prepared: &Prepared,
    peer: Option<&PeerCertificate>,
) -> Result<UpdateAnswer, Step> {
    let user = identity::user(draft.state(), peer)?.name.clone();
    require_none_pending(draft.state())?;
    match prepared {
        Prepared::Packages(prepared) => package_update::commit(draft, prepared, &user),
        Prepared::Full(prepared) => full_update::commit(draft, prepared, &user),
    }
}

fn require_none_pending(state: &State) -> Result<(), Error> {
    if state.pending_update().is_none() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Refused,
        "update_in_progress",
        "update already in progress. Acknowledge the update to apply it, or cancel it to start a new one",
    ))
}

/// Whether the manifest and authority in force are still those that a first half relied on.
pub(super) fn is_unmoved(state: &State, basis: &Basis) -> bool {
    state.manifest().is_some_and(|manifest| same_manifest(manifest, &basis.manifest))
        && same_authority(state.authority(), &basis.authority)
}

/// What a first half relied on.
pub(super) struct Basis {
    pub(super) manifest: Arc<ActiveManifest>,
    pub(super) authority: Arc<Authority>,
}

impl Basis {
    /// Takes it from a running state; a wrong state has none.
    pub(super) fn of(state: &State) -> Result<Self, Error> {
        let manifest =
            state.manifest().filter(|_| state.phase() == Phase::AcceptingMarbles).ok_or_else(Error::wrong_state)?;
        Ok(Self { manifest: Arc::clone(manifest), authority: Arc::clone(state.authority()) })
    }
}
