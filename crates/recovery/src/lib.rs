//! How do key holders bring a state back? Splitting the recovery root among the parties of the
//! manifest, wrapping each secret to its party's RSA key, collecting secrets again, and checking
//! signatures. Pure: no files, no sockets, no clock.
//!
//! What the parties' secrets combine to is the *recovery root*. It wraps the data encryption key
//! in the state's recovery slot; it is not that key itself (except in states imported from upstream).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

pub mod pem;

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
    /// How many parties are needed.
    pub threshold: u32,
    /// Random id of this set.
    pub epoch: [u8; 16],
    /// The parties.
    pub parties: Vec<Party>,
    /// Commitments whose owner is not known (imported states).
    pub unassigned_commitments: Vec<[u8; 32]>,
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

/// A new set of recovery secrets.
pub struct Established {
    /// For the header of the sealed state.
    pub set: RecoverySet,
    /// For the recovery slot and the sealed state.
    pub root: RecoveryRoot,
}

impl Established {
    /// Party name to ciphertext: what the API answers.
    #[must_use]
    pub fn encrypted_secrets(&self) -> BTreeMap<String, Vec<u8>> {
        self.set.parties.iter().map(|p| (p.name.clone(), p.encrypted_secret.clone())).collect()
    }
}

/// One uploaded recovery secret with the signature over it.
pub struct Upload {
    /// The plain secret.
    pub secret: Zeroizing<Vec<u8>>,
    /// PKCS#1 v1.5 signature over SHA-256 of the secret.
    pub signature: Vec<u8>,
}

/// Why recovery data could not be made, or a secret was refused. Nothing is changed by a refusal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecoveryError {
    /// A key of the manifest is not usable.
    #[error("recovery key {name:?}: {reason}")]
    BadKey {
        /// Party.
        name: String,
        /// Cause.
        reason: String,
    },
    /// Threshold and number of keys do not fit.
    #[error("{0}")]
    BadPolicy(String),
    /// The secret was refused.
    #[error("{0}")]
    Refused(String),
}

/// Makes recovery secrets for the keys of a manifest (`RecoveryKeys`, PEM) and its `RecoveryThreshold`.
/// `None` if there are no keys.
///
/// # Errors
/// [`RecoveryError::BadKey`], [`RecoveryError::BadPolicy`].
pub fn establish(_keys: &BTreeMap<String, String>, _threshold: u64) -> Result<Option<Established>, RecoveryError> {
    todo!()
}

/// What an accepted upload led to.
pub enum Outcome {
    /// Accepted, more are needed.
    Accepted {
        /// How many more.
        remaining: usize,
        /// Whose secret it was, where known.
        party: Option<String>,
    },
    /// The root is complete and opens the slot. The uploads that made it, for [`verify_quorum`].
    Complete {
        /// The root.
        root: RecoveryRoot,
        /// Exactly the secrets combined, with their signatures.
        uploads: Vec<Upload>,
    },
}

/// Collects secrets until the root is complete. One ceremony belongs to one sealed file.
///
/// Invariant: a refused upload leaves it unchanged, costs O(1) and bounded memory.
pub struct Ceremony {
    _private: (),
}

impl Ceremony {
    /// A ceremony for the recovery sets in a header (none: secrets are tried as they come, bounded).
    #[must_use]
    pub fn new(_sets: &[RecoverySet]) -> Self {
        todo!()
    }

    /// Takes one secret. `opens` tells whether a candidate root opens the state's recovery slot
    /// (60 bytes, O(1)) or, for an imported state, decrypts it.
    ///
    /// # Errors
    /// [`RecoveryError::Refused`] with what to do.
    pub fn add(&mut self, _upload: Upload, _opens: &dyn Fn(&[u8]) -> bool) -> Result<Outcome, RecoveryError> {
        todo!()
    }

    /// Progress by name: (party or "unknown", accepted).
    #[must_use]
    pub fn progress(&self) -> Vec<(String, bool)> {
        todo!()
    }

    /// Secrets still needed.
    #[must_use]
    pub fn remaining(&self) -> usize {
        todo!()
    }
}

/// Checks, after opening, that the secrets were signed by the manifest's recovery keys: each by
/// another key, and as many as the policy asks for. This is the check that decides.
///
/// # Errors
/// [`RecoveryError::Refused`] naming what does not fit.
pub fn verify_quorum(
    _keys: &BTreeMap<String, String>,
    _threshold: u64,
    _uploads: &[Upload],
) -> Result<Vec<String>, RecoveryError> {
    todo!()
}
