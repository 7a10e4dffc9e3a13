//! Issues one certificate: names, key, validity and template fields in, signed DER out. Also reads what
//! other modules need of a finished one.

use aws_lc_rs::digest::{SHA256, digest};
use const_oid::db::rfc5912::{ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512};
use der::asn1::{AnyRef, BitString, BitStringRef, GeneralizedTime, OctetString};
use der::{DateTime, Decode, Encode, Sequence, oid::ObjectIdentifier};
use jiff::Timestamp;
use marblerun_manifest::model::CertFields;
use p384::ecdsa::signature::{self, Keypair, Signer};
use spki::{
    AlgorithmIdentifierOwned, AlgorithmIdentifierRef, Document, DynSignatureAlgorithmIdentifier, EncodePublicKey,
    SignatureBitStringEncoding, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef,
};
use x509_cert::Certificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::ext::Extension;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

use crate::extension::{self, KeyIds};
use crate::{P384Key, PkiError};

/// 2^63-1 nanoseconds, the longest duration of Go: "for ever" in upstream's certificates.
pub(crate) const FOREVER: jiff::SignedDuration = jiff::SignedDuration::from_nanos(i64::MAX);

/// Whose key signs, and what the certificate says of it.
pub(crate) struct Issuer<'a> {
    pub(crate) name: Name,
    /// Subject key identifier of the issuer; `None` leaves the authority key identifier out (self-signed).
    pub(crate) key_id: Option<Vec<u8>>,
    pub(crate) key: &'a P384Key,
}

/// The subject's side.
pub(crate) struct Order<'a> {
    pub(crate) subject: Name,
    /// SubjectPublicKeyInfo DER.
    pub(crate) public_key: &'a [u8],
    /// Subject key identifier; `None` leaves it out.
    pub(crate) key_id: Option<Vec<u8>>,
    /// Seconds since the Unix epoch.
    pub(crate) not_before: i64,
    /// Seconds since the Unix epoch.
    pub(crate) not_after: i64,
    pub(crate) fields: &'a CertFields,
}

/// The common outer form of certificates and requests. The contents stay as they were signed: written
/// again they could differ.
#[derive(Sequence)]
pub(crate) struct Signed<'a> {
    pub(crate) contents: AnyRef<'a>,
    pub(crate) algorithm: AlgorithmIdentifierRef<'a>,
    pub(crate) signature: BitStringRef<'a>,
}

/// Issues a certificate with a random 128-bit serial.
pub(crate) fn issue(order: Order<'_>, issuer: &Issuer<'_>) -> Result<Vec<u8>, PkiError> {
    let algorithm = SignatureAlgorithm::from_go(order.fields.signature_algorithm)?;
    let validity = Validity::new(time(order.not_before)?, time(order.not_after)?);
    let ids = KeyIds { subject: order.key_id.as_deref(), authority: issuer.key_id.as_deref() };
    let extensions = extension::build(order.fields, ids, order.subject.is_empty())?;
    let public_key = SubjectPublicKeyInfoOwned::from_der(order.public_key)?;
    let profile = Fixed { issuer: issuer.name.clone(), subject: order.subject, extensions };
    let builder = CertificateBuilder::new(profile, serial_number()?, validity, public_key).map_err(build_error)?;
    let certificate = builder.build(&CaSigner { key: issuer.key, algorithm }).map_err(build_error)?;
    Ok(certificate.to_der()?)
}

/// Everything [`issue`] would check, without a key. For definitions that are used only later.
pub(crate) fn check(fields: &CertFields, subject: &Name, not_after: i64) -> Result<(), PkiError> {
    SignatureAlgorithm::from_go(fields.signature_algorithm)?;
    time(not_after)?;
    extension::build(fields, KeyIds { subject: None, authority: None }, subject.is_empty())?;
    Ok(())
}

/// The first 20 bytes of SHA-256 over the public key bits, as Go derives it.
pub(crate) fn derived_key_id(public_key: &[u8]) -> Result<Vec<u8>, PkiError> {
    let info = SubjectPublicKeyInfoRef::from_der(public_key)?;
    Ok(digest(&SHA256, info.subject_public_key.raw_bytes()).as_ref().iter().copied().take(20).collect())
}

/// Parses a certificate.
pub(crate) fn parse(der: &[u8]) -> Result<Certificate, PkiError> {
    Certificate::from_der(der).map_err(|error| PkiError::malformed("x509: malformed certificate", error))
}

/// The SubjectPublicKeyInfo (DER) of a certificate (DER).
///
/// # Errors
/// If it is no certificate.
pub fn public_key_of(certificate: &[u8]) -> Result<Vec<u8>, PkiError> {
    // Users bring certificates with longer serial numbers than RFC 5280 allows.
    let certificate: CertificateInner<Raw> = CertificateInner::from_der(certificate)
        .map_err(|error| PkiError::malformed("x509: malformed certificate", error))?;
    Ok(certificate.tbs_certificate().subject_public_key_info().to_der()?)
}

/// Contents of an extension, if it is there.
pub(crate) fn extension_value(certificate: &Certificate, id: ObjectIdentifier) -> Option<&[u8]> {
    let extensions = certificate.tbs_certificate().extensions()?;
    extensions.iter().find(|extension| extension.extn_id == id).map(|extension| extension.extn_value.as_bytes())
}

/// The subject key identifier, if there is a readable one.
pub(crate) fn key_id(certificate: &Certificate) -> Option<Vec<u8>> {
    let value = extension_value(certificate, const_oid::db::rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER)?;
    Some(OctetString::from_der(value).ok()?.as_bytes().to_vec())
}

/// `now` plus the longest duration.
pub(crate) fn forever_from(now: Timestamp) -> Result<i64, PkiError> {
    Ok(now.checked_add(FOREVER).map_err(|error| PkiError::malformed("validity", error))?.as_second())
}

/// UTCTime up to 2049, GeneralizedTime after.
fn time(seconds: i64) -> Result<Time, PkiError> {
    let out_of_range = || PkiError::definition("asn1: cannot represent time as GeneralizedTime");
    let seconds = u64::try_from(seconds)
        .map_err(|_| PkiError::definition("the certificate would expire before 1970, which cannot be encoded"))?;
    let time = DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).map_err(|_| out_of_range())?;
    // The builder turns what fits into UTCTime.
    Ok(Time::GeneralTime(GeneralizedTime::from_date_time(time)))
}

fn serial_number() -> Result<SerialNumber, PkiError> {
    let mut bytes = [0u8; 16];
    // Zero is not a valid serial number.
    while bytes.iter().all(|&byte| byte == 0) {
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| PkiError::Crypto("random source"))?;
    }
    Ok(SerialNumber::new(&bytes)?)
}

fn build_error(error: x509_cert::builder::Error) -> PkiError {
    match error {
        x509_cert::builder::Error::Asn1(error) => PkiError::from(error),
        other => PkiError::malformed("certificate", other),
    }
}

/// A profile that adds nothing of its own.
struct Fixed {
    issuer: Name,
    subject: Name,
    extensions: Vec<Extension>,
}

impl BuilderProfile for Fixed {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _spk: SubjectPublicKeyInfoRef<'_>,
        _issuer_spk: SubjectPublicKeyInfoRef<'_>,
        _tbs: &x509_cert::certificate::TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}

/// Which digest goes under the signature of the P-384 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignatureAlgorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl SignatureAlgorithm {
    /// By Go's `x509.SignatureAlgorithm` number.
    fn from_go(number: i64) -> Result<Self, PkiError> {
        match number {
            10 => Ok(Self::Sha256),
            0 | 11 => Ok(Self::Sha384),
            12 => Ok(Self::Sha512),
            9 => Err(PkiError::definition("x509: signing with ECDSA-SHA1 is not supported")),
            // MD2 and DSA exist as numbers only.
            2..=6 | 13..=16 => {
                Err(PkiError::definition("x509: requested SignatureAlgorithm does not match private key type"))
            }
            _ => Err(PkiError::definition("x509: unknown SignatureAlgorithm")),
        }
    }
}

/// The CA key as the builder wants to see it.
struct CaSigner<'a> {
    key: &'a P384Key,
    algorithm: SignatureAlgorithm,
}

/// The CA's public key as the builder wants to see it.
#[derive(Clone)]
struct CaPublicKey(P384Key);

/// An ASN.1 encoded signature.
struct DerSignature(Vec<u8>);

impl Keypair for CaSigner<'_> {
    type VerifyingKey = CaPublicKey;

    fn verifying_key(&self) -> CaPublicKey {
        CaPublicKey(self.key.clone())
    }
}

impl EncodePublicKey for CaPublicKey {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        Ok(Document::try_from(self.0.spki())?)
    }
}

impl DynSignatureAlgorithmIdentifier for CaSigner<'_> {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        let oid = match self.algorithm {
            SignatureAlgorithm::Sha256 => ECDSA_WITH_SHA_256,
            SignatureAlgorithm::Sha384 => ECDSA_WITH_SHA_384,
            SignatureAlgorithm::Sha512 => ECDSA_WITH_SHA_512,
        };
        Ok(AlgorithmIdentifierOwned { oid, parameters: None })
    }
}

impl Signer<DerSignature> for CaSigner<'_> {
    fn try_sign(&self, message: &[u8]) -> Result<DerSignature, signature::Error> {
        let signature = match self.algorithm {
            SignatureAlgorithm::Sha256 => self.key.sign_sha256(message),
            SignatureAlgorithm::Sha384 => self.key.sign_sha384(message),
            SignatureAlgorithm::Sha512 => self.key.sign_sha512(message),
        };
        signature.map(DerSignature).map_err(signature::Error::from_source)
    }
}

impl SignatureBitStringEncoding for DerSignature {
    fn to_bitstring(&self) -> der::Result<BitString> {
        BitString::from_bytes(&self.0)
    }
}
