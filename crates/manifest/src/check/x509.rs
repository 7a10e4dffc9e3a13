//! What the checks read from certificates and public keys.

use der::asn1::UintRef;
use der::{Decode, Encode, Reader, SliceReader};
use x509_cert::certificate::{CertificateInner, Raw};

use crate::pem;

/// `rsaEncryption` (RFC 8017).
const RSA: const_oid::ObjectIdentifier = const_oid::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Why the text of a user's certificate cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UserCertificateError {
    /// There is no PEM block in it.
    #[error("no PEM block found")]
    NotPem,
    /// The first PEM block holds no X.509 certificate.
    #[error("x509: malformed certificate")]
    NotX509,
}

/// The DER certificate in the text of a user: the first PEM block, whatever its label.
///
/// # Errors
/// If there is no PEM block, or it holds no X.509 certificate.
pub fn user_certificate(text: &str) -> Result<Vec<u8>, UserCertificateError> {
    let block = pem::first_block(text).ok_or(UserCertificateError::NotPem)?;
    let facts = Facts::read(&block.contents).map(|_| block.contents);
    facts.ok_or(UserCertificateError::NotX509)
}

/// The little the checks want to know of a certificate.
pub(super) struct Facts {
    /// Seconds since the Unix epoch.
    pub not_before: i64,
    /// Seconds since the Unix epoch.
    pub not_after: i64,
    /// If the key is RSA.
    pub rsa_bits: Option<usize>,
    /// How the certificate itself is signed.
    pub signature: const_oid::ObjectIdentifier,
}

impl Facts {
    /// `None` if this is no X.509 certificate.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        // Serial numbers longer than RFC 5280 allows are in use, and nothing here depends on them.
        let certificate: CertificateInner<Raw> = CertificateInner::from_der(der).ok()?;
        let body = certificate.tbs_certificate();
        let seconds =
            |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        let key = body.subject_public_key_info().to_der().ok()?;
        Some(Self {
            not_before: seconds(body.validity().not_before),
            not_after: seconds(body.validity().not_after),
            rsa_bits: RsaKey::from_spki(&key).ok().map(|key| key.bits),
            signature: certificate.signature_algorithm().oid,
        })
    }
}

/// What matters of an RSA public key.
pub(super) struct RsaKey {
    /// Length of the modulus.
    pub bits: usize,
    /// Odd, greater than 2 and within 31 bits, which is what implementations take.
    pub has_usable_exponent: bool,
}

/// Why bytes are no RSA public key.
pub(super) enum NoRsaKey {
    /// No SubjectPublicKeyInfo, or its content is broken.
    Malformed,
    /// A key of another kind.
    OtherKind,
}

impl RsaKey {
    /// Reads a SubjectPublicKeyInfo.
    pub(super) fn from_spki(der: &[u8]) -> Result<Self, NoRsaKey> {
        let info = spki::SubjectPublicKeyInfoRef::from_der(der).map_err(|_| NoRsaKey::Malformed)?;
        if info.algorithm.oid != RSA {
            return Err(NoRsaKey::OtherKind);
        }
        let key = info.subject_public_key.as_bytes().ok_or(NoRsaKey::Malformed)?;
        Self::from_pkcs1(key).map_err(|_| NoRsaKey::Malformed)
    }

    /// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }` (RFC 8017, A.1.1).
    fn from_pkcs1(der: &[u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(der)?;
        let key = reader.sequence(|reader| {
            let modulus = UintRef::decode(reader)?;
            let exponent = UintRef::decode(reader)?;
            let leading_zeros = modulus.as_bytes().first().map_or(0, |byte| byte.leading_zeros() as usize);
            let bits = (modulus.as_bytes().len() * 8).saturating_sub(leading_zeros);
            let exponent = exponent.as_bytes().iter().try_fold(0_u32, |sum, byte| {
                sum.checked_mul(256).map(|sum| sum + u32::from(*byte)).filter(|sum| *sum <= i32::MAX.unsigned_abs())
            });
            Ok::<_, der::Error>(Self { bits, has_usable_exponent: exponent.is_some_and(|e| e > 2 && e % 2 == 1) })
        })?;
        reader.finish()?;
        Ok(key)
    }
}

/// Go's words for RSA keys it refuses to make or use.
pub(super) fn insecure_rsa_size(bits: u64) -> String {
    format!("crypto/rsa: {bits}-bit keys are insecure (see https://go.dev/pkg/crypto/rsa#hdr-Minimum_key_size)")
}
