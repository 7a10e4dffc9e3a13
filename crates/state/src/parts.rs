//! The small values a state is made of.

use std::collections::{BTreeMap, BTreeSet};

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

/// Where a state lies that several Coordinators share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// `kubernetes` or `etcd`.
    pub backend: String,
    /// What the object is called there.
    pub place: String,
    /// Identity of the object: another one after it was deleted and made again. Empty before it is known.
    pub uid: String,
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

/// A Marble root that an update replaced. Marbles that were activated under it and stay up keep what access it
/// gave them, until it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiredRoot {
    /// The certificate alone, DER. The key is gone.
    pub certificate: Vec<u8>,
    /// Unix time in milliseconds from which on it counts no more.
    pub until_ms: i64,
    /// Marble types that a later manifest took away or gave to another program: nothing is left to them.
    pub excluded: BTreeSet<String>,
}

impl RetiredRoot {
    /// More types are not told apart; such a root is not kept at all.
    pub const MAX_EXCLUDED: usize = 1024;
    /// The same for the length of their names together.
    pub const MAX_EXCLUDED_BYTES: usize = 64 << 10;

    /// Whether the excluded types are few enough to be kept.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let bytes: usize = self.excluded.iter().map(String::len).sum();
        self.excluded.len() <= Self::MAX_EXCLUDED && bytes <= Self::MAX_EXCLUDED_BYTES
    }
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
