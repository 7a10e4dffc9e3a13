//! The Coordinator's three CA certificates and their two keys.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::{P384Key, PkiError};

/// Names the CA certificates are valid for, besides 127.0.0.1 and ::1 which are always added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectAltNames {
    /// DNS names, in order.
    pub dns: Vec<String>,
    /// Addresses besides the loopback ones, in order.
    pub ips: Vec<IpAddr>,
}

impl SubjectAltNames {
    /// Reads `EDG_COORDINATOR_DNS_NAMES`: split at commas, untrimmed; entries that are addresses become IP names.
    #[must_use]
    pub fn from_list(_list: &str) -> Self {
        todo!()
    }
}

/// Root, cross-signed intermediate, Marble root and the keys behind them.
#[derive(Debug, Clone)]
pub struct Authority {
    /// DER, self-signed by `root_key`.
    pub root_certificate: Vec<u8>,
    /// P-384.
    pub root_key: P384Key,
    /// DER, subject key `intermediate_key`, signed by `root_key`.
    pub intermediate_certificate: Vec<u8>,
    /// P-384; also the key of the Marble root.
    pub intermediate_key: P384Key,
    /// DER, same subject and key as the intermediate, self-signed.
    pub marble_root_certificate: Vec<u8>,
}

impl Authority {
    /// Makes everything anew.
    ///
    /// # Errors
    /// If a name cannot be encoded or the random source fails.
    pub fn generate(_names: &SubjectAltNames, _now: Timestamp) -> Result<Self, PkiError> {
        todo!()
    }

    /// Same root, new intermediate key, both dependent certificates re-issued with all names of the
    /// root certificate (DNS and extra IPs).
    ///
    /// # Errors
    /// If the root certificate cannot be read or the random source fails.
    pub fn rotate_intermediate(&self, _now: Timestamp) -> Result<Self, PkiError> {
        todo!()
    }

    /// Reads stored parts (DER certificates, SEC 1 keys) and checks that each key fits its certificates.
    ///
    /// # Errors
    /// Which part is unreadable or does not fit.
    pub fn from_parts(
        _root_certificate: Vec<u8>,
        _root_key_sec1: &[u8],
        _intermediate_certificate: Vec<u8>,
        _intermediate_key_sec1: &[u8],
        _marble_root_certificate: Vec<u8>,
    ) -> Result<Self, PkiError> {
        todo!()
    }
}
