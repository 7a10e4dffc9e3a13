//! The key a Marble shows until it has its real one: a self-signed TLS certificate, and a certification
//! request with the names it goes by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use const_oid::db::rfc4519::COMMON_NAME;
use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use der::asn1::{Any, GeneralizedTime, Ia5String, PrintableStringRef, SetOfVec};
use der::{DateTime, Decode, Encode};
use jiff::Timestamp;
use p384::ecdsa::{DerSignature, SigningKey};
use p384::pkcs8::DecodePrivateKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use spki::{SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::request::RequestBuilder;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

use crate::PremainError;

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// What a Marble is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// DNS names, in order.
    pub dns: Vec<String>,
    /// Addresses besides the loopback ones, in order.
    pub ips: Vec<IpAddr>,
}

impl Names {
    fn general_names(&self, ips: impl Iterator<Item = IpAddr>) -> Result<SubjectAltName, der::Error> {
        let dns = self.dns.iter().map(|name| Ia5String::new(name).map(GeneralName::DnsName));
        Ok(SubjectAltName(dns.chain(ips.map(|ip| Ok(GeneralName::from(ip)))).collect::<Result<_, _>>()?))
    }
}

/// Key, TLS certificate and certification request.
pub struct Identity {
    key: PrivatePkcs8KeyDer<'static>,
    certificate: CertificateDer<'static>,
    request: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes a fresh one, valid from `now` for as long as upstream's.
    ///
    /// # Errors
    /// If a name cannot be encoded or the random source fails.
    pub fn generate(names: &Names, now: Timestamp) -> Result<Self, PremainError> {
        Self::build(names, now).map_err(PremainError::Identity)
    }

    /// The TLS certificate (DER). Evidence is bound to it.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The certification request (DER).
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// As the TLS library wants them.
    pub(crate) fn tls(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.certificate.clone()], PrivateKeyDer::Pkcs8(self.key.clone_key()))
    }

    fn build(names: &Names, now: Timestamp) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map_err(|_| "key generation failed")?;
        let key = pair.to_pkcs8v1().map_err(|_| "key generation failed")?;
        let signer = SigningKey::from_pkcs8_der(key.as_ref()).map_err(|error| text(&error))?;
        let certificate = self_signed(&signer, names, now).map_err(|error| text(&error))?;
        let request = certification_request(&signer, names).map_err(|error| text(&error))?;
        Ok(Self {
            key: PrivatePkcs8KeyDer::from(key.as_ref().to_vec()),
            certificate: CertificateDer::from(certificate),
            request,
        })
    }
}

fn self_signed(signer: &SigningKey, names: &Names, now: Timestamp) -> x509_cert::builder::Result<Vec<u8>> {
    let mut serial = [1; 16];
    // Not secret and never compared: any number does.
    let _ = aws_lc_rs::rand::fill(&mut serial);
    let subject = common_name("MarbleRun Marble")?;
    let alt_names = names.general_names(names.ips.iter().copied().chain(LOOPBACK))?;
    let key = SubjectPublicKeyInfoOwned::from_key(signer.verifying_key())?;
    // 2^63-1 ns, the longest duration of Go: for ever.
    let forever = Duration::from_nanos(i64::MAX.unsigned_abs());
    let validity = Validity::new(time(now, Duration::ZERO)?, time(now, forever)?);
    let profile = Profile { subject, alt_names };
    let builder = CertificateBuilder::new(profile, SerialNumber::new(&serial)?, validity, key)?;
    Ok(builder.build::<_, DerSignature>(signer)?.to_der()?)
}

/// As PrintableString, as Go writes it; the library's own parser would make it a UTF8String.
fn common_name(text: &str) -> der::Result<Name> {
    let attribute = AttributeTypeAndValue { oid: COMMON_NAME, value: Any::from(PrintableStringRef::new(text)?) };
    let mut rdns = RdnSequence::default();
    rdns.push(RelativeDistinguishedName::from(SetOfVec::try_from([attribute])?));
    Name::from_der(&rdns.to_der()?)
}

fn certification_request(signer: &SigningKey, names: &Names) -> x509_cert::builder::Result<Vec<u8>> {
    let mut builder = RequestBuilder::new(Name::default())?;
    let alt_names = names.general_names(LOOPBACK.into_iter().chain(names.ips.iter().copied()))?;
    // The library would make it critical, as the subject is empty.
    builder.add_extension(Extension { critical: false, ..(&alt_names).to_extension(&Name::default(), &[])? })?;
    Ok(builder.build::<_, DerSignature>(signer)?.to_der()?)
}

fn time(now: Timestamp, later: Duration) -> der::Result<Time> {
    let now = Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default();
    let time = DateTime::from_unix_duration(Duration::from_secs((now + later).as_secs()))?;
    Ok(Time::GeneralTime(GeneralizedTime::from_date_time(time)))
}

struct Profile {
    subject: Name,
    alt_names: SubjectAltName,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
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
        let usage = KeyUsage(KeyUsages::DigitalSignature | KeyUsages::KeyAgreement);
        let purposes = ExtendedKeyUsage(vec![ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH]);
        let constraints = BasicConstraints { ca: false, path_len_constraint: None };
        Ok(vec![
            (&usage).to_extension(&self.subject, &[])?,
            (&purposes).to_extension(&self.subject, &[])?,
            Extension { critical: true, ..(&constraints).to_extension(&self.subject, &[])? },
            (&self.alt_names).to_extension(&self.subject, &[])?,
        ])
    }
}
