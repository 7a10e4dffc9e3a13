//! Bodies of the client API v1 where they differ from v2. Field names are upstream's, to the letter.

use serde::{Deserialize, Serialize};

use crate::bytes::Base64;

/// Answer of `GET /status`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Status {
    /// 1 recovery, 2 accepting a manifest, 3 accepting Marbles.
    pub status_code: i64,
    /// The state in words.
    pub status_message: String,
}

/// Answer of `GET /manifest`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Manifest {
    /// ASN.1 DER ECDSA signature by the root key over SHA-256 of the raw manifest.
    #[serde(rename = "ManifestSignatureRootECDSA")]
    pub manifest_signature_root_ecdsa: Option<Base64>,
    /// Lower-case hex SHA-256 of the raw manifest; empty without one.
    pub manifest_signature: String,
    /// The raw manifest.
    pub manifest: Option<Base64>,
}

/// Answer of `GET /quote`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Quote {
    /// PEM: intermediate, then root.
    pub cert: String,
    /// Evidence over the root certificate; `null` in simulation.
    pub quote: Option<Base64>,
}
