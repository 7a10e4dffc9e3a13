//! What the use cases are asked and what they answer. Plain values; the shells turn them into their wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use marblerun_api::v2;
use marblerun_attestation::Incarnation;
use zeroize::Zeroizing;

/// The leaf certificate of the client, whose key the TLS handshake proved. Made by the TLS shell only.
#[derive(Debug, Clone)]
pub struct PeerCertificate(pub Arc<Vec<u8>>);

/// What an activation asks for.
#[derive(Debug, Clone)]
pub struct ActivationRequest {
    /// Evidence; empty in simulation.
    pub quote: Vec<u8>,
    /// PKCS#10 DER.
    pub csr: Vec<u8>,
    /// Marble type.
    pub marble_type: String,
    /// UUID text as sent.
    pub uuid: String,
}

/// What an activated Marble gets.
pub struct Activated {
    /// Canonical UUID text.
    pub uuid: String,
    /// Path to content.
    pub files: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// Variable to value.
    pub env: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// Argument vector.
    pub argv: Vec<String>,
}

/// Why a Marble is refused; the shell maps it to gRPC codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActivationError {
    /// `FailedPrecondition`
    WrongState(String),
    /// `Unauthenticated`
    NoCertificate(String),
    /// `PermissionDenied`
    Refused(String),
    /// `InvalidArgument`
    BadRequest(String),
    /// `Internal`
    Internal(String),
    /// `Unavailable`
    Unavailable(String),
}

impl ActivationError {
    /// The text for the peer.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::WrongState(text)
            | Self::NoCertificate(text)
            | Self::Refused(text)
            | Self::BadRequest(text)
            | Self::Internal(text)
            | Self::Unavailable(text) => text,
        }
    }
}

/// PEM chain and evidence.
#[derive(Debug, Clone)]
pub struct QuoteAnswer {
    /// Intermediate, then root, PEM.
    pub cert: String,
    /// `None` in simulation.
    pub quote: Option<Vec<u8>>,
}

/// Who a Coordinator is and which life of its deployment it serves.
#[derive(Debug, Clone)]
pub struct AttestationAnswer {
    /// Certificates, and evidence that is bound to the incarnation, too.
    pub quote: QuoteAnswer,
    /// `None` in recovery mode.
    pub incarnation: Option<Incarnation>,
}

/// The manifest with its proofs.
#[derive(Debug, Clone)]
pub struct ManifestAnswer {
    /// Raw bytes.
    pub raw: Vec<u8>,
    /// Lower-case hex.
    pub fingerprint: String,
    /// DER.
    pub signature: Vec<u8>,
}

/// Result of setting a manifest.
#[derive(Debug, Clone, Default)]
pub struct ManifestSetAnswer {
    /// Party to ciphertext.
    pub recovery_secrets: BTreeMap<String, Vec<u8>>,
    /// Findings that do not stop the manifest: path and text.
    pub warnings: Vec<String>,
}

/// Result of an update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateAnswer {
    /// Acknowledgements still needed.
    pub missing_acknowledgments: i64,
    /// Who has not acknowledged; `None` once applied.
    pub missing_users: Option<Vec<String>>,
    /// Present only if new recovery data was made.
    pub recovery_secrets: Option<BTreeMap<String, Vec<u8>>>,
}

/// Result of a recovery upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverAnswer {
    /// Secrets still needed.
    pub remaining: usize,
    /// In words (upstream's).
    pub message: String,
}

/// How far a recovery has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryProgress {
    /// Secrets still needed; the least that is possible where the sealed state does not tell.
    pub remaining: usize,
    /// Party and whether its secret was accepted.
    pub parties: Vec<(String, bool)>,
}

/// A user's values for user-defined secrets (v1 and v2 bodies decode to this).
pub type SecretUpload = BTreeMap<String, v2::UserSecret>;
