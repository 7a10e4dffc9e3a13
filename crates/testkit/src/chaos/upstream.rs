//! The way to the real API server: one HTTP/2 connection for all clients of the proxy, made anew when it is lost. Nothing
//! is sent twice here.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use super::memory::Answer;

/// Headers of one connection, and compression, which would hide the objects.
const NOT_PASSED_ON: [header::HeaderName; 9] = [
    header::HOST,
    header::CONNECTION,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::ACCEPT_ENCODING,
];

/// A request as a client sent it.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub method: Method,
    pub path_and_query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub struct Upstream {
    address: SocketAddr,
    tls: TlsConnector,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Upstream {
    pub fn new(port: u16, ca_pem: &str) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            tls: TlsConnector::from(Arc::new(config)),
            connection: Mutex::new(None),
        })
    }

    /// Sends a request and waits for the whole answer.
    pub async fn ask(&self, request: Outgoing) -> Result<Answer> {
        let (head, body) = self.open(request).await?.into_parts();
        let body = body.collect().await.context("reading the API server's answer")?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Sends a request and waits for the begin of the answer.
    pub async fn open(&self, request: Outgoing) -> Result<Response<Incoming>> {
        let uri = format!("https://{}{}", self.address, request.path_and_query);
        let mut message = Request::builder().method(request.method).uri(uri).body(Full::new(request.body))?;
        *message.headers_mut() = request.headers;
        let mut connection = self.connection().await?;
        connection.ready().await?;
        let mut response = connection.send_request(message).await.context("asking the API server")?;
        strip(response.headers_mut());
        Ok(response)
    }

    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>> {
        let mut connection = self.connection.lock().await;
        if let Some(open) = connection.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let tcp = TcpStream::connect(self.address).await.context("connecting to the API server")?;
        tcp.set_nodelay(true)?;
        let tls = self.tls.connect(ServerName::IpAddress(self.address.ip().into()), tcp).await?;
        let (sender, driver) = handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
        tokio::spawn(driver);
        Ok(connection.insert(sender).clone())
    }
}

/// Takes away what is not passed on.
pub fn strip(headers: &mut HeaderMap) {
    for name in &NOT_PASSED_ON {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}
