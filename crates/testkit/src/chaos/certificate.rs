//! The proxy's own certificate, which its clients are told to believe.

use std::net::Ipv4Addr;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use der::asn1::{Ia5String, OctetString};
use der::pem::LineEnding;
use p384::ecdsa::SigningKey;
use p384::pkcs8::EncodePrivateKey as _;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::EncodePem as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Validity;

/// A TLS server for 127.0.0.1, and the certificate (PEM) to believe.
pub fn server() -> Result<(Arc<ServerConfig>, String)> {
    let mut scalar = [0u8; 48];
    let key = loop {
        aws_lc_rs::rand::fill(&mut scalar).map_err(|_| anyhow!("no randomness"))?;
        if let Ok(key) = SigningKey::from_slice(&scalar) {
            break key;
        }
    };
    let builder = CertificateBuilder::new(
        Loopback,
        SerialNumber::from(u32::from_be_bytes([1, scalar[0], scalar[1], scalar[2]])),
        Validity::from_now(Duration::from_secs(3600 * 24))?,
        spki::SubjectPublicKeyInfo::from_key(key.verifying_key())?,
    )?;
    let certificate = builder.build::<_, p384::ecdsa::DerSignature>(&key)?.to_pem(LineEnding::LF)?;
    let key = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| anyhow!("{e}"))?;
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((Arc::new(config), certificate))
}

/// Issued by itself, for the loopback address.
struct Loopback;

impl BuilderProfile for Loopback {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
    }

    fn get_subject(&self) -> Name {
        Name::from_str("CN=chaos").unwrap_or_default()
    }

    fn build_extensions(
        &self,
        _spk: spki::SubjectPublicKeyInfoRef<'_>,
        _issuer_spk: spki::SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let names = SubjectAltName(vec![
            GeneralName::IpAddress(OctetString::new(Ipv4Addr::LOCALHOST.octets())?),
            GeneralName::DnsName(Ia5String::new("localhost")?),
        ]);
        let constraints = BasicConstraints { ca: false, path_len_constraint: None };
        Ok(vec![constraints.to_extension(tbs.subject(), &[])?, names.to_extension(tbs.subject(), &[])?])
    }
}
