//! Checks the signature by which a client proves, in the handshake, that it holds the key of its certificate.
//!
//! rustls leaves this to webpki, which first parses the whole certificate and refuses X.509 v1, and
//! knows no RSA key below 2048 bits. Both work with upstream, so the key is taken from the certificate
//! by [`super::spki`] and used directly. aws-lc does the arithmetic, but for RSA-PSS with short keys,
//! which it does not offer.

use aws_lc_rs::signature::{self as aws, UnparsedPublicKey, VerificationAlgorithm};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5912, rfc8410};
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::sha2::{Sha256, Sha384, Sha512};
use rsa::signature::Verifier as _;
use rsa::traits::PublicKeyParts as _;
use rustls::SignatureScheme;
use spki::SubjectPublicKeyInfoRef;

/// What clients may sign with, best first. ECDSA with SHA-256 leads because TLS 1.2 clients take the first
/// scheme they know with keys of any curve, and SHA-256 is the one every curve has here.
pub(super) const SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// Which rules tie schemes to keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// A scheme names a hash; the curve is the key's.
    Tls12,
    /// A scheme names hash and curve, and RSA signatures are PSS.
    Tls13,
}

/// The kinds of keys a handshake can be signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    P256,
    P384,
    P521,
    Ed25519,
    Rsa,
}

/// Whether `signature` over `message` was made with the key, under the rules of the TLS version.
pub(super) fn verifies(
    version: Version,
    key: &SubjectPublicKeyInfoRef<'_>,
    scheme: SignatureScheme,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let (Some(kind), Some(bits)) = (kind_of(key), key.subject_public_key.as_bytes()) else { return false };
    if kind == KeyKind::Rsa && is_short_rsa(bits) {
        return verifies_short_rsa(version, bits, scheme, message, signature);
    }
    let Some(algorithm) = algorithm(version, kind, scheme) else { return false };
    UnparsedPublicKey::new(algorithm, bits).verify(message, signature).is_ok()
}

fn kind_of(key: &SubjectPublicKeyInfoRef<'_>) -> Option<KeyKind> {
    let curve = || key.algorithm.parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    match key.algorithm.oid {
        rfc5912::ID_EC_PUBLIC_KEY => match curve()? {
            rfc5912::SECP_256_R_1 => Some(KeyKind::P256),
            rfc5912::SECP_384_R_1 => Some(KeyKind::P384),
            rfc5912::SECP_521_R_1 => Some(KeyKind::P521),
            _ => None,
        },
        rfc8410::ID_ED_25519 => Some(KeyKind::Ed25519),
        rfc5912::RSA_ENCRYPTION => Some(KeyKind::Rsa),
        _ => None,
    }
}

fn algorithm(version: Version, kind: KeyKind, scheme: SignatureScheme) -> Option<&'static dyn VerificationAlgorithm> {
    use KeyKind::{Ed25519, P256, P384, P521, Rsa};
    use SignatureScheme as S;
    let both: Option<&'static dyn VerificationAlgorithm> = match (kind, scheme) {
        (P256, S::ECDSA_NISTP256_SHA256) => Some(&aws::ECDSA_P256_SHA256_ASN1),
        (P384, S::ECDSA_NISTP384_SHA384) => Some(&aws::ECDSA_P384_SHA384_ASN1),
        (P521, S::ECDSA_NISTP521_SHA512) => Some(&aws::ECDSA_P521_SHA512_ASN1),
        (Ed25519, S::ED25519) => Some(&aws::ED25519),
        (Rsa, S::RSA_PSS_SHA256) => Some(&aws::RSA_PSS_2048_8192_SHA256),
        (Rsa, S::RSA_PSS_SHA384) => Some(&aws::RSA_PSS_2048_8192_SHA384),
        (Rsa, S::RSA_PSS_SHA512) => Some(&aws::RSA_PSS_2048_8192_SHA512),
        _ => None,
    };
    if both.is_some() || version == Version::Tls13 {
        return both;
    }
    match (kind, scheme) {
        (P256, S::ECDSA_NISTP384_SHA384) => Some(&aws::ECDSA_P256_SHA384_ASN1),
        (P384, S::ECDSA_NISTP256_SHA256) => Some(&aws::ECDSA_P384_SHA256_ASN1),
        (P521, S::ECDSA_NISTP256_SHA256) => Some(&aws::ECDSA_P521_SHA256_ASN1),
        (P521, S::ECDSA_NISTP384_SHA384) => Some(&aws::ECDSA_P521_SHA384_ASN1),
        (Rsa, S::RSA_PKCS1_SHA256) => Some(&aws::RSA_PKCS1_2048_8192_SHA256),
        (Rsa, S::RSA_PKCS1_SHA384) => Some(&aws::RSA_PKCS1_2048_8192_SHA384),
        (Rsa, S::RSA_PKCS1_SHA512) => Some(&aws::RSA_PKCS1_2048_8192_SHA512),
        _ => None,
    }
}

/// Bits of the shortest RSA key accepted, as upstream.
const SHORTEST_RSA: usize = 1024;

/// Bits of the shortest RSA key aws-lc takes.
const SHORTEST_AWS_RSA: usize = 2048;

fn is_short_rsa(bits: &[u8]) -> bool {
    // A PKCS#1 public key below 2048 bits is well below this length; longer input is never decoded here.
    bits.len() < 300
        && rsa::RsaPublicKey::from_pkcs1_der(bits)
            .is_ok_and(|key| (SHORTEST_RSA..SHORTEST_AWS_RSA).contains(&key.n().bits()))
}

fn verifies_short_rsa(
    version: Version,
    bits: &[u8],
    scheme: SignatureScheme,
    message: &[u8],
    signature: &[u8],
) -> bool {
    use SignatureScheme as S;
    use rsa::{pkcs1v15, pss};
    let Ok(key) = rsa::RsaPublicKey::from_pkcs1_der(bits) else { return false };
    let pss_signature = || pss::Signature::try_from(signature);
    let pkcs1_signature = || pkcs1v15::Signature::try_from(signature);
    match (scheme, version) {
        (S::RSA_PSS_SHA256, _) => {
            pss_signature().is_ok_and(|s| pss::VerifyingKey::<Sha256>::new(key).verify(message, &s).is_ok())
        }
        (S::RSA_PSS_SHA384, _) => {
            pss_signature().is_ok_and(|s| pss::VerifyingKey::<Sha384>::new(key).verify(message, &s).is_ok())
        }
        (S::RSA_PSS_SHA512, _) => {
            pss_signature().is_ok_and(|s| pss::VerifyingKey::<Sha512>::new(key).verify(message, &s).is_ok())
        }
        (S::RSA_PKCS1_SHA256, Version::Tls12) => {
            pkcs1_signature().is_ok_and(|s| pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &s).is_ok())
        }
        (S::RSA_PKCS1_SHA384, Version::Tls12) => {
            pkcs1_signature().is_ok_and(|s| pkcs1v15::VerifyingKey::<Sha384>::new(key).verify(message, &s).is_ok())
        }
        (S::RSA_PKCS1_SHA512, Version::Tls12) => {
            pkcs1_signature().is_ok_and(|s| pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(message, &s).is_ok())
        }
        _ => false,
    }
}
