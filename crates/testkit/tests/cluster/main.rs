//! Several Coordinators on one state behind a real API server: the stories of a cluster, with the real programs.
#![allow(missing_docs)]

mod chaos;
mod life;
mod parts;
mod restore;
mod sealing;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use marblerun_client::Client;
use marblerun_testkit::kube::{Cluster, ClusterBuilder, ControlPlane};
use marblerun_testkit::{RecoveryKeyPair, TestUser, binary, load};
use serde_json::{Value, json};

/// How long things may take that happen by themselves.
pub const SOON: Duration = Duration::from_secs(40);

/// A deployment of several Coordinators, its user, and its key holders.
pub struct Story {
    pub cluster: Cluster,
    pub plane: ControlPlane,
    pub user: TestUser,
    pub holders: BTreeMap<String, RecoveryKeyPair>,
    /// As the answer to the manifest had them.
    pub secrets: BTreeMap<String, Vec<u8>>,
    home: tempfile::TempDir,
}

impl Story {
    /// Three Coordinators that have started at the same moment on nothing, and a manifest.
    pub async fn begin(holders: &[&str], threshold: u64) -> Self {
        Self::begin_with(holders, threshold, |builder| builder).await
    }

    pub async fn begin_with(
        holders: &[&str],
        threshold: u64,
        build: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
    ) -> Self {
        let plane = ControlPlane::shared().unwrap();
        Self::begin_on(plane, holders, threshold, build).await
    }

    pub async fn begin_on(
        plane: ControlPlane,
        holders: &[&str],
        threshold: u64,
        build: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
    ) -> Self {
        let cluster = build(Cluster::builder(&plane)).start().await.unwrap();
        let user = TestUser::new("admin").unwrap();
        let holders: BTreeMap<String, RecoveryKeyPair> =
            holders.iter().map(|name| ((*name).to_owned(), RecoveryKeyPair::new().unwrap())).collect();
        let mut story =
            Self { cluster, plane, user, holders, secrets: BTreeMap::new(), home: tempfile::tempdir().unwrap() };
        story.everyone_is_at(2).await;
        let manifest = story.manifest(threshold);
        let client = story.cluster.get(0).unwrap().client().await.unwrap();
        let answer = client.set_manifest(&manifest).await.unwrap();
        for (name, encrypted) in answer {
            let secret = story.holders[&name].decrypt(&encrypted.0).unwrap();
            story.secrets.insert(name, secret);
        }
        story
    }

    fn manifest(&self, threshold: u64) -> Vec<u8> {
        let keys: BTreeMap<&String, String> =
            self.holders.iter().map(|(name, key)| (name, key.public_pem().unwrap())).collect();
        let names: Vec<String> = (0..64).map(|index| format!("s{index}")).collect();
        let mut definitions: BTreeMap<String, Value> =
            names.iter().map(|name| (name.clone(), json!({"Type": "plain", "UserDefined": true}))).collect();
        definitions.insert("shared".to_owned(), json!({"Type": "symmetric-key", "Size": 256, "Shared": true}));
        serde_json::to_vec(&json!({
            "Packages": {"app": {"Debug": true}},
            "Marbles": {
                "app": {"Package": "app", "Parameters": {"Env": {"SHARED": "{{ hex .Secrets.shared }}"}}},
                "few": {"Package": "app", "MaxActivations": 5, "Parameters": {}}
            },
            "Secrets": definitions,
            "Users": {"admin": {"Certificate": self.user.certificate_pem, "Roles": ["write", "read", "update"]}},
            "Roles": {
                "write": {"ResourceType": "Secrets", "ResourceNames": names, "Actions": ["WriteSecret"]},
                "read": {"ResourceType": "Secrets", "ResourceNames": names, "Actions": ["ReadSecret"]},
                "update": {"ResourceType": "Manifest", "Actions": ["UpdateManifest"]}
            },
            "RecoveryKeys": keys,
            "Config": {"FeatureGates": ["MonotonicCounter"], "RecoveryThreshold": threshold}
        }))
        .unwrap()
    }

    /// All that run answer with that status, soon.
    pub async fn everyone_is_at(&self, status: i64) {
        let numbers: Vec<usize> = self.cluster.running().map(|(number, _)| number).collect();
        for number in numbers {
            self.cluster.wait_for_status(number, status, SOON).await.unwrap();
        }
    }

    /// The user's client of one of them.
    pub async fn client(&self, number: usize) -> Client {
        let builder = self.cluster.get(number).unwrap().client_builder().await.unwrap();
        builder.identity(self.user.identity().unwrap()).build().unwrap()
    }

    pub async fn write(&self, number: usize, name: &str, value: &str) {
        let secrets = BTreeMap::from([(name.to_owned(), load::plain(value.as_bytes()))]);
        self.client(number).await.set_secrets(secrets).await.unwrap();
    }

    pub async fn read(&self, number: usize, name: &str) -> Option<String> {
        read(&self.client(number).await, name).await.unwrap()
    }

    /// Runs the command with a home of its own.
    pub fn marblerun(&self, args: &[&str]) -> Output {
        let home = self.home.path();
        Command::new(binary("marblerun"))
            .args(args)
            .env("XDG_CACHE_HOME", home)
            .env("XDG_CONFIG_HOME", home)
            .env("HOME", home)
            .env("KUBECONFIG", self.plane.kubeconfig())
            .output()
            .unwrap()
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.marblerun(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    pub fn address(&self, number: usize) -> String {
        self.cluster.get(number).unwrap().client_addr.to_string()
    }

    /// A file of the test's home.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path: PathBuf = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    pub fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.namespace().kubectl(args).unwrap().ok().unwrap()
    }

    pub fn kill_all(&mut self) {
        let numbers: Vec<usize> = self.cluster.running().map(|(number, _)| number).collect();
        for number in numbers {
            self.cluster.kill(number).unwrap();
        }
    }

    /// As good as a fresh cluster: no ConfigMap, no Secret, no host of before. The saved state opens there with the key
    /// of `alice`, and `s0` is what it was.
    pub async fn opens_in_a_fresh_cluster(&mut self, saved: &str, value: &str) {
        self.kill_all();
        self.kubectl(&["delete", "secret", "marblerun-state"]);
        self.kubectl(&["delete", "configmap", "marblerun-sealed-kek"]);
        self.kubectl(&["apply", "-f", saved]);
        for number in 0..3 {
            self.cluster.start_on(number, &format!("fresh-{number}")).await.unwrap();
        }
        self.everyone_is_at(1).await;
        assert_eq!(self.recover(1, "alice").await.unwrap(), 0);
        self.everyone_is_at(3).await;
        assert_eq!(self.read(2, "s0").await.as_deref(), Some(value));
    }

    /// As `kubectl scale --replicas 0`.
    pub async fn stop_all(&mut self) {
        let numbers: Vec<usize> = self.cluster.running().map(|(number, _)| number).collect();
        for number in numbers {
            self.cluster.terminate(number).await.unwrap();
        }
    }

    /// Uploads the secret of a holder to one of them; answers what remains.
    pub async fn recover(&self, number: usize, holder: &str) -> Result<i64, String> {
        let secret = &self.secrets[holder];
        let signature = self.holders[holder].sign(secret).unwrap();
        let client = self.cluster.get(number).unwrap().client().await.unwrap();
        let answer = client.recover(secret, &signature).await.map_err(|error| error.to_string())?;
        Ok(answer.remaining)
    }
}

/// A secret's value; `None` if it has none.
pub async fn read(client: &Client, name: &str) -> Result<Option<String>, marblerun_client::ClientError> {
    let secrets = client.secrets(&[name.to_owned()]).await?;
    Ok(secrets.get(name).and_then(|secret| {
        let value = serde_json::to_value(secret).ok()?;
        let text = value.get("Private").or_else(|| value.get("Public"))?.as_str()?.to_owned();
        let bytes = aws_lc_base64(&text)?;
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }))
}

fn aws_lc_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// Tries until it is so.
pub async fn until<F, Fut>(what: &str, condition: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < SOON, "not soon: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
