//! A server that plays a Coordinator from a table of answers, and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use marblerun_api::bytes;
use marblerun_client::{Client, ClientBuilder, Endpoint, Identity, Trust, chain_pem};
use marblerun_pki::{Authority, SubjectAltNames};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What stands for a manifest. The server never looks into it.
pub const MANIFEST: &[u8] = b"{\r\n \"Packages\": {} }\n";
/// What stands for a quote in signed statements.
pub const QUOTE: &[u8] = b"a quote";

/// An answer: status code, further header lines, body.
#[derive(Clone)]
pub struct Answer {
    pub code: u16,
    pub headers: String,
    pub body: Vec<u8>,
}

/// Code and body of an attestation over a nonce.
type Attesting = dyn Fn(&[u8]) -> (u16, String) + Send + Sync;

/// How the request for an attestation begins.
const ATTESTATION: &str = "GET /api/v3/attestation?nonce=";

/// What a Coordinator answers to which request (`GET /path?query`). Anything else is 405.
#[derive(Clone)]
pub struct Script {
    answers: BTreeMap<String, Answer>,
    /// If it attests its incarnation.
    attestation: Option<Arc<Attesting>>,
    quote: Option<Vec<u8>>,
    silent: bool,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET /path?query`.
    pub line: String,
    /// Header lines, lower case.
    pub headers: String,
    pub body: Vec<u8>,
    /// DER of the client's certificate.
    pub client: Option<Vec<u8>>,
}

/// A running server; it ends with the runtime of its test.
pub struct Fake {
    pub endpoint: Endpoint,
    pub authority: Authority,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Script {
    /// A Coordinator that knows API v1 only.
    pub fn v1() -> Self {
        Self::read(include_str!("golden/v1.txt"))
    }

    /// A Coordinator that knows API v2.
    pub fn v2() -> Self {
        Self::read(include_str!("golden/v2.txt"))
    }

    /// One that knows nothing.
    pub fn empty() -> Self {
        Self { answers: BTreeMap::new(), attestation: None, quote: None, silent: false }
    }

    fn read(golden: &str) -> Self {
        let mut script = Self::empty();
        for block in golden.split("\n\n") {
            let (head, body) = block.split_once('\n').unwrap();
            let (line, code) = head.split_once(" -> ").unwrap();
            script = script.answer(line, code.parse().unwrap(), body.trim_end());
        }
        script
    }

    /// Another answer than the golden one.
    pub fn answer(mut self, line: &str, code: u16, body: &str) -> Self {
        let body = format!("{body}\n").into_bytes();
        self.answers.insert(line.to_owned(), Answer { code, headers: String::new(), body });
        self
    }

    /// An answer that says that it is somewhere else.
    pub fn redirect(mut self, line: &str, code: u16, location: &str) -> Self {
        let headers = format!("Location: {location}\r\n");
        self.answers.insert(line.to_owned(), Answer { code, headers, body: Vec::new() });
        self
    }

    /// The evidence that the Coordinator shows.
    pub fn quote(mut self, quote: &[u8]) -> Self {
        self.quote = Some(quote.to_vec());
        self
    }

    /// A Coordinator that attests its incarnation: code and body of the answer to a nonce.
    pub fn attestation(mut self, body: impl Fn(&[u8]) -> (u16, String) + Send + Sync + 'static) -> Self {
        self.attestation = Some(Arc::new(body));
        self
    }

    /// Accepts requests and never answers.
    pub fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    fn fill(&mut self, authority: &Authority) {
        let cert = chain_pem(&authority.intermediate_certificate, &authority.root_certificate).unwrap();
        let sign = |message: &[u8]| bytes::encode(&authority.root_key.sign_sha256(message).unwrap());
        let quote = self.quote.as_ref().map(|quote| bytes::encode(quote));
        let values = [
            ("@CHAIN@", serde_json::to_string(&cert).unwrap()),
            ("@QUOTE@", serde_json::to_string(&quote).unwrap()),
            ("@MANIFEST@", bytes::encode(MANIFEST)),
            ("@FINGERPRINT@", sha256(MANIFEST)),
            ("@SIGNATURE@", sign(MANIFEST)),
            ("@STATEMENT@", sign(format!("{}UpToDate", bytes::encode(QUOTE)).as_bytes())),
        ];
        for answer in self.answers.values_mut() {
            let Ok(mut text) = String::from_utf8(answer.body.clone()) else { continue };
            for (name, value) in &values {
                text = text.replace(name, value);
            }
            answer.body = text.into_bytes();
        }
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

pub fn authority() -> Authority {
    Authority::generate(&SubjectAltNames::from_list("localhost"), jiff::Timestamp::now()).unwrap()
}

/// A user's certificate and key.
pub fn alice() -> Identity {
    Identity::from_pem(include_bytes!("../fixtures/user.crt"), include_bytes!("../fixtures/user.key")).unwrap()
}

impl Fake {
    pub async fn start(script: Script) -> Self {
        Self::with_authority(script, authority()).await
    }

    pub async fn with_authority(mut script: Script, authority: Authority) -> Self {
        script.fill(&authority);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&format!("localhost:{}", listener.local_addr().unwrap().port())).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let acceptor = TlsAcceptor::from(tls(&authority));
        let (script, seen) = (Arc::new(script), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, script, seen) = (acceptor.clone(), script.clone(), seen.clone());
                tokio::spawn(serve(acceptor, stream, script, seen));
            }
        });
        Self { endpoint, authority, requests }
    }

    /// Pins this server's root.
    pub fn builder(&self) -> ClientBuilder {
        let trust = Trust::Pinned(self.authority.root_certificate.clone());
        Client::builder(self.endpoint.clone()).trust(trust).timeout(Duration::from_secs(20))
    }

    pub fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    pub fn user(&self) -> Client {
        self.builder().identity(alice()).build().unwrap()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Request lines, and forgets them.
    pub fn lines(&self) -> Vec<String> {
        self.requests.lock().unwrap().drain(..).map(|request| request.line).collect()
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, script: Arc<Script>, seen: Arc<Mutex<Vec<Request>>>) {
    // Clients that do not like the certificate go away here.
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let client = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or_default() == 0 {
                return;
            }
        };
        let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
        let (first, headers) = head.split_once("\r\n").unwrap();
        let headers = headers.to_lowercase();
        let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let total = end + 4 + length.unwrap_or(0);
        while buffer.len() < total {
            assert_ne!(stream.read_buf(&mut buffer).await.unwrap(), 0);
        }
        let body = buffer[end + 4..total].to_vec();
        buffer.drain(..total);
        let line = first.strip_suffix(" HTTP/1.1").unwrap().to_owned();
        let unknown =
            Answer { code: 405, headers: String::new(), body: b"{\"status\":\"error\",\"data\":null}\n".to_vec() };
        let answer = match (script.answers.get(&line), &script.attestation) {
            (Some(answer), _) => answer.clone(),
            (None, Some(attestation)) if line.starts_with(ATTESTATION) => {
                let nonce = line[ATTESTATION.len()..].replace("%3D", "=");
                let nonce = base64::engine::general_purpose::URL_SAFE.decode(nonce).unwrap();
                let (code, body) = attestation(&nonce);
                Answer { code, headers: String::new(), body: body.into_bytes() }
            }
            (None, _) => unknown,
        };
        seen.lock().unwrap().push(Request { line, headers, body, client: client.clone() });
        if script.silent {
            std::future::pending::<()>().await;
        }
        let head = format!(
            "HTTP/1.1 {} Whatever\r\nContent-Length: {}\r\nContent-Type: text/plain; charset=utf-8\r\n{}\r\n",
            answer.code,
            answer.body.len(),
            answer.headers
        );
        let whole = [head.as_bytes(), &answer.body].concat();
        if stream.write_all(&whole).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// The root is the server certificate; any client certificate is asked for and taken.
fn tls(authority: &Authority) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(authority.root_key.to_pkcs8_der().to_vec()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let certified = CertifiedKey::new(vec![CertificateDer::from(authority.root_certificate.clone())], key);
    let config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(AnyClient(provider)))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    Arc::new(config)
}

#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
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
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
