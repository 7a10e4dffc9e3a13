//! New recovery secrets are never lost: whichever version of the API an update comes by, they are answered, and they can
//! be read again by those who may replace the manifest.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Identity, Server, manifest, wrapped};

const PATH: &str = "/api/v3/recovery/secrets";

fn key(name: &str) -> String {
    let path = format!("{}/../manifest/tests/fixtures/manifests/keys/{name}.pub.pem", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn with_keys(names: &[&str]) -> Value {
    let mut manifest = manifest::base();
    manifest["RecoveryKeys"] = names.iter().map(|name| ((*name).to_owned(), json!(key(name)))).collect();
    manifest
}

fn map(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The only set there is.
async fn read(server: &Server) -> Value {
    let reply = server.get_as(&manifest::admin(), PATH).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let sets = reply.json()["sets"].as_array().unwrap().clone();
    assert_eq!(sets.len(), 1);
    sets[0].clone()
}

#[tokio::test]
async fn what_setting_the_manifest_answered_can_be_read_again() {
    let server = Server::start().await;
    let set = server.post("/manifest", with_keys(&["recovery1"]).to_string()).await;
    let again = read(&server).await;
    assert_eq!(map(&again["secrets"]), map(&set.data()["RecoverySecrets"]));
    assert_eq!((&again["scheme"], &again["threshold"]), (&json!("single"), &json!(1)));
    assert_eq!(again["epoch"].as_str().unwrap().len(), 32);
    assert_eq!(read(&server).await, again, "as often as one likes");
}

#[tokio::test]
async fn an_update_by_either_version_answers_them_and_keeps_them() {
    for api in ["", "/api/v2"] {
        let server = Server::with_manifest(&with_keys(&["recovery1"])).await;
        let before = read(&server).await;
        let mut next = with_keys(&["recovery1", "recovery2", "recovery3"]);
        next["Config"] = json!({"RecoveryThreshold": 2});
        let body = if api.is_empty() { next.to_string() } else { wrapped(&next) };
        let reply = server.post_as(&manifest::admin(), &format!("{api}/update"), body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let name = if api.is_empty() { "RecoverySecrets" } else { "recoverySecrets" };
        let again = read(&server).await;
        assert_eq!(map(&again["secrets"]), map(&reply.data()[name]), "{api}");
        assert_eq!((&again["scheme"], &again["threshold"]), (&json!("shamir"), &json!(2)));
        assert_ne!(again["epoch"], before["epoch"]);
    }
}

#[tokio::test]
async fn an_acknowledgement_by_either_version_answers_them_and_keeps_them() {
    for api in ["", "/api/v2"] {
        let other = Identity::fixture("ecdsa-p384");
        let owners = |mut manifest: Value| {
            manifest["Users"]["other"] = json!({"Certificate": other.pem(), "Roles": ["updater"]});
            manifest
        };
        let server = Server::with_manifest(&owners(with_keys(&["recovery1"]))).await;
        let next = owners(with_keys(&["recovery1", "recovery2"]));
        let body = if api.is_empty() { next.to_string() } else { wrapped(&next) };
        let proposed = server.post_as(&manifest::admin(), &format!("{api}/update"), &body).await;
        assert_eq!(proposed.status, 200, "{proposed:?}");
        assert_eq!(map(&read(&server).await["secrets"]).len(), 1, "nothing is made for a proposal");
        let last = server.post_as(&other, &format!("{api}/update-manifest"), &body).await;
        assert_eq!(last.status, 200, "{last:?}");
        let again = map(&read(&server).await["secrets"]);
        assert_eq!(again.len(), 2);
        if api.is_empty() {
            let text = last.data().as_str().unwrap().to_owned();
            assert!(text.starts_with("All users have acknowledged"), "clients read the first word: {text}");
            for (name, secret) in &again {
                assert!(text.contains(&format!("\nRecovery secret of {name}: {secret}")), "{text}");
            }
        } else {
            assert_eq!(again, map(&last.data()["recoverySecrets"]));
        }
    }
}

#[tokio::test]
async fn they_are_for_those_who_may_replace_the_manifest() {
    let server = Server::with_manifest(&with_keys(&["recovery1"])).await;
    let problem = |reply: crate::support::Reply| (reply.status, reply.json()["code"].as_str().unwrap().to_owned());
    assert_eq!(problem(server.get(PATH).await), (401, "unknown_user".to_owned()));
    assert_eq!(problem(server.get_as(&manifest::stranger(), PATH).await), (401, "unknown_user".to_owned()));
    for user in [manifest::reader(), manifest::nobody()] {
        assert_eq!(problem(server.get_as(&user, PATH).await), (403, "not_allowed".to_owned()));
    }
    let without = Server::with_manifest(&manifest::base()).await;
    assert_eq!(without.get_as(&manifest::admin(), PATH).await.json(), json!({"sets": []}));
}
