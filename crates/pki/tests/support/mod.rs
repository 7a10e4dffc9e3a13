//! What the tests share: fixtures, a fixed clock, and a description of a certificate that shows every field
//! which is not random, so that our certificates and upstream's can be compared field by field.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use der::asn1::OctetString;
use der::oid::ObjectIdentifier;
use der::{Decode, Encode, Tagged};
use jiff::Timestamp;
use marblerun_manifest::model::SecretDefinition;
use marblerun_pki::{Authority, SubjectAltNames};
use serde_json::Value;
use x509_cert::Certificate;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;
use x509_cert::time::Time;

const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");

/// When upstream's fixtures are valid.
pub fn now() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().unwrap()
}

pub fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// DER of a PEM text in `golden.json`.
pub fn golden(name: &str) -> Vec<u8> {
    let text = fixture("golden.json")[name].as_str().unwrap().to_owned();
    let (_, der) = der::pem::decode_vec(text.as_bytes()).unwrap();
    der
}

pub fn base64(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

pub fn from_hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

pub fn authority() -> Authority {
    Authority::generate(&SubjectAltNames::from_list("localhost"), now()).unwrap()
}

pub fn definition(kind: &str, size: u64) -> SecretDefinition {
    SecretDefinition { kind: kind.to_owned(), size, ..SecretDefinition::default() }
}

pub fn parse(der: &[u8]) -> Certificate {
    Certificate::from_der(der).unwrap()
}

/// Every field that is neither random nor a key, one line each.
pub fn describe(der: &[u8]) -> Vec<String> {
    let certificate = parse(der);
    let tbs = certificate.tbs_certificate();
    let serial = tbs.serial_number().as_bytes();
    assert!(serial.len() > 8 && serial.len() <= 17, "serial of {} bytes", serial.len());
    assert_eq!(tbs.signature(), certificate.signature_algorithm());

    let mut lines = vec![
        format!("version {:?}", tbs.version()),
        format!("signature {} {:?}", tbs.signature().oid, tbs.signature().parameters),
        format!("issuer {}", describe_name(tbs.issuer())),
        format!("subject {}", describe_name(tbs.subject())),
        format!("key {}", tbs.subject_public_key_info().algorithm.oid),
    ];
    let validity = tbs.validity();
    let tag = |time| match time {
        Time::UtcTime(_) => "UTCTime",
        Time::GeneralTime(_) => "GeneralizedTime",
    };
    let length = match not_after(der) - not_before(der) {
        // The second starts anywhere within the nanosecond clock.
        9_223_372_036 | 9_223_372_037 => "2^63-1 ns".to_owned(),
        seconds => format!("{seconds} s"),
    };
    lines.push(format!("from {} to {} is {length}", tag(validity.not_before), tag(validity.not_after)));

    let bits = tbs.subject_public_key_info().subject_public_key.raw_bytes();
    let digest = digest(&SHA256, bits);
    let derived = &digest.as_ref()[..20];
    for extension in tbs.extensions().into_iter().flatten() {
        let value = extension.extn_value.as_bytes();
        let shown = match extension.extn_id {
            SUBJECT_KEY_ID => {
                let id = OctetString::from_der(value).unwrap();
                (if id.as_bytes() == derived { "SHA-256/160 of the key" } else { "given" }).to_owned()
            }
            AUTHORITY_KEY_ID => {
                let id = AuthorityKeyIdentifier::from_der(value).unwrap();
                assert!(id.authority_cert_issuer.is_none() && id.authority_cert_serial_number.is_none());
                format!("{} bytes", id.key_identifier.unwrap().as_bytes().len())
            }
            _ => hex::encode(value),
        };
        lines.push(format!("{} critical={} {shown}", extension.extn_id, extension.critical));
    }
    lines
}

fn describe_name(name: &x509_cert::name::Name) -> String {
    let mut text = String::new();
    for rdn in name.iter_rdn() {
        text.push('/');
        for attribute in rdn.iter() {
            let value = String::from_utf8_lossy(attribute.value.value()).into_owned();
            text.push_str(&format!("+{}={}:{value}", attribute.oid, attribute.value.tag()));
        }
    }
    text
}

/// Contents of an extension.
pub fn extension(der: &[u8], id: &str) -> Option<Vec<u8>> {
    let id = ObjectIdentifier::new(id).unwrap();
    let certificate = parse(der);
    let extensions = certificate.tbs_certificate().extensions()?;
    extensions
        .iter()
        .find(|extension| extension.extn_id == id)
        .map(|extension| extension.extn_value.as_bytes().to_vec())
}

/// The authority key identifier of one is the subject key identifier of the other.
pub fn assert_issued_by(certificate: &[u8], issuer: &[u8]) {
    let id = AuthorityKeyIdentifier::from_der(&extension(certificate, "2.5.29.35").unwrap()).unwrap();
    let of_issuer = OctetString::from_der(&extension(issuer, "2.5.29.14").unwrap()).unwrap();
    assert_eq!(id.key_identifier.unwrap(), of_issuer);
    assert_eq!(
        parse(certificate).tbs_certificate().issuer().to_der().unwrap(),
        parse(issuer).tbs_certificate().subject().to_der().unwrap(),
        "names are compared byte by byte"
    );
    assert!(verifies(certificate, issuer));
}

/// Whether the certificate's SHA-384 signature verifies under the issuer's key.
pub fn verifies(certificate: &[u8], issuer: &[u8]) -> bool {
    let certificate = parse(certificate);
    let issuer = parse(issuer);
    let key = issuer.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1, key);
    let signed = certificate.tbs_certificate().to_der().unwrap();
    key.verify(&signed, certificate.signature().raw_bytes()).is_ok()
}

/// SubjectPublicKeyInfo DER of a certificate.
pub fn public_key(certificate: &[u8]) -> Vec<u8> {
    parse(certificate).tbs_certificate().subject_public_key_info().to_der().unwrap()
}

/// NotBefore, seconds since the epoch.
pub fn not_before(certificate: &[u8]) -> i64 {
    parse(certificate).tbs_certificate().validity().not_before.to_unix_duration().as_secs().try_into().unwrap()
}

/// NotAfter, seconds since the epoch.
pub fn not_after(certificate: &[u8]) -> i64 {
    parse(certificate).tbs_certificate().validity().not_after.to_unix_duration().as_secs().try_into().unwrap()
}
