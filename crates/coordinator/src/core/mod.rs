//! Use cases, one function each, over one [`Coordinator`] value. No HTTP, no gRPC, no sockets.

use std::collections::BTreeMap;
use std::sync::Arc;

use marblerun_api::v2;
use marblerun_state::State;
use marblerun_store::{Store, StoreStatus};
use zeroize::Zeroizing;

use crate::error::Error;

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

/// PEM chain and evidence.
#[derive(Debug, Clone)]
pub struct QuoteAnswer {
    /// Intermediate, then root, PEM.
    pub cert: String,
    /// `None` in simulation.
    pub quote: Option<Vec<u8>>,
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
#[derive(Debug, Clone, Default)]
pub struct UpdateAnswer {
    /// Acknowledgements still needed.
    pub missing_acknowledgments: i64,
    /// Who has not acknowledged; `None` once applied.
    pub missing_users: Option<Vec<String>>,
    /// Present only if new recovery data was made.
    pub recovery_secrets: Option<BTreeMap<String, Vec<u8>>>,
}

/// Result of a recovery upload.
#[derive(Debug, Clone)]
pub struct RecoverAnswer {
    /// Secrets still needed.
    pub remaining: usize,
    /// In words (upstream's).
    pub message: String,
}

/// A user's values for user-defined secrets (v1 and v2 bodies decode to this).
pub type SecretUpload = BTreeMap<String, v2::UserSecret>;

/// The Coordinator: everything the shells need. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    _store: Option<Store>,
}

impl Coordinator {
    /// The state in force. Never waits.
    #[must_use]
    pub fn snapshot(&self) -> Arc<State> {
        todo!()
    }

    /// Facts about the store.
    #[must_use]
    pub fn store_status(&self) -> StoreStatus {
        todo!()
    }

    /// `GET status`: code and upstream's text.
    #[must_use]
    pub fn status(&self) -> (u8, &'static str) {
        todo!()
    }

    /// Warnings about manifest, store and mode, for v3 status.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        todo!()
    }

    /// `GET manifest`. `None` without one.
    #[must_use]
    pub fn manifest(&self) -> Option<ManifestAnswer> {
        todo!()
    }

    /// `POST manifest`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_manifest(&self, _raw: Vec<u8>) -> Result<ManifestSetAnswer, Error> {
        todo!()
    }

    /// `GET quote`. `nonce` empty = cached quote.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn quote(&self, _nonce: &[u8]) -> Result<QuoteAnswer, Error> {
        todo!()
    }

    /// `GET recover/public-key`: SPKI DER of the ephemeral RSA-4096 key.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn recovery_public_key(&self) -> Result<Vec<u8>, Error> {
        todo!()
    }

    /// `POST recover`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn recover(&self, _secret: Zeroizing<Vec<u8>>, _signature: Vec<u8>) -> Result<RecoverAnswer, Error> {
        todo!()
    }

    /// `GET secrets`. `user` is checked against the manifest's users first.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read_secrets(
        &self,
        _user: Option<&PeerCertificate>,
        _names: &[String],
    ) -> Result<BTreeMap<String, v2::Secret>, Error> {
        todo!()
    }

    /// Refuses whoever is no user of the manifest: the guard of user routes, run before the body is decoded.
    ///
    /// # Errors
    /// 401 with upstream's text.
    pub fn authenticate_user(&self, _peer: Option<&PeerCertificate>) -> Result<String, Error> {
        todo!()
    }

    /// `POST secrets`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn write_secrets(&self, _user: Option<&PeerCertificate>, _upload: SecretUpload) -> Result<(), Error> {
        todo!()
    }

    /// `GET update`: log lines.
    ///
    /// # Errors
    /// [`Error`].
    pub fn update_log(&self) -> Result<Vec<String>, Error> {
        todo!()
    }

    /// `POST update`, package or full.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update(&self, _user: Option<&PeerCertificate>, _raw: Vec<u8>) -> Result<UpdateAnswer, Error> {
        todo!()
    }

    /// `GET update-manifest`: raw bytes and missing users.
    ///
    /// # Errors
    /// [`Error`].
    pub fn pending_update(&self) -> Result<(Vec<u8>, Vec<String>, i64), Error> {
        todo!()
    }

    /// `POST update-manifest`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn acknowledge_update(
        &self,
        _user: Option<&PeerCertificate>,
        _raw: Vec<u8>,
    ) -> Result<UpdateAnswer, Error> {
        todo!()
    }

    /// `POST update-cancel`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cancel_update(&self, _user: Option<&PeerCertificate>) -> Result<(), Error> {
        todo!()
    }

    /// Refuses if a feature gate is off; run before the body is decoded.
    ///
    /// # Errors
    /// 403 with upstream's text.
    pub fn require_feature(&self, _gate: &str) -> Result<(), Error> {
        todo!()
    }

    /// `POST sign-quote`: TCB status and signature; [`Error`] `quote_verification_failed` with the cause as text.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn sign_quote(&self, _quote: &[u8]) -> Result<(String, Vec<u8>), Error> {
        todo!()
    }

    /// Identifies the Marble behind a certificate (current Marble root, time, usage, type, UUID).
    ///
    /// # Errors
    /// 401 with upstream's text.
    pub fn authenticate_marble(&self, _peer: Option<&PeerCertificate>) -> Result<marblerun_state::CounterKey, Error> {
        todo!()
    }

    /// `POST monotonic-counter`: the value before.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_counter(
        &self,
        _marble: marblerun_state::CounterKey,
        _name: String,
        _value: u64,
    ) -> Result<u64, Error> {
        todo!()
    }

    /// `Activate`.
    ///
    /// # Errors
    /// [`ActivationError`].
    pub async fn activate(
        &self,
        _peer: Option<&PeerCertificate>,
        _request: ActivationRequest,
    ) -> Result<Activated, ActivationError> {
        todo!()
    }
}
