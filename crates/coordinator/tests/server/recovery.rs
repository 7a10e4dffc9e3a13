//! Recovery over the wire: a seal directory that lost its host, and holders who come back one by one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use marblerun_api::bytes::{decode, encode};
use marblerun_coordinator::config::Config;
use marblerun_coordinator::core::{Clock, Exchange, Others, Union};
use marblerun_coordinator::server::Limits;
use marblerun_coordinator::start::start;
use marblerun_testkit::RecoveryKeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, connect, manifest, wrapped};

async fn server(home: &Path, host: &str) -> Server {
    let config = Config::from_arguments([
        "marblerun-coordinator".to_owned(),
        format!("--seal-dir={}", home.join("seal").display()),
        format!("--simulation-host-key={}", home.join(host).display()),
        "--tee=simulation".to_owned(),
    ]);
    Server::serve(start(&config.unwrap(), Clock::system()).await.unwrap(), Limits::default()).await
}

async fn stop(mut server: Server) {
    server.stop().await;
    server.coordinator.close().await;
}

async fn shown_root(server: &Server) -> Vec<u8> {
    let stream = connect(server.addresses.client_api, None, &[]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn body(secret: &[u8], signature: &[u8]) -> String {
    json!({ "recoverySecret": encode(secret), "recoverySecretSignature": encode(signature) }).to_string()
}

fn encrypted(public_key: &Value, secret: &[u8]) -> Vec<u8> {
    let key = PublicEncryptingKey::from_der(&decode(public_key.as_str().unwrap()).unwrap()).unwrap();
    let key = OaepPublicEncryptingKey::new(key).unwrap();
    let mut out = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut out, None).unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_bring_a_lost_deployment_back_and_nobody_in_between_disturbs_them() {
    let home = TempDir::new().unwrap();
    let holders = [RecoveryKeyPair::new().unwrap(), RecoveryKeyPair::new().unwrap()];
    let mut with_keys = manifest::base();
    with_keys["RecoveryKeys"] =
        json!({ "alice": holders[0].public_pem().unwrap(), "bob": holders[1].public_pem().unwrap() });

    let first = server(home.path(), "host").await;
    let set = first.post("/api/v2/manifest", wrapped(&with_keys)).await.data();
    let secrets: Vec<(Vec<u8>, Vec<u8>)> = ["alice", "bob"]
        .iter()
        .zip(&holders)
        .map(|(name, holder)| {
            let ciphertext = decode(set["RecoverySecrets"][name].as_str().unwrap()).unwrap();
            assert_eq!(ciphertext.len(), 256);
            let secret = holder.decrypt(&ciphertext).unwrap();
            let signature = holder.sign(&secret).unwrap();
            (secret, signature)
        })
        .collect();
    let root = shown_root(&first).await;
    let value = first.get_as(&manifest::admin(), "/secrets?s=symShared").await.data();
    assert_eq!(first.get("/api/v3/recovery").await.json(), json!({ "needed": false, "parties": [] }));
    stop(first).await;

    let second = server(home.path(), "another-host").await;
    assert_eq!(second.get("/api/v2/status").await.data()["code"], 1);
    assert_ne!(shown_root(&second).await, root, "a temporary root until the state is back");
    assert_eq!(second.get_as(&manifest::admin(), "/secrets?s=symShared").await.status, 401);
    let progress = second.get("/api/v3/recovery").await.json();
    assert_eq!((&progress["needed"], &progress["remaining"]), (&json!(true), &json!(2)));
    assert!(progress["code"].is_string() && progress["message"].is_string(), "{progress}");
    let parties =
        |alice: bool, bob: bool| json!([{ "name": "alice", "accepted": alice }, { "name": "bob", "accepted": bob }]);
    assert_eq!(progress["parties"], parties(false, false));

    for junk in [&[7; 16][..], &[7; 32], &[7; 33]] {
        let reply = second.post("/api/v2/recover", body(junk, &[7; 256])).await;
        assert_eq!(reply.status, 500);
        assert!(reply.message().starts_with("setting recovery key: "), "{reply:?}");
    }
    let (secret, signature) = &secrets[0];
    let reply = second.post("/api/v2/recover", body(secret, signature)).await;
    assert_eq!(
        reply.body,
        "{\"status\":\"success\",\"data\":{\"remaining\":1,\"message\":\"Secret was processed successfully. Upload the next secret. Remaining secrets: 1\"}}\n"
    );
    assert_eq!(second.get("/api/v3/recovery").await.json()["parties"], parties(true, false));

    let key = second.get("/api/v2/recover/public-key").await.data();
    let (secret, signature) = &secrets[1];
    let reply = second.post("/api/v2/recover", body(&encrypted(&key["ephemeralPublicKey"], secret), signature)).await;
    assert_eq!(
        reply.body,
        "{\"status\":\"success\",\"data\":{\"remaining\":0,\"message\":\"Recovery successful.\"}}\n"
    );

    assert_eq!(second.get("/api/v2/status").await.data()["code"], 3);
    assert_eq!(shown_root(&second).await, root, "the same root, without a restart");
    assert_eq!(second.get_as(&manifest::admin(), "/secrets?s=symShared").await.data(), value);
    for reply in
        [second.post("/api/v2/recover", body(secret, signature)).await, second.get("/api/v2/recover/public-key").await]
    {
        assert_eq!((reply.status, reply.message().as_str()), (500, "server is not in expected state"));
    }
    let status = second.get("/api/v3/status").await.json();
    assert_eq!((&status["store"]["mode"], &status["incarnation"]), (&json!("durable"), &json!(2)));
    stop(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_set_in_recovery_mode_begins_anew() {
    let home = TempDir::new().unwrap();
    let first = server(home.path(), "host").await;
    assert_eq!(first.post("/manifest", manifest::base().to_string()).await.status, 200);
    stop(first).await;

    let second = server(home.path(), "another-host").await;
    assert_eq!(second.get("/api/v2/status").await.data()["code"], 1);
    let temporary = shown_root(&second).await;
    assert_eq!(second.post("/manifest", manifest::base().to_string()).await.status, 200);
    assert_eq!(shown_root(&second).await, temporary, "the temporary root stays");
    assert_eq!(second.get("/api/v2/update").await.data()["updateLog"].as_array().unwrap().len(), 1);
    stop(second).await;
}

/// Another Coordinator that serves, and tells nothing.
struct Serving;

impl Others for Serving {
    fn me(&self) -> [u8; 16] {
        [1; 16]
    }

    fn exchange(&self, _mine: Union) -> Exchange {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn serving(&self) -> Option<String> {
        Some("192.0.2.1:5433".to_owned())
    }

    fn have_been_asked(&self) -> bool {
        true
    }

    fn precedence(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_another_coordinator_that_serves_recovery_is_asked_for_by_force() {
    let home = TempDir::new().unwrap();
    let first = server(home.path(), "host").await;
    assert_eq!(first.post("/manifest", manifest::base().to_string()).await.status, 200);
    stop(first).await;

    let second = server(home.path(), "another-host").await;
    second.coordinator.recover_together(Arc::new(Serving));
    for path in ["/api/v2/recover", "/api/v2/recover?force=false", "/api/v2/recover?force"] {
        let reply = second.post(path, body(&[7; 32], &[7; 256])).await;
        assert_eq!(reply.status, 409, "{path}");
        assert!(reply.message().contains("force=true"), "{reply:?}");
    }
    let reply = second.post("/api/v2/recover?force=true", body(&[7; 32], &[7; 256])).await;
    assert_eq!(reply.status, 500, "it is a secret like any other then");
    stop(second).await;
}
