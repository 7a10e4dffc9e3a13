//! The updates and sequences of updates observed on upstream, over HTTPS, through both of its API versions, with a
//! state on disk and real restarts.

use std::path::PathBuf;

use jiff::Timestamp;
use marblerun_coordinator::config::Config;
use marblerun_coordinator::core::Clock;
use marblerun_coordinator::server::Limits;
use marblerun_coordinator::start::start;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::{Identity, Reply, Server};

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifest/tests/fixtures/manifests")
}

fn load(file: &str) -> Vec<u8> {
    std::fs::read(vectors().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn entries(kind: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_slice(&load("index.json")).unwrap();
    all.into_iter().filter(|entry| entry.get(kind).is_some()).collect()
}

fn user(name: &str) -> Identity {
    let read = |suffix: &str| String::from_utf8(load(&format!("keys/{name}.{suffix}.pem"))).unwrap();
    Identity::from_pem(&read("crt"), &read("key"))
}

/// A Coordinator with its seal directory.
struct Deployment {
    home: TempDir,
    server: Server,
}

impl Deployment {
    async fn new(base: &Value) -> Self {
        let home = TempDir::new().unwrap();
        let server = Self::serve(&home).await;
        let deployment = Self { home, server };
        let raw = load(base.as_str().unwrap());
        assert_eq!(deployment.send("v2", "/manifest", None, Some(&raw)).await.status, 200);
        deployment
    }

    async fn serve(home: &TempDir) -> Server {
        let seal_dir = format!("--seal-dir={}", home.path().join("seal").display());
        let config = Config::from_arguments(["marblerun-coordinator", "--tee=simulation", &seal_dir]).unwrap();
        Server::serve(start(&config, Clock::from_fn(Timestamp::now)).await.unwrap(), Limits::default()).await
    }

    async fn restart(&mut self) {
        self.server.stop().await;
        self.server.coordinator.close().await;
        // The lock of the directory goes with the last handle on the store.
        let idle = Server::start().await;
        drop(std::mem::replace(&mut self.server, idle));
        self.server = Self::serve(&self.home).await;
    }

    /// Posts in the form of one API version.
    async fn send(&self, api: &str, path: &str, who: Option<&str>, raw: Option<&[u8]>) -> Reply {
        let identity = who.map(user);
        let raw = raw.unwrap_or_default();
        if api == "v1" {
            return self.server.call(identity.as_ref(), "POST", path, raw).await;
        }
        let body = json!({"manifest": marblerun_api::bytes::encode(raw)}).to_string();
        self.server.call(identity.as_ref(), "POST", &format!("/api/v2{path}"), body.as_bytes()).await
    }

    async fn play(&mut self, api: &str, step: &Value) -> Reply {
        let raw = step["file"].as_str().map(load);
        let who = step["user"].as_str();
        let ok = |body: Value| Reply { status: 200, head: String::new(), body: body.to_string() };
        match step["op"].as_str().unwrap() {
            "set" => self.send(api, "/manifest", None, raw.as_deref()).await,
            "apply" => self.send(api, "/update", who, raw.as_deref()).await,
            "ack" => self.send(api, "/update-manifest", who, raw.as_deref()).await,
            "cancel" => self.send(api, "/update-cancel", who, None).await,
            "pending" => self.server.get("/api/v2/update-manifest").await,
            "active" => {
                let reply = self.server.get("/api/v2/manifest").await;
                let fingerprint = hex::encode(Sha256::digest(raw.unwrap()));
                assert_eq!(reply.data()["manifestFingerprint"], fingerprint);
                reply
            }
            "restart" => {
                self.restart().await;
                ok(json!({}))
            }
            // Upstream ends failed updates in the background; here there is nothing to wait for.
            "sleep" => ok(json!({})),
            other => panic!("unknown step {other}"),
        }
    }
}

fn sorted(list: &Value) -> Vec<String> {
    let names = list.as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Compares what upstream was seen to answer with what came.
fn expect(what: &str, api: &str, wanted: &Value, reply: &Reply) {
    let status = &wanted[if api == "v1" { "status" } else { "status_v2" }];
    match status.as_u64() {
        Some(status) => assert_eq!(u64::from(reply.status), status, "{what}: {reply:?}"),
        None => assert!(reply.status >= 400, "{what}: {reply:?}"),
    }
    if api == "v1" || reply.status != 200 {
        return;
    }
    let data = reply.data();
    if let Some(missing) = wanted["missing"].as_i64() {
        assert_eq!(data["missingAcknowledgments"], missing, "{what}");
    }
    if wanted["missing_users"].is_array() {
        assert_eq!(sorted(&data["missingUsers"]), sorted(&wanted["missing_users"]), "{what}");
    }
    let answered = data.get("recoverySecrets").map(|secrets| secrets.as_object().unwrap().keys().cloned().collect());
    let wanted = wanted.get("recovery_secrets").map(sorted);
    assert_eq!(answered.map(|names: Vec<String>| names), wanted, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_update_is_answered_as_upstream_answers_it() {
    let mut checked = 0;
    for entry in entries("update") {
        for api in ["v1", "v2"] {
            let what = format!("{api} {} + {} by {}", entry["base"], entry["update"], entry["user"]);
            let mut deployment = Deployment::new(&entry["base"]).await;
            let step = json!({"op": "apply", "file": entry["update"], "user": entry["user"]});
            let reply = deployment.play(api, &step).await;
            checked += 1;
            let is_as_wanted = (reply.status == 200) == (entry["expect"] == "ok");
            if is_as_wanted || entry["deviation_allowed"] != true {
                expect(&what, api, &entry, &reply);
            }
            let in_force = deployment.server.coordinator.manifest().await.unwrap().unwrap().raw;
            let is_full = reply.status == 200 && deployment.server.coordinator.snapshot().packages().count() > 0;
            if reply.status != 200 {
                assert_eq!(in_force, load(entry["base"].as_str().unwrap()), "{what}");
            } else if is_full && entry["user"] == "alice" && entry["update"] != "upd-svn-higher.json" {
                assert_eq!(in_force, load(entry["update"].as_str().unwrap()), "{what}");
            }
        }
    }
    assert_eq!(checked, 128);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sequence_of_updates_is_answered_as_upstream_answers_it() {
    let mut checked = 0;
    for entry in entries("steps") {
        // A mistake that upstream finds after the last acknowledgement is found when the update is proposed; then there
        // is nothing to acknowledge.
        let is_found_earlier = entry["name"] == "fault found at the last acknowledgement cancels the update";
        for api in ["v1", "v2"] {
            let mut deployment = Deployment::new(&entry["base"]).await;
            for (number, step) in entry["steps"].as_array().unwrap().iter().enumerate() {
                let what = format!("{api} {}, step {number}", entry["name"]);
                let reply = deployment.play(api, step).await;
                checked += 1;
                if is_found_earlier && step["file"] == "multi-bad-template.json" {
                    let refused = if api == "v1" { 400 } else { 500 };
                    assert_eq!(reply.status, if step["op"] == "apply" { refused } else { 404 }, "{what}: {reply:?}");
                } else {
                    expect(&what, api, step, &reply);
                }
            }
        }
    }
    assert_eq!(checked, 132);
}
