//! The public description of a set of recovery secrets, and the root they combine to.

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

/// How many of the parties are needed, and how the root is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Scheme {
    /// One party; its secret is the root.
    Single = 1,
    /// All parties; 32-byte secrets XOR to the root.
    Xor = 2,
    /// Any `threshold` of the parties; 33-byte Shamir shares.
    Shamir = 3,
}

/// One holder of a recovery key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// Name in the manifest's `RecoveryKeys`.
    pub name: String,
    /// SubjectPublicKeyInfo DER of the RSA key.
    pub public_key: Vec<u8>,
    /// SHA-256 of the party's secret; `None` where it is not known (imported states).
    pub commitment: Option<[u8; 32]>,
    /// RSA-OAEP-SHA-256 ciphertext of the secret; empty if not kept.
    pub encrypted_secret: Vec<u8>,
}

/// The public description of one set of recovery secrets. Stands readable in the header of the sealed state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverySet {
    /// How the root is split.
    pub scheme: Scheme,
    /// How many parties are needed. 0: not known, as the header of an upstream file tells hashes only
    /// ([`RecoverySet::from_upstream_header`]); then the scheme is not known either.
    pub threshold: u32,
    /// Random id of this set.
    pub epoch: [u8; 16],
    /// The parties.
    pub parties: Vec<Party>,
    /// Commitments whose owner is not known (imported states).
    pub unassigned_commitments: Vec<[u8; 32]>,
}

/// SHA-256 of a secret: what the header tells of it. Secrets of 32 and 33 random bytes need neither salt nor stretching.
#[must_use]
pub fn commitment(secret: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret).as_ref());
    hash
}

impl RecoverySet {
    /// What the readable header of an upstream `sealed_data` tells: `null` is a single party; a map of hex
    /// SHA-256 hashes to `true` has one entry for each secret of several parties. Anything else (empty,
    /// damaged) tells nothing: `None`; then a [`Ceremony`](crate::Ceremony) without sets searches.
    #[must_use]
    pub fn from_upstream_header(header: &[u8]) -> Option<Self> {
        let mut set = Self {
            scheme: Scheme::Single,
            threshold: 1,
            epoch: [0; 16],
            parties: Vec::new(),
            unassigned_commitments: Vec::new(),
        };
        match serde_json::from_slice(header).ok()? {
            serde_json::Value::Null => Some(set),
            serde_json::Value::Object(map) if (2..=255).contains(&map.len()) => {
                set.scheme = Scheme::Xor;
                set.threshold = 0;
                for key in map.keys() {
                    let mut hash = [0; 32];
                    hex::decode_to_slice(key, &mut hash).ok()?;
                    set.unassigned_commitments.push(hash);
                }
                Some(set)
            }
            _ => None,
        }
    }
}

/// What the parties' secrets combine to. 32 bytes; 16 or 24 only in old imported states.
#[derive(Clone)]
pub struct RecoveryRoot(Zeroizing<Vec<u8>>);

impl RecoveryRoot {
    /// Wraps key bytes.
    #[must_use]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The key bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for RecoveryRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryRoot(..)")
    }
}
