//! Secrets: generated keys and certificates, derived per-Marble keys, uploaded values.

use jiff::Timestamp;
use marblerun_manifest::model::{SecretDefinition, SecretKind};
use zeroize::Zeroizing;

use crate::Authority;

/// Why a certificate or secret could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The definition asks for something that cannot be made (wording follows upstream where clients see it).
    #[error("{0}")]
    Definition(String),
    /// A stored or given object cannot be read.
    #[error("{what}: {reason}")]
    Malformed {
        /// Which object.
        what: &'static str,
        /// Cause.
        reason: String,
    },
    /// The crypto library failed.
    #[error("cryptographic operation failed: {0}")]
    Crypto(&'static str),
}

/// A secret with its value. All parts may be absent (unset user-defined secrets).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Kind.
    pub kind: SecretKind,
    /// Bits.
    pub size: u64,
    /// One value for all Marbles.
    pub shared: bool,
    /// Uploaded by a user.
    pub user_defined: bool,
    /// Days; 365 filled in for generated certificates that name none.
    pub valid_for: u64,
    /// DER certificate.
    pub certificate: Option<Vec<u8>>,
    /// Value, or PKCS#8 DER.
    pub private: Option<Zeroizing<Vec<u8>>>,
    /// Value, or SubjectPublicKeyInfo DER.
    pub public: Option<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("kind", &self.kind)
            .field("size", &self.size)
            .field("shared", &self.shared)
            .field("user_defined", &self.user_defined)
            .field("valid_for", &self.valid_for)
            .field("set", &self.private.is_some())
            .finish_non_exhaustive()
    }
}

/// From what a per-Marble secret is derived.
#[derive(Debug, Clone, Copy)]
pub struct SecretDerivation<'a> {
    /// Root secret: HKDF input key material.
    pub root_secret: &'a [u8],
    /// Canonical UUID text (36 lower-case characters).
    pub uuid: &'a str,
    /// Marble type, or `""` with `DisableSecretBinding`.
    pub marble_type: &'a str,
}

/// Generates a shared secret. CPU-heavy for RSA. For a certificate, the template is the definition's.
///
/// # Errors
/// [`PkiError::Definition`] with upstream's gist and the secret's name.
pub fn generate_shared(
    _name: &str,
    _definition: &SecretDefinition,
    _authority: &Authority,
    _now: Timestamp,
) -> Result<Secret, PkiError> {
    todo!()
}

/// Generates a secret of one Marble: symmetric keys by derivation, certificates afresh.
///
/// # Errors
/// [`PkiError::Definition`] with upstream's gist and the secret's name.
pub fn generate_per_marble(
    _name: &str,
    _definition: &SecretDefinition,
    _authority: &Authority,
    _derivation: SecretDerivation<'_>,
    _now: Timestamp,
) -> Result<Secret, PkiError> {
    todo!()
}
