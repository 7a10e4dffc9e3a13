//! What the state is sealed with: tokens (SoftHSM, through its real module), passphrases, host keys, several of them at
//! once, and changing them while the Coordinator runs. The real programs.
#![allow(missing_docs)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};

use marblerun_testkit::{
    Coordinator, CoordinatorBuilder, PIN, RecoveryKeyPair, SoftTokens, SoftTpm, TestUser, binary, load,
};
use serde_json::{Value, json};

/// A home folder with a token that has a key, a passphrase, and the owner of the deployment.
struct World {
    home: tempfile::TempDir,
    tokens: SoftTokens,
    owner: TestUser,
    party: RecoveryKeyPair,
    config: String,
}

impl World {
    fn new() -> Self {
        let (home, tokens) = (tempfile::tempdir().unwrap(), SoftTokens::new().unwrap());
        tokens.add("mine").unwrap();
        tokens.generate_aes("mine", "6b31", "seal").unwrap();
        let config = tokens.config("token.json", &json!({"TokenLabel": "mine"})).unwrap();
        let world = Self {
            home,
            tokens,
            owner: TestUser::new("owner").unwrap(),
            party: RecoveryKeyPair::new().unwrap(),
            config,
        };
        fs::write(world.path("passphrase"), "correct horse battery staple\n").unwrap();
        fs::write(world.path("owner.crt"), &world.owner.certificate_pem).unwrap();
        fs::write(world.path("owner.key"), &world.owner.key_pem).unwrap();
        fs::write(world.path("party.pem"), world.party.private_pem().unwrap()).unwrap();
        world
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn seal_dir(&self) -> std::path::PathBuf {
        self.home.path().join("seal")
    }

    fn builder(&self, seal: &str) -> CoordinatorBuilder {
        self.builder_in(&self.seal_dir(), seal)
    }

    fn builder_in(&self, dir: &Path, seal: &str) -> CoordinatorBuilder {
        let (variable, value) = self.tokens.env();
        Coordinator::builder(dir)
            .env(variable, value.display().to_string())
            .env("MARBLERUN_SEAL", seal)
            .env("MARBLERUN_SEAL_PASSPHRASE_FILE", self.path("passphrase"))
            .env("MARBLERUN_SEAL_PKCS11_CONFIG", &self.config)
            .env("MARBLERUN_SEAL_PKCS11_KEY_ID", "k1")
            .env("MARBLERUN_SIMULATION_HOST_KEY", self.path("host-key"))
    }

    async fn start(&self, seal: &str) -> Coordinator {
        self.builder(seal).start().await.unwrap()
    }

    /// Sets the manifest.
    async fn set(&self, coordinator: &Coordinator) -> Vec<u8> {
        let parties = [("party", self.party.public_pem().unwrap())];
        let mut manifest: Value = serde_json::from_slice(&load::manifest(&self.owner, &parties, 1).unwrap()).unwrap();
        manifest["Roles"]["update"] = json!({"ResourceType": "Manifest", "Actions": ["UpdateManifest"]});
        manifest["Users"] = json!({
            "owner": {"Certificate": self.owner.certificate_pem, "Roles": ["update", "read"]},
        });
        fs::write(self.path("manifest.json"), manifest.to_string()).unwrap();
        let address = coordinator.client_addr.to_string();
        self.ok(&["manifest", "set", &self.path("manifest.json"), &address, "-i", "-r", &self.path("recovery.json")]);
        coordinator.attest().await.unwrap().root
    }

    fn cli(&self, args: &[&str]) -> Output {
        let mut command = Command::new(binary("marblerun"));
        let cached = self.path("coordinator-cert.pem");
        command.args(args).arg("--coordinator-cert").arg(cached).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{args:?}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
        stdout
    }

    /// `seal ..` of the owner.
    fn seal(&self, coordinator: &Coordinator, args: &[&str]) -> (bool, String, String) {
        let address = coordinator.client_addr.to_string();
        let (cert, key) = (self.path("owner.crt"), self.path("owner.key"));
        let who = [&address, "-i", "--cert", &cert, "--key", &key];
        let output = self.cli(&[&["seal"], args, &who[..]].concat());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    fn sealed(&self, coordinator: &Coordinator, args: &[&str]) -> Value {
        let (success, stdout, stderr) = self.seal(coordinator, &[args, &["--output", "json"]].concat());
        assert!(success, "{args:?}: {stdout}{stderr}\n{}", coordinator.log());
        serde_json::from_str(&stdout).unwrap()
    }

    fn refused(&self, coordinator: &Coordinator, args: &[&str]) -> String {
        let (success, stdout, stderr) = self.seal(coordinator, args);
        assert!(!success, "{args:?}: {stdout}");
        stderr
    }

    fn recover(&self, coordinator: &Coordinator) {
        let (data, address, key) =
            (self.path("recovery.json"), coordinator.client_addr.to_string(), self.path("party.pem"));
        let answer = self.ok(&["recover", &data, &address, "-i", "--data", "--key", &key]);
        assert_eq!(answer, "Recovery successful.\n");
    }
}

fn labels(slots: &Value) -> Vec<&str> {
    slots["slots"].as_array().unwrap().iter().map(|slot| slot["label"].as_str().unwrap()).collect()
}

async fn warnings(coordinator: &Coordinator) -> String {
    coordinator.client().await.unwrap().v3().status().await.unwrap().warnings.join("\n")
}

fn metrics(coordinator: &Coordinator) -> String {
    let mut stream = TcpStream::connect(coordinator.prometheus_addr.unwrap()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// It serves the state whose root this is.
async fn serves(coordinator: &Coordinator, root: &[u8]) {
    assert_eq!(coordinator.status().await.unwrap(), 3, "{}", coordinator.log());
    assert_eq!(coordinator.attest().await.unwrap().root, root);
}

/// It waits for recovery keys; answers why.
async fn waits(coordinator: &Coordinator) -> String {
    assert_eq!(coordinator.status().await.unwrap(), 1, "{}", coordinator.log());
    let recovery = coordinator.client().await.unwrap().v3().recovery().await.unwrap();
    assert_eq!(recovery.code.as_deref(), Some("no_key"));
    recovery.message.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_sealed_to_a_token_opens_with_it_and_without_it_by_the_recovery_keys_alone() {
    let world = World::new();
    let coordinator = world.start("pkcs11").await;
    let root = world.set(&coordinator).await;
    let listed = world.sealed(&coordinator, &["slot", "test"]);
    assert_eq!(labels(&listed), ["pkcs11"]);
    assert_eq!((&listed["slots"][0]["opens"], &listed["slots"][0]["inBackups"]), (&json!(true), &json!(true)));
    let prometheus = world.builder("pkcs11").prometheus();
    coordinator.terminate().await.unwrap();

    let coordinator = prometheus.start().await.unwrap();
    serves(&coordinator, &root).await;
    coordinator.terminate().await.unwrap();

    // Each of these leads to recovery mode with its cause; nothing is made anew.
    world.tokens.plug(false).unwrap();
    let coordinator = world.start("pkcs11").await;
    let why = waits(&coordinator).await;
    assert!(why.contains("PKCS#11: pkcs11 does not open") && why.contains("could not find PKCS#11 token"), "{why}");
    coordinator.terminate().await.unwrap();
    world.tokens.plug(true).unwrap();

    let wrong = world.tokens.config("wrong.json", &json!({"TokenLabel": "mine", "Pin": "0000"})).unwrap();
    let coordinator = world.builder("pkcs11").env("MARBLERUN_SEAL_PKCS11_CONFIG", wrong).start().await.unwrap();
    let why = waits(&coordinator).await;
    assert!(why.contains("CKR_PIN_INCORRECT"), "{why}");
    coordinator.terminate().await.unwrap();

    // The PIN from the environment, and the token is back.
    let without = world.tokens.config("without.json", &json!({"TokenLabel": "mine", "Pin": null})).unwrap();
    let with_pin =
        world.builder("pkcs11").env("MARBLERUN_SEAL_PKCS11_CONFIG", without).env("MARBLERUN_PKCS11_PIN", PIN);
    let coordinator = with_pin.start().await.unwrap();
    serves(&coordinator, &root).await;
    coordinator.terminate().await.unwrap();

    world.tokens.delete_secret_key("mine", "6b31").unwrap();
    let coordinator = world.start("pkcs11").await;
    let why = waits(&coordinator).await;
    assert!(why.contains("key pair with id=6b31") || why.contains("was not found"), "{why}");
    assert!(why.contains("pkcs11-tool --keygen"), "{why}");
    // The key is lost for good: a new one, and the holders.
    world.tokens.generate_aes("mine", "6b31", "seal").unwrap();
    world.recover(&coordinator);
    serves(&coordinator, &root).await;
    let before = world.sealed(&coordinator, &["slot", "list"])["key"].clone();
    let rotated = world.sealed(&coordinator, &["slot", "rotate", "pkcs11"]);
    assert_eq!((labels(&rotated), &rotated["by"]), (vec!["pkcs11"], &json!("owner")));
    assert_ne!(rotated["key"], before);
    coordinator.terminate().await.unwrap();
    let coordinator = world.start("pkcs11").await;
    serves(&coordinator, &root).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_slots_one_is_enough_and_the_other_is_told() {
    let world = World::new();
    let coordinator = world.builder("pkcs11,host-key").prometheus().start().await.unwrap();
    let root = world.set(&coordinator).await;
    coordinator.terminate().await.unwrap();

    world.tokens.plug(false).unwrap();
    let coordinator = world.builder("pkcs11,host-key").prometheus().start().await.unwrap();
    serves(&coordinator, &root).await;
    let told = warnings(&coordinator).await;
    assert!(told.contains("the key slot PKCS#11: pkcs11 does not open"), "{told}");
    let (success, stdout, _) = world.seal(&coordinator, &["slot", "test"]);
    assert!(!success && stdout.contains("no: sealing backend pkcs11 is not available"), "{stdout}");
    let tested = world.seal(&coordinator, &["slot", "test", "--slot", "host-key-file"]);
    assert!(tested.0, "{tested:?}");
    let metrics = metrics(&coordinator);
    for line in [
        r#"marblerun_seal_slot_opens{slot="host-key-file",kind="platform"} 1"#,
        r#"marblerun_seal_slot_opens{slot="pkcs11",kind="pkcs11"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let refused = world.refused(&coordinator, &["rotate"]);
    assert!(refused.contains("would be lost") && refused.contains("pkcs11"), "{refused}");
    coordinator.terminate().await.unwrap();

    // Another host: the host key is gone, the token is back.
    world.tokens.plug(true).unwrap();
    let elsewhere = world.home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for name in ["sealed_data", "sealed_key"] {
        fs::copy(world.seal_dir().join(name), elsewhere.join(name)).unwrap();
    }
    let other_host = || {
        let builder = world.builder_in(&elsewhere, "pkcs11,host-key");
        builder.env("MARBLERUN_SIMULATION_HOST_KEY", world.path("other-host-key"))
    };
    let coordinator = other_host().start().await.unwrap();
    serves(&coordinator, &root).await;
    let listed = world.sealed(&coordinator, &["slot", "rotate", "host-key-file"]);
    assert_eq!(labels(&listed), ["host-key-file", "pkcs11"]);
    coordinator.terminate().await.unwrap();
    world.tokens.plug(false).unwrap();
    let coordinator = other_host().start().await.unwrap();
    serves(&coordinator, &root).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_takes_the_place_of_a_passphrase_while_marbles_are_served() {
    let world = World::new();
    world.tokens.plug(false).unwrap();
    let coordinator = world.start("passphrase,pkcs11").await;
    let root = world.set(&coordinator).await;
    let listed = world.sealed(&coordinator, &["slot", "list"]);
    assert_eq!(labels(&listed), ["passphrase"]);
    assert_eq!(listed["backends"][1], json!({"name": "pkcs11", "kind": "pkcs11", "hasSlot": false}));
    assert!(warnings(&coordinator).await.contains("the sealing backend pkcs11 has no key slot"));
    let refused = world.refused(&coordinator, &["slot", "add", "pkcs11"]);
    assert!(refused.contains("made no key slot"), "{refused}");
    coordinator.terminate().await.unwrap();

    // The token is plugged in and gets its slot; the passphrase goes.
    world.tokens.plug(true).unwrap();
    let coordinator = world.start("passphrase").await;
    let unknown = world.refused(&coordinator, &["slot", "add", "pkcs11"]);
    assert!(unknown.contains("MARBLERUN_SEAL"), "{unknown}");
    coordinator.terminate().await.unwrap();
    let coordinator = world.start("passphrase,pkcs11").await;
    serves(&coordinator, &root).await;
    assert_eq!(labels(&world.sealed(&coordinator, &["slot", "list"])), ["passphrase", "pkcs11"]);
    assert!(world.refused(&coordinator, &["slot", "add", "pkcs11"]).contains("it opens"));
    let (_, stdout, _) = world.seal(&coordinator, &["slot", "remove", "passphrase", "--yes"]);
    assert!(stdout.contains("leave it out of MARBLERUN_SEAL"), "{stdout}");
    let last = world.refused(&coordinator, &["slot", "remove", "pkcs11", "--yes"]);
    assert!(last.contains("no key slot would be left"), "{last}");
    let added = world.sealed(&coordinator, &["slot", "add", "passphrase"]);
    assert_eq!(labels(&added), ["pkcs11", "passphrase"]);
    let removed = world.sealed(&coordinator, &["slot", "remove", "passphrase", "--yes"]);
    assert_eq!(labels(&removed), ["pkcs11"]);
    // Who is no owner changes nothing, and all that was done is told.
    let anonymous = coordinator.client().await.unwrap().v3().rotate_seal_slots(None, true).await;
    assert!(anonymous.is_err());
    let trail = world.ok(&[
        "audit",
        "log",
        &coordinator.client_addr.to_string(),
        "-i",
        "--cert",
        &world.path("owner.crt"),
        "--key",
        &world.path("owner.key"),
    ]);
    for event in ["seal_slot_added", "seal_slot_removed"] {
        assert!(trail.contains(event), "{trail}");
    }
    coordinator.kill().unwrap();

    fs::remove_file(world.path("passphrase")).unwrap();
    let coordinator = world.start("pkcs11").await;
    serves(&coordinator, &root).await;
    assert!(!warnings(&coordinator).await.contains("key slot"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_passphrase_opens_nothing_and_a_key_that_can_be_taken_from_the_token_seals_nothing() {
    let world = World::new();
    let coordinator = world.start("passphrase").await;
    let root = world.set(&coordinator).await;
    coordinator.terminate().await.unwrap();
    fs::write(world.path("passphrase"), "correct horse battery stable\n").unwrap();
    let coordinator = world.start("passphrase").await;
    let why = waits(&coordinator).await;
    assert!(why.contains("the key of passphrase does not fit"), "{why}");
    coordinator.terminate().await.unwrap();
    fs::write(world.path("passphrase"), "correct horse battery staple").unwrap();
    world.tokens.generate_loose_aes("mine", "6b32", "loose").unwrap();
    let loose = world.builder("passphrase,pkcs11").env("MARBLERUN_SEAL_PKCS11_KEY_ID", "k2");
    let coordinator = loose.start().await.unwrap();
    serves(&coordinator, &root).await;
    let told = warnings(&coordinator).await;
    assert!(told.contains("CKA_EXTRACTABLE"), "{told}");
    coordinator.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_needs_both_opens_with_neither_alone() {
    let world = World::new();
    let coordinator = world.start("host-key+pkcs11").await;
    let root = world.set(&coordinator).await;
    assert_eq!(labels(&world.sealed(&coordinator, &["slot", "list"])), ["host-key-file+pkcs11"]);
    coordinator.terminate().await.unwrap();
    for alone in ["host-key", "pkcs11", "passphrase"] {
        let coordinator = world.start(alone).await;
        waits(&coordinator).await;
        coordinator.terminate().await.unwrap();
    }
    world.tokens.plug(false).unwrap();
    let coordinator = world.start("host-key+pkcs11").await;
    waits(&coordinator).await;
    coordinator.terminate().await.unwrap();
    world.tokens.plug(true).unwrap();
    let coordinator = world.start("host-key+pkcs11").await;
    serves(&coordinator, &root).await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_meant_ends_the_start_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    for (seal, message) in [
        ("pcks11", "MARBLERUN_SEAL"),
        ("pkcs11", "MARBLERUN_SEAL_PKCS11_CONFIG"),
        ("passphrase", "MARBLERUN_SEAL_PASSPHRASE_FILE"),
        ("platform", "there is no seal key of the platform"),
        ("plain,plain", "configured twice"),
    ] {
        let started = Coordinator::builder(&home.path().join("seal")).env("MARBLERUN_SEAL", seal).start().await;
        let error = format!("{:#}", started.unwrap_err());
        assert!(error.contains(message), "{seal}: {error}");
        assert!(!home.path().join("seal/sealed_data").exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_sealed_to_a_tpm_survives_reboots_and_waits_where_the_machine_has_changed() {
    let world = World::new();
    let mut tpm = SoftTpm::start().unwrap();
    // The machine loses power, and boots, with another boot loader if it was changed. (What a program that ended in the middle of a command
    // left in the TPM is gone then; on a host the kernel's resource manager sees to that.)
    let boot = async |tpm: &mut SoftTpm, is_changed: bool, seal: &str| {
        tpm.reboot().unwrap();
        if is_changed {
            tpm.extend_pcr(7).unwrap();
        }
        world.builder(seal).env("MARBLERUN_TPM", tpm.tcti()).start().await.unwrap()
    };
    let coordinator = boot(&mut tpm, false, "tpm").await;
    let root = world.set(&coordinator).await;
    assert_eq!(labels(&world.sealed(&coordinator, &["slot", "test"])), ["tpm"]);
    coordinator.kill().unwrap();

    let coordinator = boot(&mut tpm, false, "tpm").await;
    serves(&coordinator, &root).await;
    coordinator.kill().unwrap();
    // Another slot beside it.
    let coordinator = boot(&mut tpm, false, "tpm,passphrase").await;
    assert_eq!(labels(&world.sealed(&coordinator, &["slot", "test"])), ["tpm", "passphrase"]);
    coordinator.kill().unwrap();

    // Another boot state: recovery mode with what has changed, and no exit.
    let coordinator = boot(&mut tpm, true, "tpm").await;
    let why = waits(&coordinator).await;
    assert!(why.contains("PCR 7"), "{why}");
    coordinator.kill().unwrap();

    // The other slot still opens it, and makes one for the machine as it is now.
    let coordinator = boot(&mut tpm, true, "tpm,passphrase").await;
    serves(&coordinator, &root).await;
    world.sealed(&coordinator, &["slot", "rotate", "tpm"]);
    coordinator.kill().unwrap();
    let coordinator = boot(&mut tpm, true, "tpm").await;
    serves(&coordinator, &root).await;
    coordinator.kill().unwrap();

    // Moved to another machine, or the TPM is lost: the holders of the recovery keys.
    let mut other = SoftTpm::start().unwrap();
    let coordinator = boot(&mut other, false, "tpm").await;
    assert_eq!(coordinator.status().await.unwrap(), 1, "{}", coordinator.log());
    world.recover(&coordinator);
    serves(&coordinator, &root).await;
    coordinator.kill().unwrap();
    let coordinator = boot(&mut other, false, "tpm").await;
    serves(&coordinator, &root).await;
}

/// A host's TPM serves others as well, and has room for three objects: who stops must leave none behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_and_starting_again_leaves_a_tpm_as_it_was() {
    let world = World::new();
    let mut tpm = SoftTpm::start().unwrap();
    tpm.reboot().unwrap();
    let start = async || world.builder("tpm").env("MARBLERUN_TPM", tpm.tcti()).start().await.unwrap();
    let coordinator = start().await;
    let root = world.set(&coordinator).await;
    coordinator.terminate().await.unwrap();
    for _ in 0..5 {
        let coordinator = start().await;
        serves(&coordinator, &root).await;
        coordinator.terminate().await.unwrap();
    }
}
