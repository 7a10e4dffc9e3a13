//! The whole seal directory put back as it was before: the TPM's counter tells. The real programs, and a TPM in software.
//! The Coordinator is to be built with `--features marblerun-coordinator/tpm`.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marblerun_testkit::{Coordinator, RecoveryKeyPair, SoftTpm, TestUser, binary, load};
use serde_json::{Value, json};

/// A host with a TPM, and the owner of a deployment.
struct World {
    home: tempfile::TempDir,
    tpm: SoftTpm,
    owner: TestUser,
    party: RecoveryKeyPair,
}

impl World {
    fn new() -> Self {
        let (owner, party) = (TestUser::new("owner").unwrap(), RecoveryKeyPair::new().unwrap());
        let world = Self { home: tempfile::tempdir().unwrap(), tpm: SoftTpm::start().unwrap(), owner, party };
        fs::write(world.path("owner.crt"), &world.owner.certificate_pem).unwrap();
        fs::write(world.path("owner.key"), &world.owner.key_pem).unwrap();
        fs::write(world.path("party.pem"), world.party.private_pem().unwrap()).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The host boots, and starts it: what the TPM keeps over that is kept. (What a program that ended in the middle of a
    /// command left loaded is gone; on a host the kernel's resource manager sees to that.)
    async fn start(&mut self, policy: &str) -> Coordinator {
        self.tpm.reboot().unwrap();
        Coordinator::builder(&self.path("seal"))
            .env("MARBLERUN_SEAL", "tpm")
            .env("MARBLERUN_TPM", self.tpm.tcti())
            .env("MARBLERUN_ROLLBACK", policy)
            .env("TSS2_LOG", "all+NONE")
            .start()
            .await
            .unwrap()
    }

    fn cli(&self, coordinator: &Coordinator, args: &[&str]) -> String {
        let address = coordinator.client_addr.to_string();
        let mut command = Command::new(binary("marblerun"));
        command.args(args).arg(address).arg("-i").arg("--coordinator-cert").arg(self.path("coordinator-cert.pem"));
        let output = command.current_dir(self.home.path()).output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{args:?}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
        stdout
    }

    /// Sets the manifest; answers the root of the deployment.
    async fn set(&self, coordinator: &Coordinator) -> Vec<u8> {
        let parties = [("party", self.party.public_pem().unwrap())];
        let mut manifest: Value = serde_json::from_slice(&load::manifest(&self.owner, &parties, 1).unwrap()).unwrap();
        manifest["Secrets"]["mine"] = json!({"Type": "plain", "UserDefined": true});
        manifest["Roles"]["write"] =
            json!({"ResourceType": "Secrets", "ResourceNames": ["mine"], "Actions": ["ReadSecret", "WriteSecret"]});
        manifest["Users"] = json!({"owner": {"Certificate": self.owner.certificate_pem, "Roles": ["write"]}});
        fs::write(self.path("manifest.json"), manifest.to_string()).unwrap();
        self.cli(coordinator, &["manifest", "set", "manifest.json", "-r", "recovery.json"]);
        coordinator.attest().await.unwrap().root
    }

    fn write(&self, coordinator: &Coordinator, value: &str) {
        let secrets = json!({"mine": {"Key": STANDARD.encode(value)}});
        fs::write(self.path("secrets.json"), secrets.to_string()).unwrap();
        self.cli(coordinator, &["secret", "set", "secrets.json", "--cert", "owner.crt", "--key", "owner.key"]);
    }

    fn recover(&self, coordinator: &Coordinator) {
        let answer = self.cli(coordinator, &["recover", "recovery.json", "--data", "--key", "party.pem"]);
        assert_eq!(answer, "Recovery successful.\n");
    }

    /// Puts the seal directory back as it was when `from` was made of it.
    fn put_back(&self, from: &Path) {
        fs::remove_dir_all(self.path("seal")).unwrap();
        copy(from, &self.path("seal"));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

async fn serves(coordinator: &Coordinator, root: &[u8]) {
    assert_eq!(coordinator.status().await.unwrap(), 3, "{}", coordinator.log());
    assert_eq!(coordinator.attest().await.unwrap().root, root);
}

async fn warnings(coordinator: &Coordinator) -> String {
    coordinator.client().await.unwrap().v3().status().await.unwrap().warnings.join("\n")
}

/// It waits for recovery keys: with which code, and why.
async fn waits(coordinator: &Coordinator) -> (String, String) {
    assert_eq!(coordinator.status().await.unwrap(), 1, "{}", coordinator.log());
    let recovery = coordinator.client().await.unwrap().v3().recovery().await.unwrap();
    (recovery.code.unwrap(), recovery.message.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_directory_put_back_is_not_served_until_the_holders_consent() {
    let mut world = World::new();
    let coordinator = world.start("refuse").await;
    let root = world.set(&coordinator).await;
    world.write(&coordinator, "old");
    coordinator.terminate().await.unwrap();
    copy(&world.path("seal"), &world.path("copy"));

    let coordinator = world.start("refuse").await;
    serves(&coordinator, &root).await;
    world.write(&coordinator, "new");
    coordinator.kill().unwrap();
    let coordinator = world.start("refuse").await;
    serves(&coordinator, &root).await;
    assert!(!warnings(&coordinator).await.contains("counter"));
    coordinator.terminate().await.unwrap();

    world.put_back(&world.path("copy"));
    let coordinator = world.start("refuse").await;
    let (code, why) = waits(&coordinator).await;
    assert_eq!(code, "older_than_counter");
    assert!(why.contains("monotonic counter of tpm") && why.contains("recovery keys"), "{why}");
    world.recover(&coordinator);
    serves(&coordinator, &root).await;
    world.write(&coordinator, "newer");
    coordinator.terminate().await.unwrap();
    let coordinator = world.start("refuse").await;
    serves(&coordinator, &root).await;
    coordinator.terminate().await.unwrap();

    // It stays old.
    world.put_back(&world.path("copy"));
    let coordinator = world.start("refuse").await;
    assert_eq!(waits(&coordinator).await.0, "older_than_counter");
    coordinator.terminate().await.unwrap();
    let coordinator = world.start("warn").await;
    serves(&coordinator, &root).await;
    let warnings = warnings(&coordinator).await;
    assert!(warnings.contains("monotonic counter of tpm"), "{warnings}");
    coordinator.terminate().await.unwrap();
}
