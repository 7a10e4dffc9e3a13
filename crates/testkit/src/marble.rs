//! A Marble as the Coordinator sees it: a TLS client with a certificate of its own, asking to be activated.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use hyper_util::rt::TokioIo;
use marblerun_api::marble::marble_client::MarbleClient;
use marblerun_api::marble::{ActivationReq, ActivationResp};
use marblerun_attestation::tls::{Anyone, ServerVerifier};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tonic::transport::{Channel, Uri};
use x509_cert::builder::{Builder as _, RequestBuilder};
use x509_cert::der::Encode as _;
use x509_cert::name::Name;

use crate::TestUser;

/// What an activated Marble got.
#[derive(Debug, Clone, Default)]
pub struct Activation {
    /// Path to content.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Variable to value.
    pub env: BTreeMap<String, Vec<u8>>,
    /// Argument vector.
    pub argv: Vec<String>,
}

impl Activation {
    /// A variable as text.
    ///
    /// # Errors
    /// If it is missing or no text.
    pub fn text(&self, name: &str) -> Result<String> {
        Ok(String::from_utf8(self.env.get(name).with_context(|| format!("{name} is missing"))?.clone())?)
    }
}

/// A Marble that is not started, only played.
pub struct FakeMarble {
    tls: TestUser,
    csr: Vec<u8>,
    config: Arc<rustls::ClientConfig>,
}

impl FakeMarble {
    /// Makes key, TLS certificate and certification request.
    ///
    /// # Errors
    /// If a library refuses.
    pub fn new() -> Result<Self> {
        let tls = TestUser::new("MarbleRun Marble")?;
        let key = <p384::ecdsa::SigningKey as p384::pkcs8::DecodePrivateKey>::from_pkcs8_pem(&tls.key_pem)
            .map_err(|e| anyhow!("{e}"))?;
        let csr = RequestBuilder::new(Name::default())?.build::<_, p384::ecdsa::DerSignature>(&key)?.to_der()?;
        let config = Arc::new(client_config(&tls)?);
        Ok(Self { tls, csr, config })
    }

    /// The TLS identity.
    #[must_use]
    pub fn tls(&self) -> &TestUser {
        &self.tls
    }

    /// Connects anew and asks to be activated.
    ///
    /// # Errors
    /// The Coordinator's refusal (`tonic::Status` inside), or that of the connection.
    pub async fn activate(&self, mesh: SocketAddr, marble_type: &str, uuid: &str) -> Result<Activation> {
        self.activate_with(
            mesh,
            ActivationReq {
                quote: Vec::new(),
                csr: self.csr.clone(),
                marble_type: marble_type.to_owned(),
                uuid: uuid.to_owned(),
            },
        )
        .await
    }

    /// As [`FakeMarble::activate`], with every field of the request chosen.
    ///
    /// # Errors
    /// As there.
    pub async fn activate_with(&self, mesh: SocketAddr, request: ActivationReq) -> Result<Activation> {
        let channel = connect(mesh, self.config.clone()).await?;
        activate_on(channel, request).await
    }
}

/// Sends a request on an open channel.
///
/// # Errors
/// The Coordinator's refusal as `tonic::Status`.
pub async fn activate_on(channel: Channel, request: ActivationReq) -> Result<Activation> {
    let mut client = MarbleClient::new(channel).max_decoding_message_size(64 << 20);
    let ActivationResp { parameters } = client.activate(request).await?.into_inner();
    let parameters = parameters.context("an answer without parameters")?;
    Ok(Activation {
        files: parameters.files.into_iter().collect(),
        env: parameters.env.into_iter().collect(),
        argv: parameters.argv,
    })
}

async fn connect(mesh: SocketAddr, config: Arc<rustls::ClientConfig>) -> Result<Channel> {
    let connector = tower::service_fn(move |_: Uri| {
        let config = config.clone();
        async move {
            let tcp = tokio::net::TcpStream::connect(mesh).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::IpAddress(mesh.ip().into());
            let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await?;
            Ok::<_, std::io::Error>(TokioIo::new(tls))
        }
    });
    let endpoint = tonic::transport::Endpoint::try_from("http://coordinator")?;
    Ok(endpoint.connect_with_connector(connector).await?)
}

fn client_config(identity: &TestUser) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
    // Marbles of upstream do not verify the Coordinator either.
    let verifier = Arc::new(ServerVerifier::new(Anyone, &provider));
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}
