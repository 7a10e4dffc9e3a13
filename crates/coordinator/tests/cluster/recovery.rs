//! A deployment that lost all its hosts: its state was put before three Coordinators that cannot open it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use marblerun_api::bytes::Base64;
use marblerun_attestation::{Backend, Evidence, IssueError, Issuer, ReportData, Simulation, Tee};
use marblerun_coordinator::config::Config;
use marblerun_coordinator::core::{Clock, Coordinator, Settings};
use marblerun_coordinator::error::{Error, ErrorKind};
use marblerun_coordinator::start::{start, temporary_state};
use marblerun_sealing::{HostKeyFile, Sealers};
use marblerun_store::{Store, StoreConfig};
use marblerun_testkit::RecoveryKeyPair;
use serde_json::json;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::node::{IDENTITY, Instance, Listed};

/// Key holders, and the Coordinators they speak to.
struct Cluster {
    home: TempDir,
    keys: Vec<(String, RecoveryKeyPair)>,
    secrets: BTreeMap<String, Base64>,
    root: Vec<u8>,
    listed: Listed,
    members: Vec<(Coordinator, Instance)>,
}

async fn coordinator(home: &Path, seal: &str, host: &str) -> Coordinator {
    let config = Config::from_arguments([
        "marblerun-coordinator".to_owned(),
        format!("--seal-dir={}", home.join(seal).display()),
        format!("--simulation-host-key={}", home.join(host).display()),
        "--tee=simulation".to_owned(),
    ]);
    start(&config.unwrap(), Clock::system()).await.unwrap()
}

impl Cluster {
    async fn new(members: usize, parties: usize, threshold: u64) -> Self {
        let home = TempDir::new().unwrap();
        let keys: Vec<(String, RecoveryKeyPair)> =
            (0..parties).map(|n| (format!("party{n}"), RecoveryKeyPair::new().unwrap())).collect();
        let pems: BTreeMap<&String, String> =
            keys.iter().map(|(name, key)| (name, key.public_pem().unwrap())).collect();
        let manifest = json!({
            "Packages": {"app": {"Debug": true}},
            "Marbles": {"web": {"Package": "app"}},
            "RecoveryKeys": pems,
            "Config": {"RecoveryThreshold": threshold},
        });
        let running = coordinator(home.path(), "seal", "host").await;
        let answer = running.set_manifest(serde_json::to_vec(&manifest).unwrap()).await.unwrap();
        let root = running.snapshot().authority().root_certificate.clone();
        running.close().await;
        let secrets = answer.recovery_secrets.into_iter().map(|(name, secret)| (name, Base64(secret))).collect();
        let mut cluster = Self { home, keys, secrets, root, listed: Listed::default(), members: Vec::new() };
        for number in 0..members {
            cluster.add(&number.to_string()).await;
        }
        for (_, instance) in &cluster.members {
            instance.greet().await;
        }
        cluster
    }

    /// Another Coordinator before the same state, on a host of its own.
    async fn add(&mut self, name: &str) {
        self.put_before(name);
        let coordinator = coordinator(self.home.path(), name, &format!("{name}-host")).await;
        self.join(coordinator).await;
    }

    fn put_before(&self, name: &str) {
        let dir = self.home.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::copy(self.home.path().join("seal/sealed_data"), dir.join("sealed_data")).unwrap();
    }

    async fn join(&mut self, coordinator: Coordinator) {
        let instance = Instance::new(&self.listed, IDENTITY).await;
        instance.node.recovering.store(true, Ordering::Relaxed);
        instance.peers.join(&coordinator);
        self.members.push((coordinator, instance));
    }

    fn at(&self, member: usize) -> &Coordinator {
        &self.members[member].0
    }

    fn secret(&self, party: usize) -> (Vec<u8>, Vec<u8>) {
        let (name, key) = &self.keys[party];
        key.open(name, &self.secrets).unwrap()
    }

    async fn upload(&self, member: usize, party: usize) -> Result<usize, Error> {
        let (secret, signature) = self.secret(party);
        let answer = self.at(member).recover(Zeroizing::new(secret), signature).await?;
        Ok(answer.remaining)
    }

    async fn accepted(&self, member: usize) -> Vec<bool> {
        let progress = self.at(member).recovery_progress().await.unwrap();
        progress.parties.into_iter().map(|(_, accepted)| accepted).collect()
    }

    fn is_recovered(&self, member: usize) -> bool {
        self.at(member).status().0 == 3
    }

    async fn stop(self) {
        for (coordinator, instance) in &self.members {
            instance.peers.stop().await;
            coordinator.close().await;
        }
    }
}

fn encrypted(public_key: &[u8], secret: &[u8]) -> Vec<u8> {
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public_key).unwrap()).unwrap();
    let mut out = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut out, None).unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_upload_to_any_instance_and_any_may_get_the_last_share() {
    let cluster = Cluster::new(3, 3, 0).await;
    assert_eq!(cluster.upload(0, 0).await.unwrap(), 2);
    for member in 0..3 {
        assert_eq!(cluster.accepted(member).await, [true, false, false], "told before it is answered");
    }
    let junk = cluster.at(1).recover(Zeroizing::new(vec![7; 32]), vec![7; 256]).await.unwrap_err();
    assert!(junk.message.starts_with("setting recovery key: "), "{junk}");
    assert!(cluster.upload(2, 0).await.is_err(), "once each, wherever");
    assert_eq!(cluster.upload(1, 1).await.unwrap(), 1);
    assert_eq!(cluster.upload(2, 2).await.unwrap(), 0);
    assert!(cluster.is_recovered(2));
    assert_eq!(cluster.at(2).snapshot().authority().root_certificate, cluster.root);
    for member in [0, 1] {
        for _ in 0..500 {
            if cluster.accepted(member).await == [false; 3] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(cluster.accepted(member).await, [false; 3], "nobody keeps what is not needed any more");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_outlive_the_instance_that_took_them() {
    let mut cluster = Cluster::new(2, 2, 0).await;
    assert_eq!(cluster.upload(0, 0).await.unwrap(), 1);
    let (coordinator, instance) = cluster.members.remove(0);
    instance.peers.stop().await;
    coordinator.close().await;
    cluster.add("late").await;
    let late = &cluster.members[1];
    late.1.greet().await;
    late.0.tell_of_recovery().await;
    assert_eq!(cluster.accepted(1).await, [true, false], "one that comes later is told");
    cluster.members[0].1.greet().await;
    assert_eq!(cluster.upload(1, 1).await.unwrap(), 0);
    cluster.stop().await;
}

/// Two halves that did not hear of each other each took a share.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_cut_in_two_recovers_when_it_is_whole_again() {
    let cluster = Cluster::new(2, 2, 0).await;
    let addresses = std::mem::take(&mut *cluster.listed.0.lock().unwrap());
    for (_, instance) in &cluster.members {
        instance.greet().await;
    }
    assert_eq!(cluster.upload(0, 0).await.unwrap(), 1);
    assert_eq!(cluster.upload(1, 1).await.unwrap(), 1);
    *cluster.listed.0.lock().unwrap() = addresses;
    for (coordinator, instance) in &cluster.members {
        instance.greet().await;
        coordinator.tell_of_recovery().await;
    }
    for _ in 0..1000 {
        if cluster.is_recovered(0) || cluster.is_recovered(1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(cluster.is_recovered(0) || cluster.is_recovered(1), "without another upload");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_meet_one_root_and_one_key_whichever_instance_they_reach() {
    let cluster = Cluster::new(3, 1, 0).await;
    let own: Vec<Vec<u8>> =
        (0..3).map(|member| cluster.at(member).snapshot().authority().root_certificate.clone()).collect();
    let mut keys = Vec::new();
    // Each has announced its own key by the end of the first pass; then all show the same.
    for pass in 0..2 {
        keys.clear();
        for member in 0..3 {
            keys.push(cluster.at(member).recovery_public_key().await.unwrap());
        }
        assert!(pass == 0 || keys.iter().all(|key| *key == keys[0]));
    }
    let shown: Vec<Vec<u8>> = (0..3).map(|member| cluster.at(member).authority().root_certificate.clone()).collect();
    assert!(shown.iter().all(|root| *root == shown[0]) && own.contains(&shown[0]));
    let quoted = cluster.at(1).quote(b"nonce").await.unwrap().cert;
    assert_eq!(quoted, cluster.at(2).quote(b"nonce").await.unwrap().cert, "evidence is about that root");

    let (secret, signature) = cluster.secret(0);
    let other = own.iter().position(|root| *root != shown[0]).unwrap();
    let upload = Zeroizing::new(encrypted(&keys[0], &secret));
    assert_eq!(cluster.at(other).recover(upload, signature).await.unwrap().remaining, 0);
    assert_eq!(cluster.at(other).authority().root_certificate, cluster.root);
    cluster.stop().await;
}

/// An older client asked one instance for its key before it knew of the others.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_to_any_instances_key_is_decrypted_by_every_instance() {
    let cluster = Cluster::new(2, 2, 0).await;
    let keys = [cluster.at(0).recovery_public_key().await.unwrap(), cluster.at(1).recovery_public_key().await.unwrap()];
    for (party, key) in keys.iter().enumerate() {
        let (secret, signature) = cluster.secret(party);
        let upload = Zeroizing::new(encrypted(key, &secret));
        let answer = cluster.at(1 - party).recover(upload, signature).await.unwrap();
        assert_eq!(answer.remaining, 1 - party);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_temporary_root_of_all_stays_where_a_manifest_is_set_over_the_state() {
    let cluster = Cluster::new(2, 1, 0).await;
    for (coordinator, _) in &cluster.members {
        coordinator.tell_of_recovery().await;
    }
    let shown = cluster.at(0).authority().root_certificate.clone();
    for member in 0..2 {
        assert_eq!(cluster.at(member).authority().root_certificate, shown);
        let manifest = br#"{"Packages":{"app":{"Debug":true}},"Marbles":{"web":{"Package":"app"}}}"#.to_vec();
        cluster.at(member).set_manifest(manifest).await.unwrap();
        assert_eq!(cluster.at(member).snapshot().authority().root_certificate, shown);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_peer_that_serves_recovery_keys_are_used_by_force_alone() {
    let cluster = Cluster::new(2, 1, 0).await;
    cluster.members[1].1.node.serving.store(true, Ordering::Relaxed);
    cluster.members[0].1.greet().await;
    let refused = cluster.upload(0, 0).await.unwrap_err();
    assert_eq!((refused.kind, refused.code), (ErrorKind::Conflict, "peer_serving"));
    assert!(refused.message.contains(&cluster.members[1].1.peers.address().to_string()), "{refused}");
    assert_eq!(cluster.at(0).serving_peer(), Some(cluster.members[1].1.peers.address().to_string()));
    let (secret, signature) = cluster.secret(0);
    let answer = cluster.at(0).recover_beside_others(Zeroizing::new(secret), signature, true).await;
    assert_eq!(answer.unwrap().remaining, 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_taken_before_the_others_were_asked() {
    let mut cluster = Cluster::new(0, 1, 0).await;
    cluster.add("alone").await;
    for refused in [cluster.upload(0, 0).await.unwrap_err(), cluster.at(0).recovery_public_key().await.unwrap_err()] {
        assert_eq!((refused.kind, refused.code), (ErrorKind::Unavailable, "peers_not_asked"));
    }
    cluster.members[0].1.greet().await;
    assert_eq!(cluster.upload(0, 0).await.unwrap(), 0);
    cluster.stop().await;
}

/// Shares go where keys go: not to a version that is older.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_is_told_that_there_is_a_recovery_and_no_secret() {
    let mut cluster = Cluster::new(1, 2, 0).await;
    let dir = cluster.home.path().join("newer");
    std::fs::create_dir(&dir).unwrap();
    std::fs::copy(cluster.home.path().join("seal/sealed_data"), dir.join("sealed_data")).unwrap();
    let newer = coordinator(cluster.home.path(), "newer", "newer-host").await;
    let instance = Instance::new(&cluster.listed, "measurement=09,signer=02,product=3,svn=5").await;
    instance.node.recovering.store(true, Ordering::Relaxed);
    instance.peers.join(&newer);
    cluster.members.push((newer, instance));
    for (_, instance) in &cluster.members {
        instance.greet().await;
    }
    assert_eq!(cluster.upload(1, 0).await.unwrap(), 1);
    cluster.at(0).tell_of_recovery().await;
    assert_eq!(cluster.accepted(0).await, [false, false], "neither told nor given when it asks");
    assert_eq!(cluster.upload(0, 1).await.unwrap(), 1);
    for _ in 0..1000 {
        if cluster.is_recovered(1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(cluster.is_recovered(1) && !cluster.is_recovered(0), "the newer one was told by the older one");
    cluster.stop().await;
}

/// Hardware that never answers.
struct Broken;

impl Issuer for Broken {
    fn tee(&self) -> Tee {
        Tee::Sgx
    }

    fn issue(&self, _: &ReportData) -> Result<Evidence, IssueError> {
        Err(IssueError { tee: Tee::Sgx, reason: "it does not answer".to_owned() })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_instances_hardware_fails_another_opens_the_state_with_the_same_shares() {
    let mut cluster = Cluster::new(1, 2, 0).await;
    let home = cluster.home.path().to_owned();
    let config = StoreConfig::new(
        home.join("broken"),
        Sealers::simulation(HostKeyFile::new(&home.join("broken-host"))),
        "test 1",
    );
    cluster.put_before("broken");
    let store = Store::open(config, &|phase| temporary_state(phase, "localhost", &Clock::system())).unwrap();
    let backend = Backend { issuer: Arc::new(Broken), verifier: Arc::new(Simulation) };
    cluster.join(Coordinator::new(store, Settings { backend, ..Settings::simulation() })).await;
    for (_, instance) in &cluster.members {
        instance.greet().await;
    }
    assert_eq!(cluster.upload(0, 0).await.unwrap(), 1);
    let error = cluster.upload(1, 1).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Internal, "no_quote"));
    assert_eq!(cluster.at(1).status().0, 1);
    for _ in 0..500 {
        if cluster.is_recovered(0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(cluster.is_recovered(0), "it had the same shares");
    assert_eq!(cluster.at(0).snapshot().authority().root_certificate, cluster.root);
    cluster.stop().await;
}
