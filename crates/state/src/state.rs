//! The state of a deployment as one value.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use marblerun_manifest::model::Package;
use marblerun_pki::{Authority, Secret};
use rpds::{RedBlackTreeMapSync, VectorSync};
use zeroize::Zeroizing;

use crate::audit::{AuditKind, AuditTrail};
use crate::manifest::ActiveManifest;
use crate::{
    ChangeError, CounterKey, Home, Incarnation, Lineage, PendingUpdate, Phase, RecoveryEntry, RetiredRoot, RootSecret,
    Standing, Writers,
};

/// The state. Clone is O(1): maps are persistent and share what did not change, values stand behind
/// [`Arc`]. Fields are read through the methods and changed by [`State::apply`] alone.
#[derive(Clone)]
pub struct State {
    pub(crate) phase: Phase,
    pub(crate) lineage: Lineage,
    pub(crate) authority: Arc<Authority>,
    pub(crate) root_secret: RootSecret,
    pub(crate) previous_root_secret: Option<RootSecret>,
    pub(crate) manifest: Option<Arc<ActiveManifest>>,
    pub(crate) packages: RedBlackTreeMapSync<Box<str>, Arc<Package>>,
    pub(crate) secrets: RedBlackTreeMapSync<Box<str>, Arc<Secret>>,
    pub(crate) previous_secrets: RedBlackTreeMapSync<Box<str>, Arc<Secret>>,
    pub(crate) activations: RedBlackTreeMapSync<Box<str>, u64>,
    pub(crate) counters: RedBlackTreeMapSync<CounterKey, u64>,
    pub(crate) update_log: VectorSync<Box<str>>,
    pub(crate) update_log_bytes: usize,
    pub(crate) pending_update: Option<Arc<PendingUpdate>>,
    pub(crate) recovery: Arc<[Arc<RecoveryEntry>]>,
    pub(crate) retired_roots: Arc<[Arc<RetiredRoot>]>,
    pub(crate) extra: RedBlackTreeMapSync<Box<str>, Zeroizing<Vec<u8>>>,
    pub(crate) audit: AuditTrail,
    pub(crate) refusals: AuditTrail,
    pub(crate) writers: Arc<Writers>,
    pub(crate) incarnations: Arc<[Incarnation]>,
    pub(crate) home: Option<Arc<Home>>,
    pub(crate) collateral_marks: Arc<BTreeMap<String, u64>>,
}

impl State {
    /// A state with an authority and a root secret and no manifest.
    /// `phase` is [`Phase::AcceptingManifest`] or [`Phase::Recovery`] (then authority and secret are temporary).
    #[must_use]
    pub fn new(phase: Phase, lineage: Lineage, authority: Arc<Authority>, root_secret: RootSecret) -> Self {
        Self {
            phase,
            lineage,
            authority,
            root_secret,
            previous_root_secret: None,
            manifest: None,
            packages: RedBlackTreeMapSync::new_sync(),
            secrets: RedBlackTreeMapSync::new_sync(),
            previous_secrets: RedBlackTreeMapSync::new_sync(),
            activations: RedBlackTreeMapSync::new_sync(),
            counters: RedBlackTreeMapSync::new_sync(),
            update_log: VectorSync::new_sync(),
            update_log_bytes: 0,
            pending_update: None,
            recovery: Arc::from([]),
            retired_roots: Arc::from([]),
            extra: RedBlackTreeMapSync::new_sync(),
            audit: AuditTrail::new(AuditKind::Changes, &lineage.deployment_id),
            refusals: AuditTrail::new(AuditKind::Refusals, &lineage.deployment_id),
            writers: Arc::default(),
            incarnations: Arc::from([]),
            home: None,
            collateral_marks: Arc::default(),
        }
    }

    /// Recovery, accepting a manifest, or running. Becomes running when a manifest comes into force.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Which deployment this is.
    #[must_use]
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Keys and certificates.
    #[must_use]
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Current root secret.
    #[must_use]
    pub fn root_secret(&self) -> &RootSecret {
        &self.root_secret
    }

    /// Root secret before the last rotation; the current one if there was none.
    #[must_use]
    pub fn previous_root_secret(&self) -> &RootSecret {
        self.previous_root_secret.as_ref().unwrap_or(&self.root_secret)
    }

    /// The manifest in force.
    #[must_use]
    pub fn manifest(&self) -> Option<&Arc<ActiveManifest>> {
        self.manifest.as_ref()
    }

    /// The effective package (its security version may be above the manifest's).
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&Arc<Package>> {
        self.packages.get(name)
    }

    /// All effective packages, in name order.
    pub fn packages(&self) -> impl Iterator<Item = (&str, &Arc<Package>)> {
        self.packages.iter().map(|(name, package)| (&**name, package))
    }

    /// A secret: shared and uploaded ones with their value; per-Marble ones as definition without value.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&Arc<Secret>> {
        self.secrets.get(name)
    }

    /// All secrets, in name order.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &Arc<Secret>)> {
        self.secrets.iter().map(|(name, secret)| (&**name, secret))
    }

    /// The generation of a secret before its last change.
    #[must_use]
    pub fn previous_secret(&self, name: &str) -> Option<&Arc<Secret>> {
        self.previous_secrets.get(name)
    }

    /// All previous secrets, in name order.
    pub fn previous_secrets(&self) -> impl Iterator<Item = (&str, &Arc<Secret>)> {
        self.previous_secrets.iter().map(|(name, secret)| (&**name, secret))
    }

    /// How often Marbles of a type with a limit were activated.
    #[must_use]
    pub fn activations(&self, marble_type: &str) -> u64 {
        self.activations.get(marble_type).copied().unwrap_or(0)
    }

    /// Value of a monotonic counter; 0 if never set.
    #[must_use]
    pub fn counter(&self, key: &CounterKey) -> u64 {
        self.counters.get(key).copied().unwrap_or(0)
    }

    /// All monotonic counters that were ever set.
    pub fn counters(&self) -> impl Iterator<Item = (&CounterKey, u64)> {
        self.counters.iter().map(|(key, value)| (key, *value))
    }

    /// Number of monotonic counters of one Marble instance.
    #[must_use]
    pub fn counters_of(&self, marble_type: &str, uuid: &[u8; 16]) -> usize {
        let first = CounterKey { marble_type: marble_type.to_owned(), uuid: *uuid, name: String::new() };
        self.counters
            .range((Bound::Included(&first), Bound::Unbounded))
            .take_while(|(key, _)| key.marble_type == marble_type && key.uuid == *uuid)
            .count()
    }

    /// The update log: one JSON object a line, oldest first, without line ends.
    pub fn update_log(&self) -> impl Iterator<Item = &str> {
        self.update_log.iter().map(|line| &**line)
    }

    /// One of the two audit trails.
    #[must_use]
    pub fn audit(&self, kind: AuditKind) -> &AuditTrail {
        match kind {
            AuditKind::Changes => &self.audit,
            AuditKind::Refusals => &self.refusals,
        }
    }

    /// The pending full update.
    #[must_use]
    pub fn pending_update(&self) -> Option<&Arc<PendingUpdate>> {
        self.pending_update.as_ref()
    }

    /// Recovery sets in force: none, one, or two while a rotation waits for confirmation.
    #[must_use]
    pub fn recovery(&self) -> &[Arc<RecoveryEntry>] {
        &self.recovery
    }

    /// Marble roots that updates have replaced, oldest first; also those whose time is over.
    #[must_use]
    pub fn retired_roots(&self) -> &[Arc<RetiredRoot>] {
        &self.retired_roots
    }

    /// The last commits of the Coordinators that share this state; empty if it is one's own.
    #[must_use]
    pub fn writers(&self) -> &Writers {
        &self.writers
    }

    /// The newest lives of the deployment, oldest first, where several Coordinators share it.
    #[must_use]
    pub fn incarnations(&self) -> &[Incarnation] {
        &self.incarnations
    }

    /// Where it lies, if several Coordinators share it.
    #[must_use]
    pub fn home(&self) -> Option<&Home> {
        self.home.as_deref()
    }

    /// The newest collateral that evidence was verified with: marks by name, of which none ever falls. What they mean is
    /// for who verifies.
    #[must_use]
    pub fn collateral_marks(&self) -> &Arc<BTreeMap<String, u64>> {
        &self.collateral_marks
    }

    /// What tells whether another state goes on from this one.
    #[must_use]
    pub fn standing(&self, sequence: u64, head: [u8; 32]) -> Standing {
        Standing {
            lineage: self.lineage,
            sequence,
            head,
            writers: Writers::clone(&self.writers),
            incarnations: self.incarnations.to_vec(),
            has_manifest: self.manifest.is_some(),
        }
    }

    /// Shares with another state what is equal and large, or has something derived from it: after a state was read anew,
    /// so that whoever compares pointers sees what has not changed.
    pub fn share_with(&mut self, other: &Self) {
        if let (Some(mine), Some(theirs)) = (&self.manifest, &other.manifest)
            && mine.raw == theirs.raw
            && mine.signature == theirs.signature
        {
            self.manifest = Some(Arc::clone(theirs));
        }
        let same_authority = self.authority.root_certificate == other.authority.root_certificate
            && self.authority.intermediate_certificate == other.authority.intermediate_certificate
            && self.authority.marble_root_certificate == other.authority.marble_root_certificate;
        if same_authority {
            self.authority = Arc::clone(&other.authority);
        }
        if self.collateral_marks == other.collateral_marks {
            self.collateral_marks = Arc::clone(&other.collateral_marks);
        }
    }

    /// What an imported upstream state holds and we have no place for, kept for export alone: unknown store keys,
    /// and values of known keys that we would write differently (until what they stand for changes).
    pub fn extra(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.extra.iter().map(|(key, value)| (&**key, value.as_slice()))
    }

    /// Proof before serving: the authority's keys fit its certificates, and every package and secret
    /// of the manifest is there.
    ///
    /// # Errors
    /// What does not fit.
    pub fn validate(&self) -> Result<(), ChangeError> {
        self.validate_authority()?;
        let Some(active) = &self.manifest else { return Ok(()) };
        for name in active.manifest.packages.keys() {
            if self.package(name).is_none() {
                return Err(ChangeError(format!("package {name:?} of the manifest is missing in the state")));
            }
        }
        for (name, definition) in &active.manifest.secrets {
            let Some(secret) = self.secret(name) else {
                return Err(ChangeError(format!("secret {name:?} of the manifest is missing in the state")));
            };
            if secret.kind.as_str() != definition.kind {
                return Err(ChangeError(format!(
                    "secret {name:?} is {} in the state and {} in the manifest",
                    secret.kind.as_str(),
                    definition.kind
                )));
            }
        }
        Ok(())
    }

    fn validate_authority(&self) -> Result<(), ChangeError> {
        let authority = &self.authority;
        let pairs = [
            ("root certificate", &authority.root_certificate, &authority.root_key),
            ("intermediate certificate", &authority.intermediate_certificate, &authority.intermediate_key),
            ("Marble root certificate", &authority.marble_root_certificate, &authority.intermediate_key),
        ];
        for (what, certificate, key) in pairs {
            let spki = crate::manifest::certificate_spki(certificate)
                .map_err(|reason| ChangeError(format!("the {what} is unreadable: {reason}")))?;
            if spki != key.spki_der() {
                return Err(ChangeError(format!("the private key does not fit the {what}")));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for State {
    // Shapes only: values kept for export may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("phase", &self.phase)
            .field("lineage", &self.lineage)
            .field("packages", &self.packages.size())
            .field("secrets", &self.secrets.size())
            .field("counters", &self.counters.size())
            .field("update_log", &self.update_log.len())
            .field("recovery", &self.recovery.len())
            .field("audit", &self.audit.head().sequence)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
