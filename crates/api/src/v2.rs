//! Bodies of the client API v2 (`/api/v2/...`). Field names are upstream's, to the letter.
//!
//! On input the Coordinator matches names case-insensitively (as Go does) before these types see
//! them; on output the names below are what goes over the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bytes::Base64;

/// Answer of `GET status`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Status {
    /// 1 recovery, 2 accepting a manifest, 3 accepting Marbles.
    pub code: i64,
    /// The state in words.
    pub message: String,
}

/// Answer of `GET manifest`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// ASN.1 DER ECDSA signature by the root key over SHA-256 of the raw manifest.
    #[serde(rename = "manifestSignatureRootECDSA")]
    pub manifest_signature_root_ecdsa: Base64,
    /// Lower-case hex SHA-256 of the raw manifest.
    pub manifest_fingerprint: String,
    /// The raw manifest.
    pub manifest: Base64,
}

/// Body of `POST manifest`, `POST update` and `POST update-manifest`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ManifestRequest {
    /// The raw manifest.
    #[serde(default)]
    pub manifest: Base64,
}

/// Answer of `POST manifest`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ManifestSet {
    /// Recovery key name to RSA-OAEP ciphertext of that party's secret.
    #[serde(rename = "RecoverySecrets", default)]
    pub recovery_secrets: BTreeMap<String, Base64>,
}

/// Answer of `GET quote`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Quote {
    /// PEM: intermediate, then root.
    pub cert: String,
    /// Evidence over the root certificate; `null` in simulation.
    pub quote: Option<Base64>,
}

/// Body of `POST recover`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoverRequest {
    /// The party's secret, plain or encrypted to the ephemeral key.
    #[serde(default)]
    pub recovery_secret: Base64,
    /// PKCS#1 v1.5 signature over SHA-256 of the plain secret.
    #[serde(default)]
    pub recovery_secret_signature: Base64,
}

/// Answer of `POST recover`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Recover {
    /// How many secrets are still needed.
    pub remaining: i64,
    /// The same in words.
    pub message: String,
}

/// Answer of `GET recover/public-key`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPublicKey {
    /// Always `RSA`.
    pub algorithm: String,
    /// DER SubjectPublicKeyInfo.
    pub ephemeral_public_key: Base64,
}

/// One secret as the API gives it out. All eight keys are always present.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Secret {
    /// `symmetric-key`, `plain`, `cert-rsa`, `cert-ecdsa` or `cert-ed25519`.
    #[serde(default)]
    pub r#type: String,
    /// Bits.
    #[serde(default)]
    pub size: u64,
    /// One value for all Marbles.
    #[serde(default)]
    pub shared: bool,
    /// Uploaded by a user.
    #[serde(default)]
    pub user_defined: bool,
    /// DER certificate.
    #[serde(default)]
    pub cert: Option<Base64>,
    /// Days.
    #[serde(default)]
    pub valid_for: u64,
    /// The value, or PKCS#8 DER.
    #[serde(default)]
    pub private: Option<Base64>,
    /// The value, or SubjectPublicKeyInfo DER.
    #[serde(default)]
    pub public: Option<Base64>,
}

/// Answer of `GET secrets`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Secrets {
    /// Name to secret.
    pub secrets: BTreeMap<String, Secret>,
}

/// One secret as a user uploads it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct UserSecret {
    /// DER certificate.
    #[serde(default)]
    pub cert: Option<Base64>,
    /// PKCS#8 DER.
    #[serde(default)]
    pub private: Option<Base64>,
    /// Symmetric key or plain value.
    #[serde(default)]
    pub key: Option<Base64>,
}

/// Body of `POST secrets`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct SecretsSetRequest {
    /// Name to value.
    #[serde(default)]
    pub secrets: BTreeMap<String, UserSecret>,
}

/// Answer of `GET update`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UpdateLog {
    /// One JSON object a line.
    pub update_log: Vec<String>,
}

/// Answer of `POST update`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UpdateApplied {
    /// Acknowledgements still needed.
    #[serde(default)]
    pub missing_acknowledgments: i64,
    /// Users who have not acknowledged; `null` once applied.
    #[serde(default)]
    pub missing_users: Option<Vec<String>>,
    /// Present only if new recovery data was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_secrets: Option<BTreeMap<String, Base64>>,
}

/// Answer of `GET update-manifest`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PendingUpdate {
    /// The pending raw manifest.
    pub manifest: Base64,
    /// How many users are missing, in words.
    pub message: String,
    /// Users who have not acknowledged.
    pub missing_users: Option<Vec<String>>,
}

/// Answer of `POST update-manifest`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UpdateAcknowledged {
    /// The result in words.
    pub message: String,
    /// Users who have not acknowledged; `null` once applied.
    #[serde(default)]
    pub missing_users: Option<Vec<String>>,
    /// Acknowledgements still needed.
    #[serde(default)]
    pub missing_acknowledgments: i64,
    /// Present only if new recovery data was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_secrets: Option<BTreeMap<String, Base64>>,
}

/// Answer of `POST update-cancel`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct UpdateCancelled {
    /// The result in words.
    pub message: String,
}

/// Body of `POST sign-quote`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SignQuoteRequest {
    /// SGX quote, with or without the Open Enclave header.
    #[serde(default)]
    pub sgx_quote: Base64,
}

/// Answer of `POST sign-quote`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SignQuote {
    /// TCB status name.
    pub tcb_status: String,
    /// ASN.1 DER ECDSA signature by the root key.
    pub verification_signature: Base64,
}

/// Body of `POST monotonic-counter`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct MonotonicCounterRequest {
    /// Counter name.
    #[serde(default)]
    pub name: String,
    /// Value to raise it to.
    #[serde(default)]
    pub value: u64,
}

/// Answer of `POST monotonic-counter`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct MonotonicCounter {
    /// The value before.
    pub value: u64,
}
