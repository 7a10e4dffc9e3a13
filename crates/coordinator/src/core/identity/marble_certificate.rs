//! The check of a Marble's leaf certificate against the current Marble root.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use der::asn1::{AnyRef, ObjectIdentifier, Utf8StringRef};
use der::{Decode, Reader, SliceReader};
use jiff::Timestamp;
use marblerun_pki::Authority;
use x509_cert::Certificate;
use x509_cert::ext::pkix::ExtendedKeyUsage;

/// Marble type, as raw bytes in a certificate extension.
const MARBLE_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.9903.2.1");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");

/// Why a certificate is no Marble's. Texts are upstream's where its clients see them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAMarble {
    #[error("x509: malformed certificate")]
    Malformed,
    #[error("x509: certificate has expired or is not yet valid")]
    OutOfTime,
    #[error("x509: certificate signed by unknown authority")]
    UnknownAuthority,
    #[error("x509: certificate specifies an incompatible key usage")]
    WrongUsage,
    #[error("{0}")]
    NoUuid(String),
    #[error("certificate does not contain a Marble type")]
    NoType,
}

/// Returns Marble type and UUID.
pub(super) fn verify(der: &[u8], authority: &Authority, now: Timestamp) -> Result<(String, [u8; 16]), NotAMarble> {
    let certificate = Certificate::from_der(der).map_err(|_| NotAMarble::Malformed)?;
    let tbs = certificate.tbs_certificate();

    let now = u64::try_from(now.as_second()).map_err(|_| NotAMarble::OutOfTime)?;
    let validity = tbs.validity();
    if now < validity.not_before.to_unix_duration().as_secs() || now > validity.not_after.to_unix_duration().as_secs() {
        return Err(NotAMarble::OutOfTime);
    }
    verify_issuer(der, &certificate, authority)?;

    let extensions = tbs.extensions().map(Vec::as_slice).unwrap_or_default();
    let extension = |oid| extensions.iter().find(|extension| extension.extn_id == oid).map(|e| e.extn_value.as_bytes());
    let usages = extension(EXTENDED_KEY_USAGE)
        .and_then(|value| ExtendedKeyUsage::from_der(value).ok())
        .ok_or(NotAMarble::WrongUsage)?;
    if !usages.0.contains(&SERVER_AUTH) {
        return Err(NotAMarble::WrongUsage);
    }
    let uuid = uuid::Uuid::try_parse(&common_name(&certificate)).map_err(|e| NotAMarble::NoUuid(e.to_string()))?;
    let marble_type = extension(MARBLE_TYPE).ok_or(NotAMarble::NoType)?;
    let marble_type = std::str::from_utf8(marble_type).map_err(|_| NotAMarble::NoType)?;
    Ok((marble_type.to_owned(), uuid.into_bytes()))
}

/// Issuer name and signature must be those of the current Marble root.
fn verify_issuer(der: &[u8], certificate: &Certificate, authority: &Authority) -> Result<(), NotAMarble> {
    let root = Certificate::from_der(&authority.marble_root_certificate).map_err(|_| NotAMarble::UnknownAuthority)?;
    if certificate.tbs_certificate().issuer() != root.tbs_certificate().subject()
        || certificate.signature_algorithm().oid != ECDSA_WITH_SHA384
    {
        return Err(NotAMarble::UnknownAuthority);
    }
    let key = root.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    let signed = signed_part(der).ok_or(NotAMarble::Malformed)?;
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, key)
        .verify(signed, certificate.signature().raw_bytes())
        .map_err(|_| NotAMarble::UnknownAuthority)
}

/// The bytes under the signature as they came, not as we would write them again.
fn signed_part(der: &[u8]) -> Option<&[u8]> {
    let outer = AnyRef::from_der(der).ok()?;
    SliceReader::new(outer.value()).ok()?.tlv_bytes().ok()
}

fn common_name(certificate: &Certificate) -> String {
    certificate
        .tbs_certificate()
        .subject()
        .iter()
        .find(|attribute| attribute.oid == COMMON_NAME)
        .and_then(|attribute| match attribute.value.decode_as::<Utf8StringRef<'_>>() {
            Ok(text) => Some(text.as_str().to_owned()),
            // A PrintableString, which UUIDs fit into, is ASCII.
            Err(_) => std::str::from_utf8(attribute.value.value()).ok().map(str::to_owned),
        })
        .unwrap_or_default()
}
