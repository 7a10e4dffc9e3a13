//! A client of the webhook that trusts the certificates it is given.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::Pair;

pub async fn connect(address: SocketAddr, trusted: &[&Pair], alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for pair in trusted {
        roots.add(pair.der()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The certificate that a new connection gets to see.
pub async fn shown(address: SocketAddr, trusted: &[&Pair]) -> CertificateDer<'static> {
    let stream = connect(address, trusted, b"h2").await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// An HTTP/2 connection, as the API server keeps one.
pub struct Kept(pub http2::SendRequest<Full<Bytes>>);

impl Kept {
    pub async fn open(address: SocketAddr, trusted: &Pair) -> Self {
        let stream = connect(address, &[trusted], b"h2").await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> (StatusCode, String) {
        text(self.0.send_request(request).await.unwrap()).await
    }
}

/// One request over HTTP/1.1.
pub async fn send(address: SocketAddr, trusted: &Pair, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let stream = connect(address, &[trusted], b"http/1.1").await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    text(sender.send_request(request).await.unwrap()).await
}

async fn text(response: http::Response<hyper::body::Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

pub fn health(address: SocketAddr) -> Request<Full<Bytes>> {
    Request::get(format!("https://{address}/healthz")).header("Host", "h").body(Full::default()).unwrap()
}

pub fn mutate(address: SocketAddr, pod: &Value) -> Request<Full<Bytes>> {
    let review = json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {"uid": "u-1", "namespace": "shop", "operation": "CREATE", "object": pod}
    });
    Request::post(format!("https://{address}/mutate?timeout=10s"))
        .header("Host", "h")
        .header("Content-Type", "application/json")
        .body(Full::from(review.to_string()))
        .unwrap()
}

pub fn voting() -> Value {
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"generateName": "voting-", "labels": {"marblerun/marbletype": "voting"}},
        "spec": {"containers": [{"name": "app", "image": "voting"}]}
    })
}
