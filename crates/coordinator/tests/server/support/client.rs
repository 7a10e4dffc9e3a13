//! HTTP/1.1 by hand, so that tests see exactly what is sent and what comes back.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use marblerun_attestation::tls::{Anyone, ServerVerifier};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A client certificate list with its key.
#[derive(Debug, Clone)]
pub struct Identity(Arc<CertifiedKey>, String);

impl Identity {
    /// One of `tests/fixtures/clients`.
    pub fn fixture(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/clients/{name}.pem"));
        let pem = std::fs::read_to_string(path).unwrap();
        Self::from_pem(&pem, &pem)
    }

    /// PEM of certificates and of a key.
    pub fn from_pem(certificates: &str, key: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(certificates.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = any_supported_type(&PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
        Self(Arc::new(CertifiedKey::new(chain, key)), certificates.to_owned())
    }

    /// The same key under another list of certificates.
    pub fn with_chain(&self, chain: Vec<CertificateDer<'static>>) -> Self {
        Self(Arc::new(CertifiedKey::new(chain, self.0.key.clone())), self.1.clone())
    }

    /// The certificates it presents.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.cert
    }

    /// For the manifest.
    pub fn pem(&self) -> &str {
        &self.1
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// An answer to the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    /// Value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Parsed body.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// `data` of the envelope.
    pub fn data(&self) -> serde_json::Value {
        self.json()["data"].clone()
    }

    /// `message` of the envelope.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// A TLS connection with a certificate or none.
pub async fn connect(
    address: SocketAddr,
    user: Option<&Identity>,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = default_provider();
    // Who it is is another test.
    let verifier = Arc::new(ServerVerifier::new(Anyone, &provider));
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match user {
        Some(identity) => config.with_client_cert_resolver(Arc::new(identity.clone())),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Bytes of a request that asks for the connection to be closed.
pub fn http1(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{length}\r\n").into_bytes();
    request.extend_from_slice(body);
    request
}

/// A connection that is kept for many requests.
pub struct Session(BufReader<TlsStream<TcpStream>>);

impl Session {
    pub async fn open(address: SocketAddr, user: Option<&Identity>) -> Self {
        Self(BufReader::new(connect(address, user, &[b"http/1.1"]).await.unwrap()))
    }

    /// One request without a body.
    pub async fn call(&mut self, method: &str, path: &str) -> Reply {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).await.unwrap(), 0, "{method} {path}: hung up after {head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head: head.trim_end().to_owned(), body: String::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        if method != "HEAD" {
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await.unwrap();
            reply.body = String::from_utf8(body).unwrap();
        }
        reply
    }
}

/// Sends bytes over TLS and reads to the end.
pub async fn request(address: SocketAddr, user: Option<&Identity>, bytes: &[u8]) -> Reply {
    exchange(connect(address, user, &[]).await.unwrap(), bytes).await
}

/// As [`request`], for an answer that is no text: its head, and its body.
pub async fn request_bytes(address: SocketAddr, user: Option<&Identity>, request: &str) -> (String, Vec<u8>) {
    let mut stream = connect(address, user, &[]).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    // A server that closes without a TLS goodbye has still said how long its answer is.
    let _ = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).unwrap(), body)
}

/// Sends bytes without TLS and reads to the end.
pub async fn plain(address: SocketAddr, bytes: &[u8]) -> Reply {
    exchange(TcpStream::connect(address).await.unwrap(), bytes).await
}

async fn exchange(stream: impl AsyncRead + AsyncWrite, bytes: &[u8]) -> Reply {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let write = async {
        // The server may answer, and hang up, before it has everything.
        let _ = writing.write_all(bytes).await;
        let _ = writing.flush().await;
    };
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(write, reading.read_to_end(&mut answer));
    let text = String::from_utf8(answer).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { panic!("no answer ({read:?}): {text:?}") };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}
