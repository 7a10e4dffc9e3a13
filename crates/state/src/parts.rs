//! The small values a state is made of.

use std::collections::BTreeMap;

use bytes::Bytes;
use marblerun_recovery::{RecoveryRoot, RecoverySet};
use zeroize::Zeroizing;

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
    pub raw: Bytes,
    /// User to "has acknowledged".
    pub required_users: BTreeMap<String, bool>,
    /// Acknowledgements still needed.
    pub missing_acknowledgments: i64,
}
