//! TLS as a Coordinator's clients need it.
//!
//! The Coordinator presents its self-signed root as server certificate. Web-PKI verifiers refuse a CA
//! certificate as end entity, so trust is decided here: the certificate is the pinned root itself, or
//! chains to it; names and dates are checked in both cases.

use std::net::IpAddr;
use std::sync::Arc;

use marblerun_attestation::tls::{Anyone, Judge, ServerVerifier, Shown};
use rustls::CertificateError;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::ClientError;

/// Whom to believe at the other end of a connection.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Exactly this root (DER), or a server certificate that chains to it.
    Pinned(Vec<u8>),
    /// Anyone. Nothing said on such a connection is private or true.
    Anyone,
}

/// A client certificate with its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: IdentityKey,
}

enum IdentityKey {
    InMemory(PrivateKeyDer<'static>),
    /// On a token, in an HSM, behind an agent.
    Elsewhere(Arc<dyn SigningKey>),
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} certificates)", self.chain.len())
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        let key = match &self.key {
            IdentityKey::InMemory(key) => IdentityKey::InMemory(key.clone_key()),
            IdentityKey::Elsewhere(key) => IdentityKey::Elsewhere(key.clone()),
        };
        Self { chain: self.chain.clone(), key }
    }
}

impl Identity {
    /// Reads PEM: certificates, leaf first, and a private key in PKCS#8, PKCS#1 or SEC 1 form.
    ///
    /// # Errors
    /// [`ClientError::Identity`] if one of them is missing or unreadable.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, ClientError> {
        let bad = |what: &str, reason: String| ClientError::Identity(format!("{what}: {reason}"));
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| bad("client certificate", e.to_string()))?;
        if chain.is_empty() {
            return Err(bad("client certificate", "found no CERTIFICATE block in the PEM data".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| bad("client key", e.to_string()))?;
        Ok(Self { chain, key: IdentityKey::InMemory(key) })
    }

    /// Takes DER certificates, leaf first, and a key that signs wherever it is: on a token, in an HSM, behind an
    /// agent. It signs once in each handshake, and the handshake waits for it.
    ///
    /// # Errors
    /// [`ClientError::Identity`] if there is no certificate, or the key tells its public half and is another's.
    pub fn from_signing_key(
        certificates: Vec<CertificateDer<'static>>,
        key: Arc<dyn SigningKey>,
    ) -> Result<Self, ClientError> {
        let identity = Self { chain: certificates, key: IdentityKey::Elsewhere(key) };
        identity.certified_key(&provider())?;
        Ok(identity)
    }

    /// Pairs certificate and key. The certificate is not judged otherwise: a Coordinator takes users' certificates
    /// as they are, also those of X.509 version 1, which web-PKI libraries refuse.
    fn certified_key(&self, provider: &CryptoProvider) -> Result<CertifiedKey, ClientError> {
        let bad = |reason: String| ClientError::Identity(format!("client certificate and key: {reason}"));
        let key = match &self.key {
            IdentityKey::InMemory(key) => {
                provider.key_provider.load_private_key(key.clone_key()).map_err(|e| bad(e.to_string()))?
            }
            IdentityKey::Elsewhere(key) => key.clone(),
        };
        let leaf = self.chain.first().ok_or_else(|| bad("there is no certificate".to_owned()))?;
        let leaf = Certificate::from_der(leaf).map_err(|e| bad(format!("malformed certificate: {e}")))?;
        let certified = leaf.tbs_certificate().subject_public_key_info().to_der().map_err(|e| bad(e.to_string()))?;
        if key.public_key().is_some_and(|public| public.as_ref() != certified.as_slice()) {
            return Err(bad("private key does not match public key".to_owned()));
        }
        Ok(CertifiedKey::new(self.chain.clone(), key))
    }
}

/// The provider behind all TLS of this crate.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A client configuration for that trust and identity.
pub(crate) fn config(trust: &Trust, identity: Option<&Identity>) -> Result<rustls::ClientConfig, ClientError> {
    let provider = provider();
    let keys = provider.clone();
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Pinned(root) => Arc::new(ServerVerifier::new(PinnedRoot { root: root.clone() }, &provider)),
        Trust::Anyone => Arc::new(ServerVerifier::new(Anyone, &provider)),
    };
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| ClientError::Identity(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some(identity) => {
            let certified = identity.certified_key(&keys)?;
            Ok(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
        }
    }
}

/// Believes the pinned root as server certificate, or a certificate that chains to it.
#[derive(Debug)]
struct PinnedRoot {
    root: Vec<u8>,
}

impl Judge for PinnedRoot {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        let Shown { end_entity, intermediates, server_name, ocsp_response, now } = *shown;
        if end_entity.as_ref() == self.root.as_slice() {
            return check_dates_and_names(end_entity, server_name, now);
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(self.root.clone()))?;
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map(|_| ())
            .map_err(|error| match error {
                // Another self-signed root: the library's word for it says nothing to a user.
                rustls::Error::InvalidCertificate(CertificateError::Other(_)) => CertificateError::UnknownIssuer.into(),
                other => other,
            })
    }
}

/// What web-PKI would check of an end entity, for a certificate that is its own anchor.
fn check_dates_and_names(der: &[u8], server_name: &ServerName<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let bad = |error| rustls::Error::InvalidCertificate(error);
    let certificate = Certificate::from_der(der).map_err(|_| bad(CertificateError::BadEncoding))?;
    let tbs = certificate.tbs_certificate();
    let validity = tbs.validity();
    let seconds = now.as_secs();
    if seconds < validity.not_before.to_unix_duration().as_secs() {
        return Err(bad(CertificateError::NotValidYet));
    }
    if seconds > validity.not_after.to_unix_duration().as_secs() {
        return Err(bad(CertificateError::Expired));
    }
    let names = match tbs.get_extension::<SubjectAltName>() {
        Ok(Some((_, names))) => names.0,
        Ok(None) => Vec::new(),
        Err(_) => return Err(bad(CertificateError::BadEncoding)),
    };
    let matches = names.iter().any(|name| match (name, server_name) {
        (GeneralName::DnsName(dns), ServerName::DnsName(wanted)) => dns_matches(dns.as_str(), wanted.as_ref()),
        (GeneralName::IpAddress(octets), ServerName::IpAddress(wanted)) => match wanted {
            rustls_pki_types::IpAddr::V4(ip) => octets.as_bytes() == ip.as_ref(),
            rustls_pki_types::IpAddr::V6(ip) => octets.as_bytes() == ip.as_ref(),
        },
        _ => false,
    });
    if matches {
        return Ok(());
    }
    let presented = names.iter().filter_map(name_as_text).collect();
    Err(bad(CertificateError::NotValidForNameContext { expected: server_name.to_owned(), presented }))
}

/// A name as it stands in an address, for whoever has to choose another one.
fn name_as_text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(dns) => Some(dns.as_str().to_owned()),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// RFC 6125: case-insensitive, a wildcard stands for the whole leftmost label.
fn dns_matches(pattern: &str, name: &str) -> bool {
    let name = name.trim_end_matches('.');
    if pattern.eq_ignore_ascii_case(name) {
        return true;
    }
    match (pattern.strip_prefix("*."), name.split_once('.')) {
        (Some(parent), Some((label, rest))) => !label.is_empty() && parent.eq_ignore_ascii_case(rest),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Coordinator root certificate of upstream's golden data (SAN: localhost, coordinator.example.org, 127.0.0.1, ::1, ..).
    const ROOT: &str = include_str!("../tests/fixtures/golden_root.pem");
    const IN_2027: u64 = 1_800_000_000;

    fn check(name: &str, seconds: u64) -> Result<(), rustls::Error> {
        let der = CertificateDer::from_pem_slice(ROOT.as_bytes()).unwrap();
        check_dates_and_names(
            &der,
            &ServerName::try_from(name.to_owned()).unwrap(),
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
        )
    }

    #[test]
    fn a_pinned_root_is_good_for_its_names_and_addresses() {
        for name in ["localhost", "LOCALHOST", "coordinator.example.org", "127.0.0.1", "::1", "10.1.2.3"] {
            check(name, IN_2027).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }

    #[test]
    fn a_pinned_root_is_refused_for_other_names_and_times() {
        for name in ["vm", "example.org", "127.0.0.2"] {
            let error = check(name, IN_2027).unwrap_err().to_string();
            assert!(error.contains("not valid for name") && error.contains(name), "{error}");
            assert!(error.contains("localhost") && error.contains("127.0.0.1") && error.contains("::1"), "{error}");
        }
        assert!(check("localhost", 1_000_000_000).is_err(), "before notBefore");
        assert!(check("localhost", 20_000_000_000).is_err(), "after notAfter");
    }

    #[test]
    fn a_user_certificate_of_version_1_is_sent_and_a_foreign_key_is_refused() {
        let fixture =
            |name: &str| std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let (certificate, key) = (fixture("user_v1.crt"), fixture("user_v1.key"));
        let trust = Trust::Anyone;
        config(&trust, Some(&Identity::from_pem(&certificate, &key).unwrap())).unwrap();
        let foreign = Identity::from_pem(&certificate, &fixture("other.key")).unwrap();
        assert!(config(&trust, Some(&foreign)).unwrap_err().to_string().contains("does not match"));
    }

    #[test]
    fn a_key_that_is_elsewhere_is_used_with_its_own_certificate_alone() {
        let fixture =
            |name: &str| std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(&fixture("user_v1.crt")).unwrap()];
        let elsewhere = |name: &str| {
            let key = PrivateKeyDer::from_pem_slice(&fixture(name)).unwrap();
            provider().key_provider.load_private_key(key).unwrap()
        };
        let own = Identity::from_signing_key(chain.clone(), elsewhere("user_v1.key")).unwrap();
        config(&Trust::Anyone, Some(&own.clone())).unwrap();
        let foreign = Identity::from_signing_key(chain, elsewhere("other.key"));
        assert!(foreign.unwrap_err().to_string().contains("does not match"));
        assert!(Identity::from_signing_key(Vec::new(), elsewhere("user_v1.key")).is_err());
    }

    #[test]
    fn another_self_signed_root_is_an_unknown_issuer() {
        let pem = |name: &str| {
            let file = std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
            CertificateDer::from_pem_slice(&file).unwrap()
        };
        let (pinned, other) = (pem("golden_root.pem"), pem("other_root.pem"));
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(IN_2027));
        let error = ServerVerifier::new(PinnedRoot { root: pinned.to_vec() }, &provider())
            .verify_server_cert(&other, &[], &ServerName::try_from("localhost").unwrap(), &[], now)
            .unwrap_err();
        assert_eq!(error, CertificateError::UnknownIssuer.into());
    }

    #[test]
    fn wildcards_stand_for_one_label() {
        assert!(dns_matches("*.example.org", "a.example.org"));
        assert!(!dns_matches("*.example.org", "a.b.example.org"));
        assert!(!dns_matches("*.example.org", "example.org"));
    }
}
