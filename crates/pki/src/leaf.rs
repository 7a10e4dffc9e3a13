//! Marble leaf certificates: made at activation, recognised when a Marble comes back with one.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ANY_EXTENDED_KEY_USAGE, ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_BASIC_CONSTRAINTS, ID_CE_EXT_KEY_USAGE,
    ID_CE_KEY_USAGE, ID_CE_NAME_CONSTRAINTS, ID_CE_SUBJECT_ALT_NAME, ID_KP_SERVER_AUTH,
};
use const_oid::db::rfc5912::ECDSA_WITH_SHA_384;
use der::{Decode, Encode};
use jiff::Timestamp;
use marblerun_manifest::model::{CertFields, ExtraExtension, Subject};
use uuid::Uuid;
use x509_cert::Certificate;
use zeroize::Zeroizing;

use crate::certificate::{self, Order, Signed};
use crate::csr::VerifiedCsr;
use crate::keypair::{Curve, KeyKind, KeyPair};
use crate::template::{DIGITAL_SIGNATURE, KEY_AGREEMENT, SERVER_AND_CLIENT};
use crate::{Authority, PkiError, name, parse_uuid};

/// Holds the Marble type: raw bytes, not DER, as upstream writes them.
pub(crate) const MARBLE_TYPE_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.9903.2.1");

/// What a Marble gets.
pub struct MarbleLeaf {
    /// DER.
    pub certificate: Vec<u8>,
    /// PKCS#8 DER of a fresh P-384 key.
    pub private_key: Zeroizing<Vec<u8>>,
    /// SubjectPublicKeyInfo DER.
    pub public_key: Vec<u8>,
}

impl std::fmt::Debug for MarbleLeaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MarbleLeaf").field("certificate", &hex::encode(&self.certificate)).finish_non_exhaustive()
    }
}

/// Issues a leaf for a fresh P-384 key: subject from the request with CN := `uuid` and without O,
/// names from the request, Marble type in extension 1.3.9903.2.1 (raw bytes).
///
/// # Errors
/// If a name cannot be encoded or the random source fails.
pub fn issue_marble_leaf(
    authority: &Authority,
    csr: &VerifiedCsr,
    uuid: &str,
    marble_type: &str,
    now: Timestamp,
) -> Result<MarbleLeaf, PkiError> {
    let key = KeyPair::generate(KeyKind::Ec(Curve::P384))?;
    let subject = Subject { common_name: uuid.to_owned(), organization: Vec::new(), ..csr.subject.clone() };
    let fields = CertFields {
        key_usage: DIGITAL_SIGNATURE | KEY_AGREEMENT,
        ext_key_usage: Some(SERVER_AND_CLIENT.to_vec()),
        dns_names: Some(csr.dns.clone()),
        ip_addresses: Some(csr.ips.clone()),
        extra_extensions: vec![ExtraExtension {
            id: MARBLE_TYPE_EXTENSION.arcs().map(u64::from).collect(),
            critical: false,
            value: marble_type.as_bytes().to_vec(),
        }],
        ..CertFields::default()
    };
    let order = Order {
        subject: name::build(&subject)?,
        public_key: &key.public,
        key_id: None,
        not_before: now.as_second(),
        not_after: certificate::forever_from(now)?,
        fields: &fields,
    };
    let certificate = certificate::issue(order, &authority.marble_issuer()?)?;
    Ok(MarbleLeaf { certificate, private_key: key.private, public_key: key.public })
}

/// Who a Marble certificate belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarbleIdentity {
    /// Marble instance.
    pub uuid: Uuid,
    /// Marble type.
    pub marble_type: String,
}

/// Why a certificate does not identify a Marble.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarbleCertificateError {
    /// It cannot be read.
    #[error("x509: malformed certificate: {0}")]
    Malformed(String),
    /// It was not signed with the current Marble root key. Also: issued before the last update.
    #[error("x509: certificate signed by unknown authority")]
    UnknownAuthority,
    /// Now is not within its validity.
    #[error("x509: certificate has expired or is not yet valid")]
    NotValidNow,
    /// It is not meant for TLS servers, as Marble certificates are.
    #[error("x509: certificate specifies an incompatible key usage")]
    KeyUsage,
    /// It has a critical extension that cannot be judged.
    #[error("x509: unhandled critical extension")]
    CriticalExtension,
    /// Its common name is no UUID.
    #[error("parsing UUID from certificate: {0}")]
    Uuid(String),
    /// It does not say which Marble type it is for.
    #[error("certificate does not contain a MarbleRun Marble type extension")]
    NoMarbleType,
}

/// Checks that a certificate (DER) was issued to a Marble by the current Marble root (DER), and to which.
///
/// # Errors
/// [`MarbleCertificateError`].
pub fn verify_marble_certificate(
    certificate: &[u8],
    marble_root: &[u8],
    now: Timestamp,
) -> Result<MarbleIdentity, MarbleCertificateError> {
    let malformed = |error: &dyn std::fmt::Display| MarbleCertificateError::Malformed(error.to_string());
    let leaf = Certificate::from_der(certificate).map_err(|error| malformed(&error))?;
    let root = Certificate::from_der(marble_root).map_err(|error| malformed(&error))?;
    check_issuer(certificate, &leaf, &root)?;
    check_validity(&leaf, now)?;
    check_critical_extensions(&leaf)?;
    check_extended_key_usage(&leaf)?;

    let subject = name::read(leaf.tbs_certificate().subject()).map_err(|error| malformed(&error))?;
    let uuid = parse_uuid(&subject.common_name).map_err(|error| MarbleCertificateError::Uuid(error.to_string()))?;
    let marble_type = certificate::extension_value(&leaf, MARBLE_TYPE_EXTENSION)
        .and_then(|value| std::str::from_utf8(value).ok())
        .ok_or(MarbleCertificateError::NoMarbleType)?;
    Ok(MarbleIdentity { uuid, marble_type: marble_type.to_owned() })
}

fn check_issuer(der: &[u8], leaf: &Certificate, root: &Certificate) -> Result<(), MarbleCertificateError> {
    const UNKNOWN: MarbleCertificateError = MarbleCertificateError::UnknownAuthority;
    if leaf.tbs_certificate().issuer() != root.tbs_certificate().subject()
        || leaf.signature_algorithm() != leaf.tbs_certificate().signature()
        || leaf.signature_algorithm().oid != ECDSA_WITH_SHA_384
    {
        return Err(UNKNOWN);
    }
    let signed = Signed::from_der(der).map_err(|_| UNKNOWN)?;
    let contents = signed.contents.to_der().map_err(|_| UNKNOWN)?;
    let signature = signed.signature.as_bytes().ok_or(UNKNOWN)?;
    let key = root.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, key).verify(&contents, signature).map_err(|_| UNKNOWN)
}

fn check_validity(leaf: &Certificate, now: Timestamp) -> Result<(), MarbleCertificateError> {
    let validity = leaf.tbs_certificate().validity();
    let now = u64::try_from(now.as_second()).map_err(|_| MarbleCertificateError::NotValidNow)?;
    let [from, until] = [validity.not_before, validity.not_after].map(|time| time.to_unix_duration().as_secs());
    if (from..=until).contains(&now) { Ok(()) } else { Err(MarbleCertificateError::NotValidNow) }
}

/// Those an X.509 verifier knows; anything else that is critical must be refused (RFC 5280, 4.2).
fn check_critical_extensions(leaf: &Certificate) -> Result<(), MarbleCertificateError> {
    let handled = [
        ID_CE_KEY_USAGE,
        ID_CE_EXT_KEY_USAGE,
        ID_CE_BASIC_CONSTRAINTS,
        ID_CE_SUBJECT_ALT_NAME,
        ID_CE_NAME_CONSTRAINTS,
        ID_CE_AUTHORITY_KEY_IDENTIFIER,
        MARBLE_TYPE_EXTENSION,
    ];
    let mut extensions = leaf.tbs_certificate().extensions().into_iter().flatten();
    if extensions.any(|extension| extension.critical && !handled.contains(&extension.extn_id)) {
        return Err(MarbleCertificateError::CriticalExtension);
    }
    Ok(())
}

fn check_extended_key_usage(leaf: &Certificate) -> Result<(), MarbleCertificateError> {
    // Without the extension every usage is allowed.
    let Some(value) = certificate::extension_value(leaf, ID_CE_EXT_KEY_USAGE) else { return Ok(()) };
    let usages = Vec::<ObjectIdentifier>::from_der(value)
        .map_err(|error| MarbleCertificateError::Malformed(error.to_string()))?;
    if usages.iter().any(|usage| [ID_KP_SERVER_AUTH, ANY_EXTENDED_KEY_USAGE].contains(usage)) {
        Ok(())
    } else {
        Err(MarbleCertificateError::KeyUsage)
    }
}
