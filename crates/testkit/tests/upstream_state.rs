//! A directory that upstream wrote is taken over: it opens by itself, or with upstream's recovery secrets.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use marblerun_testkit::Coordinator;
use marblerun_testkit::fixtures::{rich_upstream_state, upstream_state, upstream_states};
use serde_json::Value;

fn expected(dir: &Path) -> Value {
    let read = |dir: &Path| -> Value { serde_json::from_slice(&fs::read(dir.join("expected.json")).unwrap()).unwrap() };
    let mut expected = read(dir);
    if dir.ends_with("legacy-16byte-key") {
        // The plaintext of `single` under a 16-byte key, which is what its only party uploads.
        let single = read(&upstream_state("single"));
        for name in ["root_cert_sha256", "manifest_fingerprint"] {
            expected[name] = single[name].clone();
        }
        let party = single["recovery_secrets_hex"].as_object().unwrap().keys().next().unwrap().clone();
        expected["recovery_secrets_hex"] = serde_json::json!({&party: expected["dek_hex"]});
        expected["recovery_signatures_b64"] = serde_json::json!({&party: expected["recovery_signature_b64"]});
    }
    expected
}

fn take(dir: &Path, names: &[&str]) -> tempfile::TempDir {
    let target = tempfile::tempdir().unwrap();
    let seal = target.path().join("seal");
    fs::create_dir(&seal).unwrap();
    for name in names {
        fs::copy(dir.join(name), seal.join(name)).unwrap();
    }
    target
}

async fn assert_is_the_deployment(coordinator: &Coordinator, expected: &Value) {
    assert_eq!(coordinator.status().await.unwrap(), 3, "{}", coordinator.log());
    let root = coordinator.attest().await.unwrap().root;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &root);
    assert_eq!(hex::encode(digest), expected["root_cert_sha256"].as_str().unwrap());
    let manifest = coordinator.client().await.unwrap().manifest().await.unwrap();
    assert_eq!(manifest.manifest_fingerprint, expected["manifest_fingerprint"].as_str().unwrap());
}

/// Whole directory: by itself, and again after a restart. What was replaced is archived.
async fn opens_by_itself(dir: PathBuf) {
    let expected = expected(&dir);
    let home = take(&dir, &["sealed_data", "sealed_key"]);
    let seal = home.path().join("seal");
    let coordinator = Coordinator::builder(&seal).start().await.unwrap();
    assert_is_the_deployment(&coordinator, &expected).await;
    let archived = fs::read_dir(&seal).unwrap().any(|entry| {
        let entry = entry.unwrap();
        entry.file_name().to_string_lossy().ends_with(".imported")
            && fs::read(entry.path()).unwrap() == fs::read(dir.join("sealed_data")).unwrap()
    });
    assert!(archived, "upstream's file is kept, byte for byte");
    coordinator.terminate().await.unwrap();
    let coordinator = Coordinator::builder(&seal).start().await.unwrap();
    assert_is_the_deployment(&coordinator, &expected).await;
}

/// Without `sealed_key`: with the parties' secrets and signatures, in that order.
async fn recovers(dir: PathBuf, parties: &[&str]) {
    let expected = expected(&dir);
    let home = take(&dir, &["sealed_data"]);
    let seal = home.path().join("seal");
    let coordinator = Coordinator::builder(&seal).start().await.unwrap();
    assert_eq!(coordinator.status().await.unwrap(), 1, "{}", coordinator.log());
    let client = coordinator.client().await.unwrap();
    for (index, party) in parties.iter().enumerate() {
        let secret = hex::decode(expected["recovery_secrets_hex"][party].as_str().unwrap()).unwrap();
        let signature =
            marblerun_api::bytes::decode(expected["recovery_signatures_b64"][party].as_str().unwrap()).unwrap();
        let answer = client.recover(&secret, &signature).await.unwrap();
        assert_eq!(answer.remaining, (parties.len() - index - 1) as i64, "after {party}");
    }
    assert_is_the_deployment(&coordinator, &expected).await;
    coordinator.terminate().await.unwrap();
    let coordinator = Coordinator::builder(&seal).start().await.unwrap();
    assert_is_the_deployment(&coordinator, &expected).await;
}

#[tokio::test]
async fn a_directory_of_upstream_opens_by_itself() {
    for (_, fixture) in upstream_states() {
        opens_by_itself(fixture).await;
    }
}

#[tokio::test]
async fn the_richest_state_of_upstream_opens_by_itself_and_recovers() {
    let Some(rich) = rich_upstream_state() else { return };
    opens_by_itself(rich.clone()).await;
    let party = first_party(&rich);
    recovers(rich, &[&party]).await;
}

/// As with upstream: recovery data are answered all the same, and nothing is ever on disk.
#[tokio::test]
async fn a_manifest_that_disables_sealing_leaves_nothing_behind() {
    let manifest = fs::read(upstream_state("disabled").join("manifest.json")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let seal = home.path().join("seal");
    let coordinator = Coordinator::builder(&seal).start().await.unwrap();
    let secrets = coordinator.client().await.unwrap().set_manifest(&manifest).await.unwrap();
    assert_eq!(secrets.keys().collect::<Vec<_>>(), ["recoveryKey1"]);
    assert_eq!(coordinator.status().await.unwrap(), 3);
    coordinator.terminate().await.unwrap();
    let names: Vec<_> = fs::read_dir(&seal).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["sealed_data.lock"]);
    let coordinator = Coordinator::builder(&seal).start().await.unwrap();
    assert_eq!(coordinator.status().await.unwrap(), 2, "a new deployment");
}

#[tokio::test]
async fn a_backup_of_upstream_recovers_with_one_key() {
    recovers(upstream_state("single"), &[&first_party(&upstream_state("single"))]).await;
    recovers(upstream_state("uniquekey"), &[&first_party(&upstream_state("uniquekey"))]).await;
}

#[tokio::test]
async fn a_backup_of_upstream_recovers_with_all_of_two_keys_in_any_order() {
    recovers(upstream_state("multi-xor-2"), &["alice", "bob"]).await;
    recovers(upstream_state("rotation/2-after"), &["bob", "alice"]).await;
}

#[tokio::test]
async fn a_backup_of_upstream_recovers_with_any_two_of_three_keys() {
    for parties in [["alice", "bob"], ["carol", "alice"], ["bob", "carol"]] {
        recovers(upstream_state("shamir-2of3"), &parties).await;
    }
}

/// A state from before 1.9 has a 16-byte key.
#[tokio::test]
async fn a_backup_from_before_1_9_recovers() {
    recovers(upstream_state("legacy-16byte-key"), &[&first_party(&upstream_state("legacy-16byte-key"))]).await;
}

fn first_party(dir: &Path) -> String {
    let expected = expected(dir);
    expected["recovery_secrets_hex"].as_object().unwrap().keys().next().unwrap().clone()
}
