//! Marbles that stay up over an update keep the access that their certificate gave them: until they activate
//! again, or until a deadline. An update replaces the Marble root, so without this every Marble that runs would
//! be a stranger from one moment to the next.
//!
//! Kept are the certificates of replaced roots, never their keys: nothing new is issued under them. What a later
//! manifest takes away is not kept: a Marble type that is gone, or that has become another program, is excluded
//! for good, also if it comes back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use marblerun_manifest::model::Package;
use marblerun_state::{Change, ChangeError, Draft, RetiredRoot, State};
use sha2::{Digest as _, Sha256};

/// Instances whose repeated activation is remembered. Beyond them the deadline alone counts.
const MAX_INSTANCES: usize = 65_536;

/// Names a Marble root: SHA-256 of its certificate.
pub(super) type RootName = [u8; 32];

/// The name of a Marble root.
pub(super) fn root_name(certificate: &[u8]) -> RootName {
    Sha256::digest(certificate).into()
}

/// How long, and who has activated again. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Grace {
    period: SignedDuration,
    reactivated: Arc<Mutex<HashMap<[u8; 32], RootName>>>,
}

impl Grace {
    /// `period` of zero ends all standing with the update.
    pub(super) fn new(period: SignedDuration) -> Self {
        Self { period, reactivated: Arc::default() }
    }

    /// Runs a transaction; if it replaced the Marble root, the one before retires with it.
    pub(super) fn over<T, E: From<ChangeError>>(
        &self,
        draft: &mut Draft,
        now: Timestamp,
        transaction: impl FnOnce(&mut Draft) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = draft.state().clone();
        let answer = transaction(draft)?;
        if !Arc::ptr_eq(before.authority(), draft.state().authority()) {
            let retired = retired(&before, draft.state(), self.period, now);
            if retired != before.retired_roots() {
                draft.record(Change::RetiredRoots(retired))?;
            }
        }
        Ok(answer)
    }

    /// The roots under which a Marble's certificate may stand, the one in force first, then newest first.
    pub(super) fn roots<'s>(&self, state: &'s State, now: Timestamp) -> impl Iterator<Item = Root<'s>> {
        let in_force = Root { certificate: &state.authority().marble_root_certificate, retired: None };
        let retired = state.retired_roots().iter().rev().filter(move |root| self.counts(root, now));
        std::iter::once(in_force)
            .chain(retired.map(|root| Root { certificate: &root.certificate, retired: Some(root) }))
    }

    /// Whether a Marble with a certificate under that root still has a standing.
    pub(super) fn stands(
        &self,
        state: &State,
        root: &RootName,
        marble_type: &str,
        uuid: &[u8; 16],
        now: Timestamp,
    ) -> bool {
        let seen = self.lock().get(&instance(marble_type, uuid)).copied();
        for candidate in self.roots(state, now) {
            let name = root_name(candidate.certificate);
            if name == *root {
                return candidate.retired.is_none_or(|retired| !retired.excluded.contains(marble_type));
            }
            // It has activated under a newer root than its certificate's.
            if seen == Some(name) {
                return false;
            }
        }
        false
    }

    /// A Marble was activated in this state: what it got under older roots counts no more.
    pub(super) fn activated(&self, state: &State, marble_type: &str, uuid: &[u8; 16], now: Timestamp) {
        // Without an older root there is nothing to end.
        if !state.retired_roots().iter().any(|root| self.counts(root, now)) {
            return;
        }
        let name = root_name(&state.authority().marble_root_certificate);
        let mut seen = self.lock();
        if seen.len() >= MAX_INSTANCES {
            // Entries for roots that are gone say nothing any more.
            let live: BTreeSet<RootName> = self.roots(state, now).map(|root| root_name(root.certificate)).collect();
            seen.retain(|_, root| live.contains(root));
        }
        let key = instance(marble_type, uuid);
        if seen.len() < MAX_INSTANCES || seen.contains_key(&key) {
            seen.insert(key, name);
        }
    }

    fn counts(&self, root: &RetiredRoot, now: Timestamp) -> bool {
        self.period > SignedDuration::ZERO && now.as_millisecond() < root.until_ms
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], RootName>> {
        // Nothing in here can be left half done.
        self.reactivated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Marble root that may give access.
pub(super) struct Root<'s> {
    pub(super) certificate: &'s [u8],
    retired: Option<&'s RetiredRoot>,
}

/// One Marble instance, in as many bytes however long the name of its type is.
fn instance(marble_type: &str, uuid: &[u8; 16]) -> [u8; 32] {
    Sha256::new().chain_update(uuid).chain_update(marble_type).finalize().into()
}

/// The replaced roots that still count after an update, with what it took away.
fn retired(before: &State, after: &State, period: SignedDuration, now: Timestamp) -> Vec<Arc<RetiredRoot>> {
    let Some(until) = now.checked_add(period).ok().filter(|_| period > SignedDuration::ZERO) else {
        return Vec::new();
    };
    let lost = lost_types(before, after);
    let newly = RetiredRoot {
        certificate: before.authority().marble_root_certificate.clone(),
        until_ms: until.as_millisecond(),
        excluded: lost.clone(),
    };
    let older = before.retired_roots().iter().filter(|root| now.as_millisecond() < root.until_ms).map(|root| {
        let excluded = root.excluded.union(&lost).cloned().collect();
        RetiredRoot { excluded, ..RetiredRoot::clone(root) }
    });
    // Where it cannot be kept who is excluded, nobody is let in.
    let mut kept: Vec<_> = older.chain(std::iter::once(newly)).filter(RetiredRoot::is_bounded).map(Arc::new).collect();
    let surplus = kept.len().saturating_sub(Change::MAX_RETIRED_ROOTS);
    kept.drain(..surplus);
    kept
}

/// Marble types that the update removed, or gave to another program.
fn lost_types(before: &State, after: &State) -> BTreeSet<String> {
    let (old, new) = (programs(before), programs(after));
    let is_lost = |name: &str, old: &Package| new.get(name).is_none_or(|new| !is_same_program(old, new));
    old.into_iter().filter(|(name, package)| is_lost(name, package)).map(|(name, _)| name.to_owned()).collect()
}

/// The package of each Marble type as it is in force.
fn programs(state: &State) -> BTreeMap<&str, &Package> {
    let marbles = state.manifest().into_iter().flat_map(|active| &active.manifest.marbles);
    marbles.filter_map(|(name, marble)| Some((name.as_str(), &**state.package(&marble.package)?))).collect()
}

/// Whether what ran as the one package could, but for its security version, run as the other. Security
/// versions are raised while Marbles run: that is what the grace is for.
fn is_same_program(old: &Package, new: &Package) -> bool {
    let same_id = |old: &str, new: &str| old.eq_ignore_ascii_case(new);
    same_id(&old.unique_id, &new.unique_id)
        && same_id(&old.signer_id, &new.signer_id)
        && old.product_id == new.product_id
        && (&old.tdx, &old.snp) == (&new.tdx, &new.snp)
        && (new.debug || !old.debug)
}

#[cfg(test)]
mod tests;
