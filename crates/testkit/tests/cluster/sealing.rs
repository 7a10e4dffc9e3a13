//! What the copies of the cluster's key are sealed with: a key of each host, and a token (SoftHSM) that all hosts reach.

use std::collections::BTreeMap;

use marblerun_testkit::SoftTokens;
use marblerun_testkit::kube::ClusterBuilder;
use serde_json::{Value, json};

use crate::{Story, aws_lc_base64, until};

/// A token with a key, and the environment of who seals with it.
struct Token {
    tokens: SoftTokens,
    config: String,
}

impl Token {
    fn new() -> Self {
        let tokens = SoftTokens::new().unwrap();
        tokens.add("mine").unwrap();
        tokens.generate_aes("mine", "6b31", "seal").unwrap();
        let config = tokens.config("token.json", &json!({"TokenLabel": "mine"})).unwrap();
        Self { tokens, config }
    }

    fn of_all(&self, builder: ClusterBuilder, seal: &str) -> ClusterBuilder {
        let (variable, path) = self.tokens.env();
        builder
            .env(variable, path.display().to_string())
            .env("MARBLERUN_SEAL", seal)
            .env("MARBLERUN_SEAL_PKCS11_CONFIG", &self.config)
            .env("MARBLERUN_SEAL_PKCS11_KEY_ID", "k1")
    }
}

/// The copies that are kept, and whether the token made them.
fn copies(story: &Story) -> BTreeMap<String, bool> {
    let map = story.kubectl(&["get", "configmap", "marblerun-sealed-kek", "--ignore-not-found", "-o", "json"]);
    let map: Value = serde_json::from_str(&map).unwrap_or_default();
    let entries = map["binaryData"].as_object().into_iter().flatten();
    let by_token = |value: &Value| {
        let bytes = aws_lc_base64(value.as_str().unwrap()).unwrap();
        bytes.windows(6).any(|window| window == b"pkcs11")
    };
    entries.map(|(name, value)| (name.clone(), by_token(value))).collect()
}

fn delete(story: &Story, names: impl Iterator<Item = String>) {
    let gone: BTreeMap<String, Value> = names.map(|name| (name, Value::Null)).collect();
    let patch = json!({ "binaryData": gone }).to_string();
    story.kubectl(&["patch", "configmap", "marblerun-sealed-kek", "--type", "merge", "-p", &patch]);
}

/// `marblerun seal ..` of the user, at one of them.
fn seal(story: &Story, number: usize, args: &[&str]) -> Result<Value, String> {
    let cert = story.file("user.crt", story.user.certificate_pem.as_bytes());
    let key = story.file("user.key", story.user.key_pem.as_bytes());
    let address = story.address(number);
    let who = [&address, "--insecure", "--cert", &cert, "--key", &key, "--output", "json"];
    let output = story.marblerun(&[&["seal", "slot"], args, &who[..]].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(serde_json::from_str(&text(&output.stdout)).unwrap()),
        false => Err(text(&output.stderr) + &text(&output.stdout)),
    }
}

fn labels(slots: &Value) -> Vec<(&str, bool, bool)> {
    let slots = slots["slots"].as_array().unwrap().iter();
    slots
        .map(|slot| (slot["label"].as_str().unwrap(), slot["shared"] == json!(true), slot["opens"] == json!(true)))
        .collect()
}

const BOTH: [(&str, bool, bool); 2] = [("host-key-file", false, true), ("pkcs11", true, true)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_token_that_all_hosts_reach_a_cluster_comes_back_by_itself_on_new_hosts_alone() {
    let token = Token::new();
    let mut story = Story::begin_with(&["alice"], 0, |builder| token.of_all(builder, "host-key,pkcs11")).await;
    story.write(0, "s0", "kept").await;
    until("each host has a copy, and the token one for all", || async {
        let copies = copies(&story);
        copies.values().filter(|by_token| !**by_token).count() >= 3 && copies.values().any(|by_token| *by_token)
    })
    .await;
    for number in 0..3 {
        assert_eq!(labels(&seal(&story, number, &["test"]).unwrap()), BOTH);
    }
    let refused = seal(&story, 1, &["remove", "pkcs11", "--yes"]).unwrap_err();
    assert!(refused.contains("take it out of MARBLERUN_SEAL"), "{refused}");

    // Replaced keys are kept by the token, too.
    let before = copies(&story);
    seal(&story, 1, &["rotate", "pkcs11"]).unwrap();
    for number in 0..3 {
        until("all have the new key alone", || async {
            let cluster = story.client(number).await.v3().cluster().await.unwrap();
            let cluster = serde_json::to_value(cluster).unwrap();
            cluster["slots"].as_array().is_some_and(|slots| slots.len() == 1)
                && seal(&story, number, &["test"]).is_ok_and(|slots| labels(&slots) == BOTH)
        })
        .await;
    }
    let by_token = |copies: &BTreeMap<String, bool>| copies.values().filter(|by_token| **by_token).count();
    assert_eq!(by_token(&copies(&story)), by_token(&before) + 1, "one for all three");

    story.kill_all();
    delete(&story, copies(&story).into_iter().filter(|(_, by_token)| !by_token).map(|(name, _)| name));
    for number in 0..3 {
        story.cluster.start_on(number, &format!("new-{number}")).await.unwrap();
    }
    story.everyone_is_at(3).await;
    assert_eq!(story.read(2, "s0").await.as_deref(), Some("kept"));
    assert_eq!(labels(&seal(&story, 2, &["test"]).unwrap()), BOTH, "the new hosts have their own");

    // Without the token's copy there are only the recovery keys.
    story.kill_all();
    story.kubectl(&["delete", "configmap", "marblerun-sealed-kek"]);
    for number in 0..3 {
        story.cluster.start_on(number, &format!("newer-{number}")).await.unwrap();
    }
    story.everyone_is_at(1).await;
    assert_eq!(story.recover(0, "alice").await.unwrap(), 0);
    story.everyone_is_at(3).await;
    assert_eq!(story.read(1, "s0").await.as_deref(), Some("kept"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_from_one_backend_to_another_one_restart_after_the_other() {
    let token = Token::new();
    let build = |builder: ClusterBuilder| token.of_all(builder.instances(2), "host-key");
    let mut story = Story::begin_with(&["alice"], 0, build).await;
    story.write(0, "s0", "kept").await;
    for seal in ["pkcs11,host-key", "pkcs11"] {
        for number in 0..2 {
            story.cluster.terminate(number).await.unwrap();
            story.cluster.set_env(number, "MARBLERUN_SEAL", seal).unwrap();
            story.cluster.start(number).await.unwrap();
            story.everyone_is_at(3).await;
        }
        until("the token keeps a copy", || async { copies(&story).values().any(|by_token| *by_token) }).await;
    }
    story.stop_all().await;
    for host in 0..2 {
        story.cluster.start_on(host, &format!("none-of-before-{host}")).await.unwrap();
    }
    story.everyone_is_at(3).await;
    assert_eq!(story.read(1, "s0").await.as_deref(), Some("kept"));
    // What nobody has configured any more goes for good, and one instance alone comes back.
    seal(&story, 0, &["rotate", "pkcs11"]).unwrap();
    story.kill_all();
    story.cluster.start(1).await.unwrap();
    story.cluster.wait_for_status(1, 3, crate::SOON).await.unwrap();
    assert_eq!(story.read(1, "s0").await.as_deref(), Some("kept"));
}
