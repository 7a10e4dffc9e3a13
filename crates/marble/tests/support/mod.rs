//! A Coordinator that plays its part: real TLS, real gRPC, real certificates, and a script of answers.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use marblerun_api::marble::marble_server::{Marble, MarbleServer};
use marblerun_api::marble::{ActivationReq, ActivationResp, Parameters};
use marblerun_attestation::{Backend, Devices, Tee, TeeChoice};
use marblerun_marble::{Backoff, Config, Names, Trust};
use marblerun_pki::{Authority, SubjectAltNames, VerifiedCsr, issue_marble_leaf, pem};
use rustls::DistinguishedName;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Request, Response, Status};

/// What to do with the next call.
#[derive(Clone)]
pub enum Step {
    Answer(Parameters),
    /// As [`Step::Answer`], without the variables the Coordinator adds.
    Bare(Parameters),
    Refuse(Code, &'static str),
    /// An answer without parameters.
    Empty,
    /// Never.
    Hang,
}

/// A call as it came.
pub struct Call {
    pub request: ActivationReq,
    /// The TLS client certificate (DER).
    pub certificate: Vec<u8>,
}

pub struct FakeCoordinator {
    pub address: SocketAddr,
    pub authority: Arc<Authority>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl FakeCoordinator {
    /// Starts on a free port. The last step is repeated for ever.
    pub async fn start(script: &[Step]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = authority();
        Self::start_on(listener, script, authority.clone(), &authority, b"h2")
    }

    /// `authority` issues the certificates in the answers, `shown` is whose Marble root and key TLS shows.
    pub fn start_on(
        listener: TcpListener,
        script: &[Step],
        authority: Arc<Authority>,
        shown: &Authority,
        alpn: &[u8],
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(shown, alpn)));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(script.iter().cloned().collect::<VecDeque<_>>()));
        let (seen, issuer) = (calls.clone(), authority.clone());
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, seen, script, issuer) = (acceptor.clone(), seen.clone(), script.clone(), issuer.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let certificate = tls.get_ref().1.peer_certificates().unwrap()[0].to_vec();
                    let service = MarbleServer::new(Played { certificate, seen, script, issuer });
                    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                        .http2_only()
                        .serve_connection(TokioIo::new(tls), TowerToHyperService::new(service))
                        .await;
                });
            }
        });
        Self { address, authority, calls }
    }

    pub fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// An HTTP server that knows no gRPC, such as a client API.
    pub async fn start_client_api() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&authority(), b"h2")));
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let tls = acceptor.accept(tcp).await.unwrap();
            let service = hyper::service::service_fn(|_| async {
                let body = r#"{"status":"error","data":null,"message":""}"#.to_owned();
                http::Response::builder().status(405).body(body)
            });
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .http2_only()
                .serve_connection(TokioIo::new(tls), service)
                .await;
        });
        address
    }

    /// Settings for a Marble of this Coordinator that is in a hurry.
    pub fn config(&self, directory: &Path) -> Config {
        config(self.address, directory)
    }
}

pub fn config(address: SocketAddr, directory: &Path) -> Config {
    Config {
        coordinator: address.to_string().parse().unwrap(),
        marble_type: "web".to_owned(),
        names: Names { dns: vec!["localhost".to_owned()], ips: vec![] },
        uuid_file: directory.join("uuid"),
        trust: Trust::Anyone,
        expected: None,
        timeout: Duration::from_secs(20),
        backoff: Backoff { first: Duration::from_millis(10), longest: Duration::from_millis(50) },
        tee: TeeChoice::Fixed(Tee::Simulation),
    }
}

pub fn simulation() -> Backend {
    Backend::open(Tee::Simulation, &Devices::default()).unwrap()
}

pub fn authority() -> Arc<Authority> {
    Arc::new(Authority::generate(&SubjectAltNames::from_list("localhost"), jiff::Timestamp::now()).unwrap())
}

/// Parameters from text.
pub fn parameters(files: &[(&str, &[u8])], env: &[(&str, &[u8])], argv: &[&str]) -> Parameters {
    let map = |entries: &[(&str, &[u8])]| -> HashMap<String, Vec<u8>> {
        entries.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect()
    };
    Parameters { files: map(files), env: map(env), argv: argv.iter().map(|&argument| argument.to_owned()).collect() }
}

struct Played {
    certificate: Vec<u8>,
    seen: Arc<Mutex<Vec<Call>>>,
    script: Arc<Mutex<VecDeque<Step>>>,
    issuer: Arc<Authority>,
}

#[tonic::async_trait]
impl Marble for Played {
    async fn activate(&self, request: Request<ActivationReq>) -> Result<Response<ActivationResp>, Status> {
        let request = request.into_inner();
        let step = {
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }.unwrap()
        };
        let predefined = predefined(&self.issuer, &request);
        self.seen.lock().unwrap().push(Call { request, certificate: self.certificate.clone() });
        let parameters = match step {
            Step::Answer(mut parameters) => {
                parameters.env.extend(predefined);
                Some(parameters)
            }
            Step::Bare(parameters) => Some(parameters),
            Step::Empty => None,
            Step::Refuse(code, message) => return Err(Status::new(code, message)),
            Step::Hang => std::future::pending().await,
        };
        Ok(Response::new(ActivationResp { parameters }))
    }
}

/// What the Coordinator adds to the environment of every Marble.
fn predefined(authority: &Authority, request: &ActivationReq) -> Vec<(String, Vec<u8>)> {
    let csr = VerifiedCsr::parse(&request.csr).unwrap();
    let leaf = issue_marble_leaf(authority, &csr, &request.uuid, &request.marble_type, jiff::Timestamp::now()).unwrap();
    let certificate = |der: &[u8]| pem::encode(pem::CERTIFICATE, der).unwrap().to_string();
    let chain = certificate(&leaf.certificate) + &certificate(&authority.intermediate_certificate);
    let key = pem::encode(pem::PRIVATE_KEY, &leaf.private_key).unwrap();
    vec![
        ("MARBLE_PREDEFINED_ROOT_CA".to_owned(), certificate(&authority.marble_root_certificate).into_bytes()),
        ("MARBLE_PREDEFINED_COORDINATOR_ROOT_CA".to_owned(), certificate(&authority.root_certificate).into_bytes()),
        ("MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN".to_owned(), chain.into_bytes()),
        ("MARBLE_PREDEFINED_PRIVATE_KEY".to_owned(), key.as_bytes().to_vec()),
    ]
}

fn server_config(authority: &Authority, alpn: &[u8]) -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificate = CertificateDer::from(authority.marble_root_certificate.clone());
    let key = PrivatePkcs8KeyDer::from(authority.intermediate_key.to_pkcs8_der().to_vec());
    let mut config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(AnyClient(provider)))
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// Demands a certificate and takes any.
#[derive(Debug)]
struct AnyClient(Arc<rustls::crypto::CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What a client API shows as evidence.
#[derive(Clone, Copy)]
pub enum Shows {
    /// Report data over root and nonce.
    Evidence,
    /// The same without the nonce.
    OldEvidence,
    Garbage,
    /// As in simulation.
    Nothing,
}

/// The manifest in force.
pub const MANIFEST: &[u8] = br#"{"Marbles":{}}"#;

/// A client API: quote and manifest.
pub struct ClientApi {
    pub address: SocketAddr,
    nonces: Arc<Mutex<Vec<Vec<u8>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl ClientApi {
    /// Starts on a free port, with the root's own certificate.
    pub async fn start(authority: Arc<Authority>, shows: Shows) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = authority.root_key.to_pkcs8_der().to_vec();
        let mut config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![CertificateDer::from(authority.root_certificate.clone())],
                    PrivatePkcs8KeyDer::from(key).into(),
                )
                .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let nonces = Arc::new(Mutex::new(Vec::new()));
        let seen = nonces.clone();
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, authority, seen) = (acceptor.clone(), authority.clone(), seen.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        let data = answer(&authority, shows, request.uri(), &seen);
                        let body = serde_json::json!({"status": "success", "data": data, "message": null}).to_string();
                        async move { http::Response::builder().status(200).body(body) }
                    });
                    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(tls), service)
                        .await;
                });
            }
        });
        Self { address, nonces, task }
    }

    pub fn nonces(&self) -> Vec<Vec<u8>> {
        self.nonces.lock().unwrap().clone()
    }

    /// Nobody listens any more.
    pub async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn answer(authority: &Authority, shows: Shows, uri: &http::Uri, nonces: &Mutex<Vec<Vec<u8>>>) -> serde_json::Value {
    use aws_lc_rs::digest::{SHA256, digest};
    use marblerun_api::bytes::encode;

    let root = &authority.root_certificate;
    if uri.path() == "/api/v2/manifest" {
        let signature = authority.root_key.sign_sha256(MANIFEST).unwrap();
        return serde_json::json!({
            "manifestSignatureRootECDSA": encode(&signature),
            "manifestFingerprint": hex::encode(digest(&SHA256, MANIFEST)),
            "manifest": encode(MANIFEST),
        });
    }
    assert_eq!(uri.path(), "/api/v2/quote");
    let nonce = uri.query().and_then(|query| query.strip_prefix("nonce=")).unwrap_or_default();
    let nonce = marblerun_api::bytes::decode(&nonce.replace("%3D", "=").replace('-', "+").replace('_', "/")).unwrap();
    nonces.lock().unwrap().push(nonce.clone());
    let quote = match shows {
        Shows::Evidence => Some(marblerun_attestation::ReportData::binding(&[root, &nonce]).0.to_vec()),
        Shows::OldEvidence => Some(marblerun_attestation::ReportData::binding(&[root]).0.to_vec()),
        Shows::Garbage => Some(b"garbage".to_vec()),
        Shows::Nothing => None,
    };
    let certificate = |der: &[u8]| pem::encode(pem::CERTIFICATE, der).unwrap().to_string();
    serde_json::json!({
        "cert": certificate(&authority.intermediate_certificate) + &certificate(root),
        "quote": quote.map(|quote| encode(&quote)),
    })
}
