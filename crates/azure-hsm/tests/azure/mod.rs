//! Plays Azure's login service, Azure Attestation and a Managed HSM on one local HTTPS address, by their published
//! requests; and breaks them on demand.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rsa::{OAEP_SHA384_MGF1SHA384, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents};
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA384, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use marblerun_azure_hsm::{Attest, AzureHsm, Config, Credential, KeyName, Roots, VaultUrl};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

pub const SECRET: &str = "pass word&=%";

/// What is to go wrong.
#[derive(Default)]
pub struct Faults {
    /// Answers before the right one, by a part of the path: status, `Retry-After`.
    pub answers: VecDeque<(&'static str, u16, Option<u64>)>,
    /// How long each answer takes.
    pub delay: Duration,
    /// The chain in the token, instead of the vault's.
    pub chain: Option<Signer>,
    /// The algorithm named in the token.
    pub algorithm: Option<&'static str>,
    /// The nonce in the token.
    pub nonce: Option<String>,
    /// The key named in the token.
    pub kid: Option<String>,
    /// Spoils the signature.
    pub bad_signature: bool,
}

pub struct Azure {
    pub url: String,
    pub roots: Roots,
    pub authority: Authority,
    state: Arc<Mutex<State>>,
    _runtime: tokio::runtime::Runtime,
}

pub struct State {
    pub faults: Faults,
    /// Versions of the key, the last is the newest.
    pub keys: BTreeMap<String, Vec<u8>>,
    /// Path and body of each request.
    pub requests: Vec<(String, String)>,
    base: String,
    signer: Signer,
}

/// A certificate authority in a folder.
pub struct Authority {
    dir: tempfile::TempDir,
}

/// A chain, leaf first, and the leaf's key.
#[derive(Clone)]
pub struct Signer {
    chain: Vec<CertificateDer<'static>>,
    key_pem: String,
}

fn openssl(dir: &Path, words: &[&str]) {
    let output = Command::new("openssl").args(words).current_dir(dir).output().expect("openssl");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Authority {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=root -days 30 -keyout root.key -out root.crt";
        openssl(dir.path(), &words.split(' ').collect::<Vec<_>>());
        Self { dir }
    }

    pub fn roots(&self) -> Roots {
        Roots::from_pem(&std::fs::read(self.dir.path().join("root.crt")).unwrap()).unwrap()
    }

    /// A certificate for a host, valid from now for that many days.
    pub fn issue(&self, host: &str, days: &str) -> Signer {
        let dir = self.dir.path();
        let extensions = format!("subjectAltName=DNS:{host}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n");
        std::fs::write(dir.join("ext"), extensions).unwrap();
        let subject = format!("/CN={host}");
        openssl(
            dir,
            &["req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout", "leaf.key", "-out", "leaf.csr"],
        );
        let ca = ["-CA", "root.crt", "-CAkey", "root.key", "-CAcreateserial"];
        let leaf = ["x509", "-req", "-in", "leaf.csr", "-days", days, "-extfile", "ext", "-out", "leaf.crt"];
        openssl(dir, &[&leaf[..], &ca[..]].concat());
        Signer {
            chain: vec![CertificateDer::from_pem_file(dir.join("leaf.crt")).unwrap()],
            key_pem: std::fs::read_to_string(dir.join("leaf.key")).unwrap(),
        }
    }
}

impl Azure {
    pub fn start() -> Self {
        let authority = Authority::new();
        let signer = authority.issue("localhost", "30");
        let key = PrivateKeyDer::from_pem_slice(signer.key_pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(signer.chain.clone(), key)
            .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let state = Arc::new(Mutex::new(State {
            faults: Faults::default(),
            keys: BTreeMap::from([("v1".to_owned(), [0, 0xff].repeat(16))]),
            requests: Vec::new(),
            base: url.clone(),
            signer,
        }));
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = hyper::service::service_fn(move |request| answer(Arc::clone(&state), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { url, roots: authority.roots(), authority, state, _runtime: runtime }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn config(&self) -> Config {
        Config {
            maa_url: self.url.clone(),
            vault: VaultUrl::parse(&self.url).unwrap(),
            key_name: KeyName::parse("marblerun").unwrap(),
            key_version: None,
            client_id: "client".to_owned(),
            tenant_id: "tenant".to_owned(),
            authority: self.url.clone(),
            credential: Credential::ClientSecret(SECRET.into()),
            scope: "https://managedhsm.azure.net/.default".to_owned(),
            roots: self.roots.clone(),
            deadline: Duration::from_secs(60),
            keep: Duration::from_secs(600),
        }
    }

    /// A Coordinator whose evidence Azure Attestation accepts.
    pub fn hsm(&self) -> AzureHsm {
        AzureHsm::new(self.config(), enclave())
    }

    pub fn releases(&self) -> usize {
        self.state().requests.iter().filter(|(path, _)| path.contains("/release")).count()
    }
}

/// Evidence as an SGX enclave would send it; the fake attestation service looks for the hash in it.
pub fn enclave() -> Attest {
    Arc::new(|hash| Ok([&[1, 0, 0, 0, 2, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0][..], hash].concat()))
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let path = request.uri().path_and_query().unwrap().to_string();
    let bearer = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let body = String::from_utf8(request.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let delay = state.lock().unwrap().faults.delay;
    tokio::time::sleep(delay).await;
    let mut state = state.lock().unwrap();
    state.requests.push((path.clone(), body.clone()));
    let planned = state.faults.answers.iter().position(|(part, ..)| path.contains(part));
    let (status, retry, body) = match planned.and_then(|position| state.faults.answers.remove(position)) {
        Some((_, status, retry)) => (status, retry, json!({"error": {"code": "Planned", "message": "as planned"}})),
        None => match respond(&state, &path, bearer.as_deref(), &body) {
            Ok(body) => (200, None, body),
            Err((status, why)) => (status, None, json!({"error": {"code": "Refused", "message": why}})),
        },
    };
    let mut response = Response::builder().status(status);
    if let Some(seconds) = retry {
        response = response.header("retry-after", seconds.to_string());
    }
    Ok(response.body(Full::from(body.to_string())).unwrap())
}

fn respond(state: &State, path: &str, bearer: Option<&str>, body: &str) -> Result<Value, (u16, String)> {
    let refuse = |status: u16, why: &str| Err((status, why.to_owned()));
    if path == "/tenant/oauth2/v2.0/token" {
        let field = |name: &str| {
            let pair = body.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")[..]));
            pair.map(|value| percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned())
        };
        let proven = field("client_secret").is_some_and(|secret| secret == SECRET)
            || field("client_assertion").is_some_and(|token| token == "federated")
                && field("client_assertion_type").unwrap() == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let rest = [
            ("client_id", "client"),
            ("grant_type", "client_credentials"),
            ("scope", "https://managedhsm.azure.net/.default"),
        ];
        if !proven || rest.iter().any(|(name, value)| field(name).as_deref() != Some(value)) {
            return refuse(401, "AADSTS7000215: invalid client");
        }
        return Ok(json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "bearer-token"}));
    }
    let body: Value = serde_json::from_str(body).unwrap();
    if path == "/attest/OpenEnclave?api-version=2020-10-01" {
        let decode = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap();
        assert_eq!(body["runtimeData"]["dataType"], "Binary");
        let jwks = decode(&body["runtimeData"]["data"]);
        let hash = digest(&SHA256, &jwks);
        if !decode(&body["report"]).ends_with(hash.as_ref()) {
            return refuse(400, "the report is about something else");
        }
        return Ok(json!({"token": format!("header.{}.signature", URL_SAFE_NO_PAD.encode(jwks))}));
    }
    let version = match path
        .strip_prefix("/keys/marblerun/")
        .and_then(|rest| rest.strip_suffix("release?api-version=2025-07-01"))
    {
        Some("") => state.keys.keys().last().unwrap().clone(),
        Some(version) => version.trim_end_matches('/').to_owned(),
        None => return refuse(404, "no such key"),
    };
    if bearer != Some("Bearer bearer-token") {
        return refuse(401, "no token");
    }
    let Some(key) = state.keys.get(&version) else { return refuse(404, "no such version") };
    assert_eq!(body["enc"], "RSA_AES_KEY_WRAP_384");
    let nonce = body["nonce"].as_str().unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(nonce).unwrap().len(), 16);
    let target = body["target"].as_str().unwrap().split('.').nth(1).unwrap();
    let wrapped = wrap(&serde_json::from_slice(&URL_SAFE_NO_PAD.decode(target).unwrap()).unwrap(), key);
    let key_hsm =
        json!({"schema_version": "1.0", "header": {"alg": "dir"}, "ciphertext": URL_SAFE_NO_PAD.encode(wrapped)});
    let faults = &state.faults;
    let kid = faults.kid.clone().unwrap_or_else(|| format!("{}/keys/marblerun/{version}", state.base));
    let payload = json!({
        "request": {"api-version": "2025-07-01", "enc": body["enc"], "kid": kid, "nonce": faults.nonce.as_deref().unwrap_or(nonce)},
        "response": {"key": {
            "attributes": {"enabled": true, "exportable": true},
            "key": {"kid": kid, "kty": "oct-HSM", "key_hsm": URL_SAFE_NO_PAD.encode(key_hsm.to_string())},
        }},
    });
    let signer = faults.chain.as_ref().unwrap_or(&state.signer);
    Ok(json!({"value": sign(signer, faults.algorithm.unwrap_or("RS256"), &payload, faults.bad_signature)}))
}

fn wrap(jwks: &Value, key: &[u8]) -> Vec<u8> {
    let field = |name: &str| URL_SAFE_NO_PAD.decode(jwks["keys"][0][name].as_str().unwrap()).unwrap();
    let public: PublicEncryptingKey = PublicKeyComponents { n: field("n"), e: field("e") }.try_into().unwrap();
    let kek = [0x4b; 32];
    let mut block = vec![0; 512];
    OaepPublicEncryptingKey::new(public).unwrap().encrypt(&OAEP_SHA384_MGF1SHA384, &kek, &mut block, None).unwrap();
    let mut wrapped = vec![0; key.len() + 16];
    let wrapped = AesKek::new(&AES_256, &kek).unwrap().wrap_with_padding(key, &mut wrapped).unwrap();
    [&block[..], wrapped].concat()
}

fn sign(signer: &Signer, algorithm: &str, payload: &Value, spoil: bool) -> String {
    let chain: Vec<String> = signer.chain.iter().map(|der| STANDARD.encode(der)).collect();
    let header = json!({"alg": algorithm, "kid": "vault", "x5c": chain});
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(payload));
    let pkcs8 = PrivateKeyDer::from_pem_slice(signer.key_pem.as_bytes()).unwrap();
    let key = RsaKeyPair::from_pkcs8(pkcs8.secret_der()).unwrap();
    let mut signature = vec![0; key.public_modulus_len()];
    let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
        if algorithm == "PS384" { &RSA_PSS_SHA384 } else { &RSA_PKCS1_SHA256 };
    key.sign(padding, &aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    signature[0] ^= u8::from(spoil);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
