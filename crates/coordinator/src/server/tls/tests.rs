//! Handshakes of every kind of client with both listeners.

mod client;

use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use marblerun_pki::{Authority, SubjectAltNames};
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::{ServerConfig, version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use client::{Client, ClientIdentity, Outcome};

const IDENTITIES: [&str; 11] = [
    "rsa-2048",
    "rsa-1024",
    "ecdsa-p256",
    "ecdsa-p384",
    "ecdsa-p521",
    "ed25519",
    "x509-v1",
    "expired",
    "not-yet-valid",
    "server-usage-only",
    "empty-dns-name",
];

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

fn identity(name: &str) -> ClientIdentity {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/clients/{name}.pem"));
    ClientIdentity::from_pem(&std::fs::read(path).unwrap())
}

fn authority() -> Arc<Authority> {
    Arc::new(Authority::generate(&SubjectAltNames::from_list("localhost"), Timestamp::now()).unwrap())
}

fn fixed(authority: &Arc<Authority>) -> AuthoritySource {
    let authority = authority.clone();
    Arc::new(move || authority.clone())
}

/// Shakes hands over an in-memory pipe. What both sides saw, or the error of the side that noticed.
async fn connect(server: ServerConfig, client: Client) -> Result<(Outcome, Option<Vec<u8>>), String> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let server = async move {
        let mut stream = acceptor.accept(far).await.map_err(|e| format!("server: {e}"))?;
        // The client sends one byte, so that it also learns of a refusal after its own last message.
        stream.read_u8().await.map_err(|e| format!("server: {e}"))?;
        stream.write_u8(1).await.map_err(|e| format!("server: {e}"))?;
        stream.flush().await.map_err(|e| format!("server: {e}"))?;
        Ok::<_, String>(peer_certificate(stream.get_ref().1).map(|peer| peer.0.to_vec()))
    };
    let (seen, outcome) = tokio::join!(server, client.connect(near));
    Ok((outcome.map_err(|e| format!("client: {e}, server: {seen:?}"))?, seen?))
}

#[tokio::test]
async fn any_leaf_whose_key_signs_the_handshake_identifies_its_holder() {
    let authority = authority();
    for name in IDENTITIES {
        for version in VERSIONS {
            for config in [client_api as fn(_) -> _, mesh] {
                let identity = identity(name);
                let leaf = identity.leaf().to_vec();
                let client = Client { identity: Some(identity), versions: vec![version], ..Client::default() };
                let (outcome, seen) = connect(config(fixed(&authority)).unwrap(), client)
                    .await
                    .unwrap_or_else(|error| panic!("{name} {version:?}: {error}"));
                assert_eq!(outcome.version, version.version, "{name}");
                assert_eq!(seen.as_deref(), Some(leaf.as_slice()), "{name} {version:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    let authority = authority();
    for (stolen, own) in [
        ("ecdsa-p384", "ecdsa-p256"),
        ("x509-v1", "ecdsa-p256"),
        ("rsa-2048", "rsa-1024"),
        ("rsa-1024", "rsa-2048"),
        ("ed25519", "ecdsa-p256"),
    ] {
        for version in VERSIONS {
            let forged = identity(own).with_leaf_of(&identity(stolen));
            let client = Client { identity: Some(forged), versions: vec![version], ..Client::default() };
            let error = connect(client_api(fixed(&authority)).unwrap(), client).await.unwrap_err();
            assert!(error.contains("BadSignature") || error.contains("bad certificate"), "{stolen}/{own}: {error}");
        }
    }
}

#[tokio::test]
async fn only_the_leaf_identifies_whatever_else_is_presented() {
    let authority = authority();
    let with_chain = identity("ecdsa-p256").with_extra(identity("ecdsa-p384").leaf());
    let leaf = with_chain.leaf().to_vec();
    let client = Client { identity: Some(with_chain), ..Client::default() };
    let (_, seen) = connect(client_api(fixed(&authority)).unwrap(), client).await.unwrap();
    assert_eq!(seen, Some(leaf));
}

#[tokio::test]
async fn what_is_no_certificate_ends_the_handshake() {
    let authority = authority();
    let garbage = identity("ecdsa-p256").with_leaf(b"not a certificate".to_vec());
    for version in VERSIONS {
        let client = Client { identity: Some(garbage.clone()), versions: vec![version], ..Client::default() };
        let error = connect(client_api(fixed(&authority)).unwrap(), client).await.unwrap_err();
        assert!(error.contains("BadEncoding"), "{error}");
    }
}

#[tokio::test]
async fn the_client_api_asks_for_a_certificate_and_the_mesh_demands_one() {
    let authority = authority();
    for version in VERSIONS {
        let anonymous = || Client { versions: vec![version], ..Client::default() };
        let (outcome, seen) = connect(client_api(fixed(&authority)).unwrap(), anonymous()).await.unwrap();
        assert_eq!(seen, None);
        assert_eq!(outcome.named_authorities, Some(0), "a client must be asked, and no authority named");

        let error = connect(mesh(fixed(&authority)).unwrap(), anonymous()).await.unwrap_err();
        let alert =
            if version.version == rustls::ProtocolVersion::TLSv1_3 { "CertificateRequired" } else { "Handshake" };
        assert!(error.contains("peer sent no certificates") || error.contains(alert), "{error}");
    }
}

#[tokio::test]
async fn each_listener_presents_its_certificate_alone_and_the_one_in_force() {
    let in_force = Arc::new(Mutex::new(authority()));
    let source: AuthoritySource = {
        let in_force = in_force.clone();
        Arc::new(move || in_force.lock().unwrap().clone())
    };
    let (client_api, mesh) = (client_api(source.clone()).unwrap(), mesh(source).unwrap());
    for _ in 0..2 {
        let authority = in_force.lock().unwrap().clone();
        for name in ["localhost", "unknown.example", "127.0.0.1"] {
            let client = || Client { server_name: name, identity: Some(identity("ecdsa-p256")), ..Client::default() };
            let (outcome, _) = connect(client_api.clone(), client()).await.unwrap();
            assert_eq!(outcome.server_chain, std::slice::from_ref(&authority.root_certificate));
            let (outcome, _) = connect(mesh.clone(), client()).await.unwrap();
            assert_eq!(outcome.server_chain, std::slice::from_ref(&authority.marble_root_certificate));
        }
        let next = self::authority();
        *in_force.lock().unwrap() = next;
    }
}

#[tokio::test]
async fn every_group_a_client_may_be_limited_to_works() {
    let authority = authority();
    for group in [
        kx_group::X25519MLKEM768,
        kx_group::SECP256R1MLKEM768,
        kx_group::SECP256R1,
        kx_group::SECP384R1,
        kx_group::X25519,
    ] {
        let client = Client { groups: vec![group], ..Client::default() };
        let (outcome, _) = connect(client_api(fixed(&authority)).unwrap(), client).await.unwrap();
        assert_eq!(outcome.group, Some(group.name()));
    }
}

#[tokio::test]
async fn a_protocol_is_chosen_if_the_client_offers_a_known_one() {
    let authority = authority();
    for config in [client_api as fn(_) -> _, mesh] {
        for (offered, chosen) in [
            (vec!["h2", "http/1.1"], Some("h2")),
            (vec!["http/1.1", "h2"], Some("h2")),
            (vec!["http/1.1"], Some("http/1.1")),
            (vec![], None),
        ] {
            let client = Client { alpn: offered, identity: Some(identity("ecdsa-p256")), ..Client::default() };
            let (outcome, _) = connect(config(fixed(&authority)).unwrap(), client).await.unwrap();
            assert_eq!(outcome.alpn.as_deref(), chosen.map(str::as_bytes));
        }
        let client = Client { alpn: vec!["spdy/3"], identity: Some(identity("ecdsa-p256")), ..Client::default() };
        let error = connect(config(fixed(&authority)).unwrap(), client).await.unwrap_err();
        assert!(error.contains("NoApplicationProtocol"), "{error}");
    }
}

#[tokio::test]
async fn a_session_is_never_resumed_so_the_key_is_proved_each_time() {
    let authority = authority();
    let server = client_api(fixed(&authority)).unwrap();
    for version in VERSIONS {
        let client = Client { versions: vec![version], identity: Some(identity("ecdsa-p256")), ..Client::default() };
        for _ in 0..3 {
            let (outcome, seen) = connect(server.clone(), client.clone()).await.unwrap();
            assert!(outcome.full_handshake);
            assert!(seen.is_some());
        }
    }
}
