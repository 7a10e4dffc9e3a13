//! The certificate by which the API server knows the webhook. Its CA is made for this one certificate and its key is
//! thrown away, so that nobody can issue another.
//!
//! A new certificate comes with a new CA. The bundle then holds the old one, too, so that the webhook is trusted while
//! the injectors still show the old certificate.

use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use const_oid::db::rfc5280::ID_KP_SERVER_AUTH;
use der::asn1::{GeneralizedTime, Ia5String};
use der::{DateTime, Decode as _, Encode as _};
use jiff::{SignedDuration, Timestamp};
use p384::ecdsa::{DerSignature, SigningKey};
use p384::pkcs8::DecodePrivateKey as _;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use spki::{SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};
use x509_cert::Certificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder};
use x509_cert::certificate::{CertificateInner, Raw, TbsCertificate};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};
use zeroize::Zeroizing;

use crate::names;

/// Nothing renews it but another `install`, and a webhook without a valid certificate keeps every Marble from starting.
const LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// From when on `install` makes a new one.
const NEAR_THE_END: SignedDuration = SignedDuration::from_hours(180 * 24);
/// Clocks of nodes and of the one who installs differ.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
/// CAs of earlier certificates that stay in the bundle.
const KEPT_AUTHORITIES: usize = 2;

/// The certificate cannot be made, or is none.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFailure {
    /// The crypto library failed.
    #[error("making the certificate of the webhook: {0}")]
    Make(String),
}

/// A certificate with its key, and those who vouch for it.
pub struct WebhookCertificate {
    /// The certificate, PEM.
    pub certificate: String,
    /// Its key, PKCS#8 PEM.
    pub key: Zeroizing<String>,
    /// CA certificates, PEM: its own first, then those of earlier certificates.
    pub authorities: String,
}

impl WebhookCertificate {
    /// Makes one for the injector in `namespace`. Of `earlier` CAs (PEM), those that are valid stay in the bundle.
    ///
    /// # Errors
    /// If the random source fails or the names cannot be encoded.
    pub fn make(namespace: &str, earlier: &str, now: Timestamp) -> Result<Self, CertificateFailure> {
        build(namespace, earlier, now).map_err(CertificateFailure::Make)
    }
}

fn build(namespace: &str, earlier: &str, now: Timestamp) -> Result<WebhookCertificate, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let (authority_key, _) = new_key()?;
    let (key, key_der) = new_key()?;
    let service = names::injector_host(namespace);
    let subject = |name: &str| format!("CN={name},O=MarbleRun").parse::<Name>().map_err(|error| text(&error));
    // Names of the API have no place in it: it must fit 64 characters.
    let authority = Profile::authority(subject("marble-injector CA")?);
    let leaf = Profile::leaf(subject("marble-injector")?, authority.subject.clone(), &service).map_err(|e| text(&e))?;
    let authority = issue(authority, &authority_key, &authority_key, now).map_err(|error| text(&error))?;
    let certificate = issue(leaf, &key, &authority_key, now).map_err(|error| text(&error))?;
    let mut authorities = pem("CERTIFICATE", &authority)?.to_string();
    let still_valid = certificates(earlier).into_iter().filter(|der| not_after(der).is_some_and(|end| end > now));
    for der in still_valid.take(KEPT_AUTHORITIES) {
        authorities.push_str(&pem("CERTIFICATE", &der)?);
    }
    Ok(WebhookCertificate {
        certificate: pem("CERTIFICATE", &certificate)?.to_string(),
        key: pem("PRIVATE KEY", &key_der)?,
        authorities,
    })
}

/// What a certificate is worth at a time, to an API server that trusts `authorities`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worth {
    /// It will do until then.
    Good {
        /// The first of certificate and CAs to expire.
        until: Timestamp,
    },
    /// It still does, but not for long.
    NearTheEnd {
        /// The end.
        until: Timestamp,
    },
    /// It does not.
    Useless(&'static str),
}

/// Judges a certificate (PEM, leaf first) as the API server does. `key`: must belong to it.
pub fn judge(namespace: &str, certificate: &[u8], key: Option<&[u8]>, authorities: &[u8], now: Timestamp) -> Worth {
    let chain = certificates(&String::from_utf8_lossy(certificate));
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Worth::Useless("it is no certificate");
    };
    if let Some(key) = key
        && !belongs(leaf, key)
    {
        return Worth::Useless("the key is not that of the certificate");
    }
    let roots = certificates(&String::from_utf8_lossy(authorities));
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    if store.is_empty() {
        return Worth::Useless("there is no CA that vouches for it");
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(store.into(), provider).build() else {
        return Worth::Useless("there is no CA that vouches for it");
    };
    let Ok(name) = ServerName::try_from(names::injector_host(namespace)) else {
        return Worth::Useless("the namespace has no name that a certificate can have");
    };
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    match verifier.verify_server_cert(leaf, intermediates, &name, &[], at) {
        Ok(_) => {}
        Err(rustls::Error::InvalidCertificate(error)) => return Worth::Useless(why(&error)),
        Err(_) => return Worth::Useless("it cannot be verified"),
    }
    // Whichever CA vouches, the leaf and at least one CA must live; renewal looks at the leaf and the newest CA.
    let ends = [Some(leaf), roots.first()];
    let until = ends.into_iter().flatten().filter_map(|der| not_after(der)).min().unwrap_or(now);
    if until.duration_since(now) < NEAR_THE_END { Worth::NearTheEnd { until } } else { Worth::Good { until } }
}

fn why(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it, or its CA, has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is not for the name of the webhook's service"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "no CA of the bundle vouches for it",
        CertificateError::BadEncoding => "it is damaged",
        _ => "it cannot be verified",
    }
}

/// All certificates of a PEM text. What is none is passed over.
fn certificates(text: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok).collect()
}

fn not_after(der: &[u8]) -> Option<Timestamp> {
    // As read by Go: serial numbers may be longer than they should.
    let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Timestamp::from_second(i64::try_from(end.as_secs()).ok()?).ok()
}

fn belongs(leaf: &CertificateDer<'_>, key: &[u8]) -> bool {
    let Ok(key) = PrivateKeyDer::from_pem_slice(key) else { return false };
    let Ok(key) = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key) else { return false };
    rustls::sign::CertifiedKey::new(vec![leaf.clone().into_owned()], key).keys_match().is_ok()
}

fn new_key() -> Result<(SigningKey, Zeroizing<Vec<u8>>), String> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map_err(|_| "key generation failed")?;
    let der = Zeroizing::new(pair.to_pkcs8v1().map_err(|_| "key generation failed")?.as_ref().to_vec());
    debug_assert!(pair.public_key().as_der().is_ok());
    let key = SigningKey::from_pkcs8_der(&der).map_err(|error| error.to_string())?;
    Ok((key, der))
}

fn issue(
    profile: Profile,
    subject: &SigningKey,
    issuer: &SigningKey,
    now: Timestamp,
) -> x509_cert::builder::Result<Vec<u8>> {
    let mut serial = [1; 16];
    // Not secret and never compared: any number does.
    let _ = aws_lc_rs::rand::fill(&mut serial);
    let key = SubjectPublicKeyInfoOwned::from_key(subject.verifying_key())?;
    let validity = Validity::new(time(now, -BACKDATED)?, time(now, LIFETIME)?);
    let builder = CertificateBuilder::new(profile, SerialNumber::new(&serial)?, validity, key)?;
    let certificate: Certificate = builder.build::<_, DerSignature>(issuer)?;
    Ok(certificate.to_der()?)
}

fn time(now: Timestamp, later: SignedDuration) -> der::Result<Time> {
    let seconds = u64::try_from(now.as_second().saturating_add(later.as_secs())).unwrap_or_default();
    let time = DateTime::from_unix_duration(Duration::from_secs(seconds))?;
    // The builder turns what fits into UTCTime.
    Ok(Time::GeneralTime(GeneralizedTime::from_date_time(time)))
}

fn pem(label: &str, der: &[u8]) -> Result<Zeroizing<String>, String> {
    let text = der::pem::encode_string(label, der::pem::LineEnding::LF, der);
    text.map(Zeroizing::new).map_err(|error| error.to_string())
}

/// What a certificate says beside its key and time.
struct Profile {
    subject: Name,
    issuer: Name,
    extensions: Vec<Extension>,
}

impl Profile {
    fn authority(subject: Name) -> Self {
        let constraints = BasicConstraints { ca: true, path_len_constraint: Some(0) };
        let usage = KeyUsage(KeyUsages::KeyCertSign.into());
        // Both always encode.
        let extensions = [(&constraints).to_extension(&subject, &[]), (&usage).to_extension(&subject, &[])];
        Self { issuer: subject.clone(), extensions: extensions.into_iter().flatten().collect(), subject }
    }

    fn leaf(subject: Name, issuer: Name, host: &str) -> x509_cert::builder::Result<Self> {
        let names = SubjectAltName(vec![GeneralName::DnsName(Ia5String::new(host)?)]);
        let constraints = BasicConstraints { ca: false, path_len_constraint: None };
        let usage = KeyUsage(KeyUsages::DigitalSignature.into());
        let purpose = ExtendedKeyUsage(vec![ID_KP_SERVER_AUTH]);
        let extensions = vec![
            Extension { critical: true, ..(&constraints).to_extension(&subject, &[])? },
            (&usage).to_extension(&subject, &[])?,
            (&purpose).to_extension(&subject, &[])?,
            (&names).to_extension(&subject, &[])?,
        ];
        Ok(Self { subject, issuer, extensions })
    }
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _key: SubjectPublicKeyInfoRef<'_>,
        _issuer_key: SubjectPublicKeyInfoRef<'_>,
        _certificate: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn now() -> Timestamp {
        "2027-01-01T00:00:00Z".parse().unwrap()
    }

    fn judged(made: &WebhookCertificate, authorities: &str, at: Timestamp) -> Worth {
        judge("ns", made.certificate.as_bytes(), Some(made.key.as_bytes()), authorities.as_bytes(), at)
    }

    #[test]
    fn a_new_certificate_is_good_for_its_namespace_for_years() {
        let made = WebhookCertificate::make("ns", "", now()).unwrap();
        assert!(matches!(judged(&made, &made.authorities, now()), Worth::Good { .. }));
        assert!(matches!(judged(&made, &made.authorities, now() + DAY * 3400), Worth::Good { .. }));
        assert!(matches!(judged(&made, &made.authorities, now() + DAY * 3600), Worth::NearTheEnd { .. }));
        let late = judged(&made, &made.authorities, now() + DAY * 3651);
        assert_eq!(late, Worth::Useless("it, or its CA, has expired"));
        let elsewhere = judge("other", made.certificate.as_bytes(), None, made.authorities.as_bytes(), now());
        assert_eq!(elsewhere, Worth::Useless("it is not for the name of the webhook's service"));
    }

    #[test]
    fn while_certificates_change_the_bundle_vouches_for_the_old_one_and_the_new_one() {
        let old = WebhookCertificate::make("ns", "", now()).unwrap();
        let new = WebhookCertificate::make("ns", &old.authorities, now() + DAY).unwrap();
        for made in [&old, &new] {
            assert!(matches!(judged(made, &new.authorities, now() + DAY), Worth::Good { .. }));
        }
        assert_eq!(judged(&new, &old.authorities, now() + DAY), Worth::Useless("no CA of the bundle vouches for it"));
        let much_later = WebhookCertificate::make("ns", &new.authorities, now() + DAY * 4000).unwrap();
        assert_eq!(certificates(&much_later.authorities).len(), 1, "expired CAs are dropped");
    }

    #[test]
    fn a_bundle_does_not_grow_for_ever() {
        let mut made = WebhookCertificate::make("ns", "", now()).unwrap();
        for _ in 0..4 {
            made = WebhookCertificate::make("ns", &made.authorities, now()).unwrap();
        }
        assert_eq!(certificates(&made.authorities).len(), 1 + KEPT_AUTHORITIES);
    }

    #[test]
    fn what_is_no_certificate_or_not_its_key_is_useless() {
        let (one, two) =
            (WebhookCertificate::make("ns", "", now()).unwrap(), WebhookCertificate::make("ns", "", now()).unwrap());
        let ca = one.authorities.as_bytes();
        let verdict = judge("ns", one.certificate.as_bytes(), Some(two.key.as_bytes()), ca, now());
        assert_eq!(verdict, Worth::Useless("the key is not that of the certificate"));
        assert_eq!(judge("ns", b"junk", None, ca, now()), Worth::Useless("it is no certificate"));
        let verdict = judge("ns", one.certificate.as_bytes(), None, b"", now());
        assert_eq!(verdict, Worth::Useless("there is no CA that vouches for it"));
    }
}
