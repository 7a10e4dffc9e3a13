//! A TLS client that does what it is told: any certificate with any key, any versions, groups, protocols.

use std::sync::{Arc, Mutex};

use marblerun_attestation::tls::{Anyone, ServerVerifier};
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::sha2::Sha256;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _, Signer as _};
use rustls::client::{ClientSessionMemoryCache, ResolvesClientCert, Resumption};
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group, sign::any_supported_type};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{
    ClientConfig, Error, HandshakeKind, NamedGroup, ProtocolVersion, SignatureAlgorithm, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// A certificate list and a key.
#[derive(Clone)]
pub(super) struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
}

impl ClientIdentity {
    pub(super) fn from_pem(pem: &[u8]) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(pem).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pem).unwrap();
        let key = any_supported_type(&key)
            .unwrap_or_else(|_| Arc::new(ShortRsa(rsa::RsaPrivateKey::from_pkcs8_der(key.secret_der()).unwrap())));
        Self { chain, key }
    }

    pub(super) fn leaf(&self) -> &[u8] {
        &self.chain[0]
    }

    pub(super) fn with_leaf(mut self, leaf: Vec<u8>) -> Self {
        self.chain[0] = CertificateDer::from(leaf);
        self
    }

    pub(super) fn with_leaf_of(self, other: &Self) -> Self {
        self.with_leaf(other.leaf().to_vec())
    }

    pub(super) fn with_extra(mut self, certificate: &[u8]) -> Self {
        self.chain.push(CertificateDer::from(certificate.to_vec()));
        self
    }
}

/// RSA keys that aws-lc does not sign with.
#[derive(Debug)]
struct ShortRsa(rsa::RsaPrivateKey);

impl SigningKey for ShortRsa {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let scheme = [SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256]
            .into_iter()
            .find(|scheme| offered.contains(scheme))?;
        Some(Box::new(ShortRsaSigner { key: self.0.clone(), scheme }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

#[derive(Debug)]
struct ShortRsaSigner {
    key: rsa::RsaPrivateKey,
    scheme: SignatureScheme,
}

impl rustls::sign::Signer for ShortRsaSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(match self.scheme {
            SignatureScheme::RSA_PSS_SHA256 => rsa::pss::SigningKey::<Sha256>::new(self.key.clone())
                .sign_with_rng(&mut rsa::rand_core::OsRng, message)
                .to_vec(),
            _ => rsa::pkcs1v15::SigningKey::<Sha256>::new(self.key.clone()).sign(message).to_vec(),
        })
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// How to connect.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) identity: Option<ClientIdentity>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) groups: Vec<&'static dyn SupportedKxGroup>,
    pub(super) alpn: Vec<&'static str>,
    pub(super) server_name: &'static str,
    /// Tickets of earlier connections.
    pub(super) resumption: Resumption,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            identity: None,
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            groups: vec![kx_group::X25519MLKEM768, kx_group::SECP256R1, kx_group::SECP384R1],
            alpn: vec!["h2", "http/1.1"],
            server_name: "localhost",
            resumption: Resumption::store(Arc::new(ClientSessionMemoryCache::new(8))),
        }
    }
}

/// What a client saw.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) version: ProtocolVersion,
    pub(super) server_chain: Vec<Vec<u8>>,
    pub(super) group: Option<NamedGroup>,
    pub(super) alpn: Option<Vec<u8>>,
    pub(super) full_handshake: bool,
    /// Number of authorities the server named when it asked for a certificate; `None` if it did not ask.
    pub(super) named_authorities: Option<usize>,
}

impl Client {
    pub(super) async fn connect(self, stream: DuplexStream) -> std::io::Result<Outcome> {
        let presented = Arc::new(Presented { identity: self.identity, named: Mutex::new(None) });
        let provider = rustls::crypto::CryptoProvider { kx_groups: self.groups, ..default_provider() };
        // Tests compare what the server presents.
        let verifier = Arc::new(ServerVerifier::new(Anyone, &provider));
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(presented.clone());
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = self.resumption;
        let name = ServerName::try_from(self.server_name).unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_u8(0).await?;
        stream.flush().await?;
        stream.read_u8().await?;
        let session = stream.get_ref().1;
        let named_authorities = *presented.named.lock().unwrap();
        Ok(Outcome {
            version: session.protocol_version().unwrap(),
            server_chain: session.peer_certificates().unwrap().iter().map(|c| c.to_vec()).collect(),
            group: session.negotiated_key_exchange_group().map(|group| group.name()),
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            full_handshake: session.handshake_kind() != Some(HandshakeKind::Resumed),
            named_authorities,
        })
    }
}

/// Presents an identity without looking at it.
struct Presented {
    identity: Option<ClientIdentity>,
    named: Mutex<Option<usize>>,
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Presented")
    }
}

impl ResolvesClientCert for Presented {
    fn resolve(&self, authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.named.lock().unwrap() = Some(authorities.len());
        let identity = self.identity.as_ref()?;
        Some(Arc::new(CertifiedKey::new(identity.chain.clone(), identity.key.clone())))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
