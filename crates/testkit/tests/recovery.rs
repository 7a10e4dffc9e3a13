//! A lost host is recovered by the holders of recovery keys, whatever strangers upload meanwhile.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;

use marblerun_api::bytes::Base64;
use marblerun_client::attestation::Incarnation;
use marblerun_testkit::{Coordinator, RecoveryKeyPair, TestUser, load};
use serde_json::Value;

struct Deployment {
    home: tempfile::TempDir,
    keys: Vec<(String, RecoveryKeyPair)>,
    secrets: BTreeMap<String, Base64>,
    root: Vec<u8>,
    life: Incarnation,
    shared: String,
}

impl Deployment {
    /// Sets a manifest with that many keys and that threshold, and stops.
    async fn new(parties: usize, threshold: u64) -> Self {
        let home = tempfile::tempdir().unwrap();
        let keys: Vec<(String, RecoveryKeyPair)> =
            (0..parties).map(|index| (format!("party{index}"), RecoveryKeyPair::new().unwrap())).collect();
        let pems: Vec<(&str, String)> =
            keys.iter().map(|(name, key)| (name.as_str(), key.public_pem().unwrap())).collect();
        let user = TestUser::new("writer").unwrap();
        let mut manifest: Value = serde_json::from_slice(&load::manifest(&user, &pems, 1).unwrap()).unwrap();
        manifest["Config"]["RecoveryThreshold"] = threshold.into();
        let coordinator = start(home.path(), "host").await;
        let client = coordinator.client().await.unwrap();
        let secrets = client.set_manifest(manifest.to_string().as_bytes()).await.unwrap();
        let attested = coordinator.attest().await.unwrap();
        let (root, life) = (attested.root, attested.incarnation.unwrap());
        assert_eq!(life.number, 1);
        let shared = shared_secret(&coordinator).await;
        coordinator.terminate().await.unwrap();
        Self { home, keys, secrets, root, life, shared }
    }

    fn upload(&self, party: usize) -> (Vec<u8>, Vec<u8>) {
        let (name, key) = &self.keys[party];
        key.open(name, &self.secrets).unwrap()
    }

    async fn assert_recovered(&self, coordinator: Coordinator, host: &str) {
        assert_eq!(coordinator.status().await.unwrap(), 3, "{}", coordinator.log());
        let attested = coordinator.attest().await.unwrap();
        assert_eq!(attested.root, self.root, "same root certificate");
        let life = attested.incarnation.unwrap();
        assert_eq!(life.number, 2, "and another life, which is told");
        assert_ne!(life.id, self.life.id);
        assert_eq!(shared_secret(&coordinator).await, self.shared, "same secrets");
        coordinator.terminate().await.unwrap();
        let again = start(self.home.path(), host).await;
        assert_eq!(again.status().await.unwrap(), 3, "the new host opens it by itself\n{}", again.log());
        assert_eq!(again.attest().await.unwrap().incarnation, Some(life), "an ordinary start begins none");
    }
}

async fn start(home: &Path, host: &str) -> Coordinator {
    Coordinator::builder(&home.join("seal")).host_key(&home.join(host)).start().await.unwrap()
}

async fn shared_secret(coordinator: &Coordinator) -> String {
    let uuid = "11111111-1111-4111-8111-111111111111";
    let activation =
        marblerun_testkit::FakeMarble::new().unwrap().activate(coordinator.mesh_addr, "app", uuid).await.unwrap();
    activation.text("SHARED").unwrap() + &activation.text("OWN").unwrap()
}

/// What strangers may send: every length around the right ones, with and without signature.
async fn junk(coordinator: &Coordinator) {
    let client = coordinator.client().await.unwrap();
    for length in [0, 1, 15, 16, 17, 24, 31, 32, 33, 34, 64, 256, 512, 4096] {
        for byte in [0u8, 0x41, 0xff] {
            let refused = client.recover(&vec![byte; length], &[byte; 256]).await;
            assert!(refused.is_err(), "{length} bytes of {byte} are refused");
        }
    }
}

#[tokio::test]
async fn one_holder_recovers_a_lost_host_in_spite_of_junk() {
    let deployment = Deployment::new(1, 0).await;
    let coordinator = start(deployment.home.path(), "other-host").await;
    assert_eq!(coordinator.status().await.unwrap(), 1);
    junk(&coordinator).await;
    let (secret, signature) = deployment.upload(0);
    let client = coordinator.client().await.unwrap();
    assert!(client.recover(&secret, &[0; 256]).await.is_err(), "a secret without its signature is refused");
    assert_eq!(coordinator.attest().await.unwrap().incarnation, None, "which life it is stands in the sealed state");
    assert_eq!(client.recover(&secret, &signature).await.unwrap().remaining, 0);
    deployment.assert_recovered(coordinator, "other-host").await;
}

#[tokio::test]
async fn all_of_three_holders_are_needed_where_there_is_no_threshold() {
    let deployment = Deployment::new(3, 0).await;
    let coordinator = start(deployment.home.path(), "other-host").await;
    let client = coordinator.client().await.unwrap();
    for (party, remaining) in [(2, 2), (0, 1), (1, 0)] {
        let (secret, signature) = deployment.upload(party);
        if remaining > 0 {
            junk(&coordinator).await;
        }
        assert_eq!(client.recover(&secret, &signature).await.unwrap().remaining, remaining);
        if remaining > 0 {
            assert!(client.recover(&secret, &signature).await.is_err(), "once each");
            assert_eq!(coordinator.status().await.unwrap(), 1);
        }
    }
    deployment.assert_recovered(coordinator, "other-host").await;
}

#[tokio::test]
async fn three_of_five_holders_are_enough_and_remaining_is_the_true_number() {
    let deployment = Deployment::new(5, 3).await;
    let coordinator = start(deployment.home.path(), "other-host").await;
    let client = coordinator.client().await.unwrap();
    for (party, remaining) in [(4, 2), (1, 1), (3, 0)] {
        let (secret, signature) = deployment.upload(party);
        if remaining > 0 {
            junk(&coordinator).await;
        }
        assert_eq!(client.recover(&secret, &signature).await.unwrap().remaining, remaining);
    }
    deployment.assert_recovered(coordinator, "other-host").await;
}

/// The secret can travel encrypted to the Coordinator's ephemeral key.
#[tokio::test]
async fn a_secret_encrypted_to_the_ephemeral_key_is_accepted() {
    use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};

    let deployment = Deployment::new(1, 0).await;
    let coordinator = start(deployment.home.path(), "other-host").await;
    let client = coordinator.client().await.unwrap();
    let key = PublicEncryptingKey::from_der(&client.recovery_public_key().await.unwrap()).unwrap();
    let key = OaepPublicEncryptingKey::new(key).unwrap();
    let (secret, signature) = deployment.upload(0);
    let mut encrypted = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA256_MGF1SHA256, &secret, &mut encrypted, None).unwrap();
    assert_eq!(client.recover(&encrypted, &signature).await.unwrap().remaining, 0);
    deployment.assert_recovered(coordinator, "other-host").await;
}

#[tokio::test]
async fn where_there_are_no_recovery_keys_every_upload_is_told_so() {
    let deployment = Deployment::new(0, 0).await;
    let coordinator = start(deployment.home.path(), "other-host").await;
    assert_eq!(coordinator.status().await.unwrap(), 1);
    let client = coordinator.client().await.unwrap();
    for secret in [[1; 32], [2; 32]] {
        let refused = client.recover(&secret, &[0; 256]).await.unwrap_err().to_string();
        assert!(refused.contains("no recovery keys"), "{refused}");
    }
    coordinator.terminate().await.unwrap();
    let again = start(deployment.home.path(), "host").await;
    assert_eq!(again.status().await.unwrap(), 3, "its own host opens it\n{}", again.log());
}

#[tokio::test]
async fn a_manifest_set_in_recovery_mode_keeps_the_state_that_waited() {
    let deployment = Deployment::new(1, 0).await;
    let seal = deployment.home.path().join("seal");
    let before = std::fs::read(seal.join("sealed_data")).unwrap();
    let coordinator = start(deployment.home.path(), "other-host").await;
    let user = TestUser::new("writer").unwrap();
    let client = coordinator.client().await.unwrap();
    assert!(client.set_manifest(b"{}").await.is_err(), "a bad one changes nothing");
    assert_eq!(std::fs::read(seal.join("sealed_data")).unwrap(), before);
    client.set_manifest(&load::manifest(&user, &[], 1).unwrap()).await.unwrap();
    assert_eq!(coordinator.status().await.unwrap(), 3);
    let kept = std::fs::read_dir(&seal).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        path.to_string_lossy().ends_with(".reset") && std::fs::read(path).unwrap() == before
    });
    assert!(kept, "the old state is archived");
}

#[tokio::test]
async fn a_manifest_in_recovery_mode_can_be_forbidden() {
    let deployment = Deployment::new(1, 0).await;
    let home = deployment.home.path();
    let coordinator = Coordinator::builder(&home.join("seal"))
        .host_key(&home.join("other-host"))
        .env("MARBLERUN_RECOVERY_RESET", "deny")
        .start()
        .await
        .unwrap();
    let user = TestUser::new("writer").unwrap();
    let manifest = load::manifest(&user, &[], 1).unwrap();
    assert!(coordinator.client().await.unwrap().set_manifest(&manifest).await.is_err());
    let (secret, signature) = deployment.upload(0);
    assert_eq!(coordinator.client().await.unwrap().recover(&secret, &signature).await.unwrap().remaining, 0);
    deployment.assert_recovered(coordinator, "other-host").await;
}
