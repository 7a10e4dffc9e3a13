//! Users with client certificates, and holders of recovery keys.

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use der::pem::LineEnding;
use marblerun_client::Identity;
use p384::ecdsa::SigningKey;
use p384::pkcs8::EncodePrivateKey as _;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::EncodePem as _;
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Validity;

/// A user: a self-signed client certificate with its key.
#[derive(Debug, Clone)]
pub struct TestUser {
    /// PEM, goes into the manifest.
    pub certificate_pem: String,
    /// PEM (PKCS#8).
    pub key_pem: String,
}

impl TestUser {
    /// Makes a P-384 key and a certificate for it.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn new(name: &str) -> Result<Self> {
        let mut scalar = [0u8; 48];
        let key = loop {
            aws_lc_rs::rand::fill(&mut scalar).map_err(|_| anyhow!("no randomness"))?;
            if let Ok(key) = SigningKey::from_slice(&scalar) {
                break key;
            }
        };
        let subject = Name::from_str(&format!("CN={name}"))?;
        let builder = CertificateBuilder::new(
            SelfSigned(subject),
            SerialNumber::from(u32::from_be_bytes([1, scalar[0], scalar[1], scalar[2]])),
            Validity::from_now(Duration::from_secs(3600 * 24))?,
            spki::SubjectPublicKeyInfo::from_key(key.verifying_key())?,
        )?;
        let certificate = builder.build::<_, p384::ecdsa::DerSignature>(&key)?;
        Ok(Self {
            certificate_pem: certificate.to_pem(LineEnding::LF)?,
            key_pem: key.to_pkcs8_pem(LineEnding::LF).map_err(|e| anyhow!("{e}"))?.to_string(),
        })
    }

    /// Makes a key of another kind, as `openssl req -newkey` names it: `rsa:2048`, `ec:P-521`.
    ///
    /// # Errors
    /// If `openssl` fails.
    pub fn with_key(name: &str, kind: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (key, certificate) = (dir.path().join("key"), dir.path().join("certificate"));
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["req", "-x509", "-nodes", "-days", "2", "-subj", &format!("/CN={name}")]);
        match kind.strip_prefix("ec:") {
            Some(curve) => openssl.args(["-newkey", "ec", "-pkeyopt", &format!("ec_paramgen_curve:{curve}")]),
            None => openssl.args(["-newkey", kind]),
        };
        let output = openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output().context("openssl")?;
        anyhow::ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { certificate_pem: std::fs::read_to_string(certificate)?, key_pem: std::fs::read_to_string(key)? })
    }

    /// For the SDK.
    ///
    /// # Errors
    /// Never: the PEM is well formed.
    pub fn identity(&self) -> Result<Identity> {
        Ok(Identity::from_pem(self.certificate_pem.as_bytes(), self.key_pem.as_bytes())?)
    }
}

/// Its own issuer, with the least of extensions (which makes it version 3).
struct SelfSigned(Name);

impl BuilderProfile for SelfSigned {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
    }

    fn get_subject(&self) -> Name {
        self.0.clone()
    }

    fn build_extensions(
        &self,
        _spk: spki::SubjectPublicKeyInfoRef<'_>,
        _issuer_spk: spki::SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let constraints = BasicConstraints { ca: false, path_len_constraint: None };
        Ok(vec![constraints.to_extension(tbs.subject(), &[])?])
    }
}

/// A recovery key pair (RSA-2048).
#[derive(Debug)]
pub struct RecoveryKeyPair {
    pkcs8: Vec<u8>,
}

impl RecoveryKeyPair {
    /// Makes one.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn new() -> Result<Self> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| anyhow!("RSA generation failed"))?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| anyhow!("encoding failed"))?;
        Ok(Self { pkcs8: der.as_ref().to_vec() })
    }

    /// `PUBLIC KEY` PEM, goes into the manifest.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn public_pem(&self) -> Result<String> {
        let key = RsaKeyPair::from_pkcs8(&self.pkcs8).map_err(|e| anyhow!("{e}"))?;
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| anyhow!("encoding failed"))?;
        der::pem::encode_string("PUBLIC KEY", LineEnding::LF, spki.as_ref()).map_err(|e| anyhow!("{e}"))
    }

    /// `PRIVATE KEY` PEM.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn private_pem(&self) -> Result<String> {
        der::pem::encode_string("PRIVATE KEY", LineEnding::LF, &self.pkcs8).map_err(|e| anyhow!("{e}"))
    }

    /// Decrypts what the Coordinator answered for this party.
    ///
    /// # Errors
    /// If it was not for this key.
    pub fn decrypt(&self, ciphertext: &[u8]) -> Result<Vec<u8>> {
        let key = PrivateDecryptingKey::from_pkcs8(&self.pkcs8).map_err(|e| anyhow!("{e}"))?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_| anyhow!("no OAEP key"))?;
        let mut out = vec![0; key.min_output_size()];
        let plain = key
            .decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, &mut out, None)
            .map_err(|_| anyhow!("not encrypted to this key"))?;
        Ok(plain.to_vec())
    }

    /// Signs a plain secret.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn sign(&self, secret: &[u8]) -> Result<Vec<u8>> {
        let key = RsaKeyPair::from_pkcs8(&self.pkcs8).map_err(|e| anyhow!("{e}"))?;
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &aws_lc_rs::rand::SystemRandom::new(), secret, &mut signature)
            .map_err(|_| anyhow!("signing failed"))?;
        Ok(signature)
    }

    /// Decrypts and signs the entry of one party in a `manifest set` answer.
    ///
    /// # Errors
    /// If the party is missing, or the entry is not for this key.
    pub fn open(
        &self,
        name: &str,
        secrets: &std::collections::BTreeMap<String, marblerun_api::bytes::Base64>,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let secret = self.decrypt(&secrets.get(name).context("no such party")?.0)?;
        let signature = self.sign(&secret)?;
        Ok((secret, signature))
    }
}
