//! Whom to believe. The Coordinator shows its Marble root in TLS, which changes with every update; what can
//! be pinned is its root. So the answer proves it: the intermediate certificate in it must be issued by the
//! pinned root for the very key that the TLS handshake proved. Before that is checked nothing of the answer
//! is used, and what was sent (request, evidence, names) is no secret.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use const_oid::db::rfc5912::ECDSA_WITH_SHA_384;
use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Sequence};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use spki::AlgorithmIdentifierRef;
use x509_cert::Certificate;

use crate::parameters::{CERTIFICATE_CHAIN, COORDINATOR_ROOT_CA, Parameters};

/// Whom to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Whoever answers, as upstream's Marbles do.
    Anyone,
    /// The Coordinator with this root certificate (DER).
    Root(Vec<u8>),
    /// The Coordinator whose root certificate (DER) has this SHA-256.
    Fingerprint([u8; 32]),
}

/// Whoever answered is not the Coordinator that is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("whoever answered is not the Coordinator that this Marble expects (MARBLERUN_COORDINATOR_*): {0}")]
pub struct Untrusted(pub String);

impl Trust {
    /// Reads a fingerprint (64 hex digits, colons and case do not matter) or else a PEM or DER file.
    pub(crate) fn from_setting(given: &Path) -> Result<Self, String> {
        if let Some(fingerprint) = given.to_str().and_then(fingerprint) {
            return Ok(Self::Fingerprint(fingerprint));
        }
        let contents = std::fs::read(given).map_err(|error| format!("{}: {error}", given.display()))?;
        let der = match CertificateDer::from_pem_slice(&contents) {
            Ok(der) => der.to_vec(),
            Err(_) => contents,
        };
        match Certificate::from_der(&der) {
            Ok(_) => Ok(Self::Root(der)),
            Err(_) => Err(format!("{} holds no certificate", given.display())),
        }
    }

    /// Whether a root certificate (DER) is the pinned one, if one is.
    pub(crate) fn check_root(&self, root: &[u8]) -> Result<(), Untrusted> {
        let is_pinned = match self {
            Self::Anyone => true,
            Self::Root(pinned) => pinned == root,
            Self::Fingerprint(pinned) => digest(&SHA256, root).as_ref() == pinned,
        };
        if is_pinned {
            Ok(())
        } else {
            Err(Untrusted("it has another root certificate than the pinned one".to_owned()))
        }
    }

    /// Whether an answer comes from the Coordinator that is trusted. `server` is the certificate (DER) whose
    /// key the TLS handshake proved.
    pub(crate) fn check(&self, server: &[u8], answer: &Parameters) -> Result<(), Untrusted> {
        let root = match self {
            Self::Anyone => return Ok(()),
            Self::Root(root) => root.clone(),
            Self::Fingerprint(pinned) => {
                let root =
                    certificates(answer, COORDINATOR_ROOT_CA)?.next().ok_or_else(|| missing(COORDINATOR_ROOT_CA))?;
                if digest(&SHA256, &root).as_ref() != pinned {
                    return Err(Untrusted("its root certificate has another fingerprint".to_owned()));
                }
                root
            }
        };
        // The leaf stands first.
        let intermediate = certificates(answer, CERTIFICATE_CHAIN)?.nth(1).ok_or_else(|| missing(CERTIFICATE_CHAIN))?;
        let [server, intermediate_key] = [server, &intermediate].map(public_key);
        if server? != intermediate_key? {
            return Err(Untrusted("it answered with another key than the certificate chain it gave".to_owned()));
        }
        check_issued(&intermediate, &root)
    }
}

/// A SHA-256: 64 hex digits; colons and case do not matter.
pub(crate) fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.chars().filter(|&character| character != ':').collect();
    let mut bytes = [0; 32];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

fn missing(variable: &str) -> Untrusted {
    Untrusted(format!("{variable} in its answer lacks a certificate"))
}

/// The PEM certificates in a variable of the answer.
fn certificates<'a>(
    answer: &'a Parameters,
    variable: &'static str,
) -> Result<impl Iterator<Item = Vec<u8>> + use<'a>, Untrusted> {
    let pem = answer.env.get(variable).ok_or_else(|| missing(variable))?;
    Ok(CertificateDer::pem_slice_iter(pem).map_while(Result::ok).map(|der| der.to_vec()))
}

fn public_key(certificate: &[u8]) -> Result<Vec<u8>, Untrusted> {
    Certificate::from_der(certificate)
        .and_then(|certificate| certificate.tbs_certificate().subject_public_key_info().to_der())
        .map_err(|error| Untrusted(format!("a certificate of it cannot be read: {error}")))
}

/// Name and signature. Dates are not looked at: keys of old intermediates are gone, and clocks in an
/// enclave are the host's.
fn check_issued(certificate: &[u8], root: &[u8]) -> Result<(), Untrusted> {
    let refuse = || Untrusted("the certificate chain it gave does not lead to the pinned root".to_owned());
    let parsed = Certificate::from_der(certificate).map_err(|_| refuse())?;
    let root = Certificate::from_der(root).map_err(|_| refuse())?;
    let signed = Signed::from_der(certificate).map_err(|_| refuse())?;
    if parsed.tbs_certificate().issuer() != root.tbs_certificate().subject()
        || signed.algorithm.oid != ECDSA_WITH_SHA_384
    {
        return Err(refuse());
    }
    let contents = signed.contents.to_der().map_err(|_| refuse())?;
    let signature = signed.signature.as_bytes().ok_or_else(refuse)?;
    let key = root.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, key).verify(&contents, signature).map_err(|_| refuse())
}

/// A certificate with its contents as they were signed.
#[derive(Sequence)]
struct Signed<'a> {
    contents: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}
