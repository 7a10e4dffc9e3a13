//! One TLS connection to the Coordinator, and the gRPC channel over it.

use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::rt::TokioIo;
use marblerun_attestation::tls::{Anyone, ServerVerifier};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::address::CoordinatorAddress;
use crate::identity::Identity;

const HTTP2: &[u8] = b"h2";

/// An open connection.
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    /// The certificate (DER) whose key the handshake proved.
    pub(crate) server_certificate: Vec<u8>,
}

/// TLS settings that show the Marble's identity.
pub(crate) fn tls_config(identity: &Identity) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (chain, key) = identity.tls();
    // Whom the certificate belongs to is decided over the answer.
    let verifier = Arc::new(ServerVerifier::new(Anyone, &provider));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Connects. The error says which step failed.
pub(crate) async fn open(address: &CoordinatorAddress, config: Arc<ClientConfig>) -> Result<Connection, String> {
    let (host, port) = address.host_and_port();
    let tcp = TcpStream::connect((host, port)).await.map_err(|error| format!("cannot connect: {error}"))?;
    tcp.set_nodelay(true).map_err(|error| format!("cannot connect: {error}"))?;
    let tls = TlsConnector::from(config)
        .connect(address.server_name(), tcp)
        .await
        .map_err(|error| format!("TLS handshake failed: {error}"))?;
    let (_, session) = tls.get_ref();
    if session.alpn_protocol() != Some(HTTP2) {
        return Err("TLS handshake failed: the server does not speak HTTP/2".to_owned());
    }
    let server_certificate = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or("TLS handshake failed: the server showed no certificate")?
        .to_vec();
    let channel = channel(address, tls).await.map_err(|error| format!("cannot open the HTTP/2 connection: {error}"))?;
    Ok(Connection { channel, server_certificate })
}

/// A channel over this one connection: if it breaks, the call fails.
async fn channel(address: &CoordinatorAddress, tls: TlsStream<TcpStream>) -> Result<Channel, tonic::transport::Error> {
    let once = Arc::new(Mutex::new(Some(TokioIo::new(tls))));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { stream.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)) }
    });
    // TLS is done already, so the scheme must not ask for it again.
    Endpoint::from_shared(format!("http://{address}"))?.connect_with_connector(connector).await
}
