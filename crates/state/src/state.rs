//! The state of a deployment as one value.

use std::collections::BTreeMap;
use std::sync::Arc;

use marblerun_manifest::model::Package;
use marblerun_pki::{Authority, Secret};
use marblerun_recovery::{RecoveryRoot, RecoverySet};
use zeroize::Zeroizing;

use crate::manifest::ActiveManifest;

/// What the Coordinator can do. The numbers are those of the client API and of upstream's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// A sealed state exists and cannot be opened; only recovery and a new manifest are possible.
    Recovery = 1,
    /// No manifest yet.
    AcceptingManifest = 2,
    /// Running.
    AcceptingMarbles = 3,
}

/// Which deployment this is, and which life of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// Random at genesis; first 16 bytes of SHA-256(root certificate) for imports.
    pub deployment_id: [u8; 16],
    /// +1 at every recovery, accepted restore, import.
    pub incarnation: u64,
    /// Random with each incarnation.
    pub incarnation_id: [u8; 16],
}

/// Input key material of derived secrets: 32 bytes, or 48 in old imported states.
#[derive(Clone, PartialEq, Eq)]
pub struct RootSecret(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootSecret(..)")
    }
}

/// A set of recovery secrets in force, with the root they combine to (so that the data encryption
/// key can be changed and slots rewrapped with no holder present).
#[derive(Debug, Clone)]
pub struct RecoveryEntry {
    /// Public part; stands in the sealed header.
    pub set: RecoverySet,
    /// What the secrets combine to.
    pub root: RecoveryRoot,
}

/// Name of a monotonic counter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterKey {
    /// Marble type.
    pub marble_type: String,
    /// Marble instance.
    pub uuid: [u8; 16],
    /// Counter name.
    pub name: String,
}

/// A full update that waits for acknowledgements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingUpdate {
    /// The proposed manifest, byte for byte.
    pub raw: Vec<u8>,
    /// User to "has acknowledged".
    pub required_users: BTreeMap<String, bool>,
    /// Acknowledgements still needed.
    pub missing_acknowledgments: i64,
}

/// The state. Clone is O(1). Fields are read through the methods and changed by [`State::apply`] alone.
#[derive(Debug, Clone)]
pub struct State {
    _private: (),
}

impl State {
    /// A state with an authority and a root secret and no manifest.
    /// `phase` is [`Phase::AcceptingManifest`] or [`Phase::Recovery`] (then authority and secret are temporary).
    #[must_use]
    pub fn new(_phase: Phase, _lineage: Lineage, _authority: Arc<Authority>, _root_secret: RootSecret) -> Self {
        todo!()
    }

    /// Recovery, accepting a manifest, or running.
    #[must_use]
    pub fn phase(&self) -> Phase {
        todo!()
    }

    /// Which deployment this is.
    #[must_use]
    pub fn lineage(&self) -> &Lineage {
        todo!()
    }

    /// Keys and certificates.
    #[must_use]
    pub fn authority(&self) -> &Arc<Authority> {
        todo!()
    }

    /// Current root secret.
    #[must_use]
    pub fn root_secret(&self) -> &RootSecret {
        todo!()
    }

    /// Root secret before the last rotation; the current one if there was none.
    #[must_use]
    pub fn previous_root_secret(&self) -> &RootSecret {
        todo!()
    }

    /// The manifest in force.
    #[must_use]
    pub fn manifest(&self) -> Option<&Arc<ActiveManifest>> {
        todo!()
    }

    /// The effective package (its security version may be above the manifest's).
    #[must_use]
    pub fn package(&self, _name: &str) -> Option<&Arc<Package>> {
        todo!()
    }

    /// All effective packages, in name order.
    pub fn packages(&self) -> impl Iterator<Item = (&str, &Arc<Package>)> {
        std::iter::empty()
    }

    /// A secret: shared and uploaded ones with their value; per-Marble ones as definition without value.
    #[must_use]
    pub fn secret(&self, _name: &str) -> Option<&Arc<Secret>> {
        todo!()
    }

    /// All secrets, in name order.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &Arc<Secret>)> {
        std::iter::empty()
    }

    /// The generation of a secret before its last change.
    #[must_use]
    pub fn previous_secret(&self, _name: &str) -> Option<&Arc<Secret>> {
        todo!()
    }

    /// All previous secrets, in name order.
    pub fn previous_secrets(&self) -> impl Iterator<Item = (&str, &Arc<Secret>)> {
        std::iter::empty()
    }

    /// How often Marbles of a type with a limit were activated.
    #[must_use]
    pub fn activations(&self, _marble_type: &str) -> u64 {
        todo!()
    }

    /// Value of a monotonic counter; 0 if never set.
    #[must_use]
    pub fn counter(&self, _key: &CounterKey) -> u64 {
        todo!()
    }

    /// Number of monotonic counters of one Marble instance.
    #[must_use]
    pub fn counters_of(&self, _marble_type: &str, _uuid: &[u8; 16]) -> usize {
        todo!()
    }

    /// The update log: one JSON object a line, oldest first, without line ends.
    pub fn update_log(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// The pending full update.
    #[must_use]
    pub fn pending_update(&self) -> Option<&Arc<PendingUpdate>> {
        todo!()
    }

    /// Recovery sets in force: none, one, or two while a rotation waits for confirmation.
    #[must_use]
    pub fn recovery(&self) -> &[Arc<RecoveryEntry>] {
        todo!()
    }

    /// Store keys of an imported upstream state that we do not know, kept for export.
    pub fn extra(&self) -> impl Iterator<Item = (&str, &[u8])> {
        std::iter::empty()
    }

    /// The changes that build this state from nothing, in an order in which they can be applied.
    /// The encoding of a snapshot; must stream (an iterator, not a list of everything).
    pub fn to_changes(&self) -> impl Iterator<Item = crate::Change> + '_ {
        std::iter::empty()
    }

    /// An empty value to apply a snapshot's changes to; not servable until [`State::validate`] passes.
    #[must_use]
    pub fn empty() -> Self {
        todo!()
    }

    /// Applies one change.
    ///
    /// # Errors
    /// [`crate::ChangeError`] if the change does not fit this state; it is then unchanged.
    pub fn apply(&mut self, _change: &crate::Change) -> Result<(), crate::ChangeError> {
        todo!()
    }

    /// Proof before serving: there is an authority whose keys fit its certificates, a manifest that
    /// decodes, secrets it defines.
    ///
    /// # Errors
    /// What does not fit.
    pub fn validate(&self) -> Result<(), crate::ChangeError> {
        todo!()
    }
}
