//! Users and recovery parties whose keys are on a PKCS#11 token (SoftHSM, through its real module), from the command
//! line against a real Coordinator.
#![allow(missing_docs)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use marblerun_testkit::{Coordinator, PIN, RecoveryKeyPair, SoftTokens, TestUser, binary, load};
use serde_json::{Value, json};

/// A home folder, tokens, and perhaps a Coordinator.
struct World {
    home: tempfile::TempDir,
    tokens: SoftTokens,
    address: String,
    coordinator: Option<Coordinator>,
}

impl World {
    fn new() -> Self {
        let (home, tokens) = (tempfile::tempdir().unwrap(), SoftTokens::new().unwrap());
        Self { home, tokens, address: "localhost:1".to_owned(), coordinator: None }
    }

    /// Starts a Coordinator whose manifest has these users, who may read and write the secret `s0`.
    async fn with_users(users: &[(&str, &TestUser)]) -> Self {
        let mut world = Self::new();
        world.start("host").await;
        let mut manifest: Value = serde_json::from_slice(&load::manifest(users[0].1, &[], 1).unwrap()).unwrap();
        manifest["Users"] = json!({});
        for (name, user) in users {
            manifest["Users"][name] = json!({"Certificate": user.certificate_pem, "Roles": ["write", "read"]});
        }
        fs::write(world.path("manifest.json"), manifest.to_string()).unwrap();
        world.ok(&["manifest", "set", &world.path("manifest.json"), &world.address, "-i"]);
        world
    }

    async fn start(&mut self, host: &str) {
        let home = self.home.path();
        let coordinator = Coordinator::builder(&home.join("seal")).host_key(&home.join(host)).start().await.unwrap();
        self.address = coordinator.client_addr.to_string();
        self.coordinator = Some(coordinator);
    }

    async fn stop(&mut self) {
        self.coordinator.take().unwrap().terminate().await.unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn command(&self, args: &[&str]) -> Command {
        let (variable, value) = self.tokens.env();
        let mut command = Command::new(binary("marblerun"));
        command.args(args).env(variable, value).env_remove("MARBLERUN_PKCS11_PIN");
        command.arg("--coordinator-cert").arg(self.home.path().join("coordinator-cert.pem"));
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        succeeded(args, self.command(args).output().unwrap())
    }

    fn fails(&self, args: &[&str]) -> String {
        failed(args, self.command(args).output().unwrap())
    }

    /// `secret get s0`, as the user these flags name.
    fn get<'a>(&'a self, flags: &[&'a str]) -> Vec<&'a str> {
        [&["secret", "get", "s0", &self.address][..], flags].concat()
    }
}

fn succeeded(args: &[&str], output: Output) -> String {
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{args:?}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
    stdout
}

fn failed(args: &[&str], output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_and_what_is_on_it_are_found_in_every_way_they_can_be_named() {
    let user = TestUser::with_key("alice", "ec:P-256").unwrap();
    let world = World::with_users(&[("alice", &user)]).await;
    for token in ["other", "mine"] {
        world.tokens.add(token).unwrap();
    }
    let decoy = TestUser::with_key("decoy", "ec:P-256").unwrap();
    world.tokens.import_user("mine", &decoy, "ff00", "alice").unwrap();
    // k1 in ASCII.
    world.tokens.import_user("mine", &user, "6b31", "Alice's key").unwrap();

    let (serial, slot) = world.tokens.serial_and_slot("mine").unwrap();
    let by_label = world.tokens.config("label.json", &json!({"TokenLabel": "mine"})).unwrap();
    let by_serial = world.tokens.config("serial.json", &json!({"tokenserial": serial})).unwrap();
    let by_slot = world.tokens.config("slot.json", &json!({"SlotNumber": slot, "MaxSessions": 2})).unwrap();
    for config in [&by_label, &by_serial, &by_slot] {
        let flags = ["--pkcs11-config", config, "--pkcs11-key-id", "k1", "--pkcs11-cert-id", "k1"];
        assert!(world.ok(&world.get(&flags)).starts_with("s0:\n"), "{config}");
    }
    let uri = format!("pkcs11:token=mine;serial={serial};id=%6B%31;object=Alice%27s%20key");
    for flags in [
        &["--pkcs11-key-id", "hex:6b31", "--pkcs11-cert-id", "hex:6B31"][..],
        &["--pkcs11-key-label", "Alice's key", "--pkcs11-cert-label", "Alice's key"],
        &["--pkcs11-key-id", "k1", "--pkcs11-key-label", "Alice's key", "--pkcs11-cert-id", "k1"],
        &["--pkcs11-key-id", &uri, "--pkcs11-cert-id", &uri],
    ] {
        world.ok(&world.get(&[&["--pkcs11-config", &by_label], flags].concat()));
    }
    for (flags, message) in [
        // Hex without its prefix is the text that was typed, as for upstream's command.
        (
            &["--pkcs11-key-id", "6b31", "--pkcs11-cert-id", "k1"][..],
            "key pair with id=36623331 and label= was not found or is empty",
        ),
        (&["--pkcs11-key-id", "k1", "--pkcs11-key-label", "alice", "--pkcs11-cert-id", "k1"], "id hex:6b31 label"),
        (
            &["--pkcs11-key-id", "k1", "--pkcs11-cert-id", "nobody"],
            r#"no certificate found for id "nobody" and label """#,
        ),
        (&["--pkcs11-key-label", "alice", "--pkcs11-cert-id", "k1"], "private key does not match public key"),
        (&["--pkcs11-key-label", "alice", "--pkcs11-cert-label", "alice"], "authorizing user"),
        (&["--pkcs11-key-id", "pkcs11:token=other;id=k1", "--pkcs11-cert-id", "k1"], "token=other"),
    ] {
        let told = world.fails(&world.get(&[&["--pkcs11-config", &by_label], flags].concat()));
        assert!(told.contains(message), "{flags:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rsa_and_ec_keys_on_a_token_prove_a_user() {
    let kinds = ["rsa:2048", "rsa:3072", "ec:P-256", "ec:P-384", "ec:P-521"];
    let users: Vec<(&str, TestUser)> =
        kinds.into_iter().map(|kind| (kind, TestUser::with_key("user", kind).unwrap())).collect();
    let known: Vec<(&str, &TestUser)> = users.iter().map(|(kind, user)| (*kind, user)).collect();
    let world = World::with_users(&known).await;
    world.tokens.add("mine").unwrap();
    let config = world.tokens.config("config.json", &json!({"TokenLabel": "mine"})).unwrap();
    let secrets = world.path("s.json");
    fs::write(&secrets, json!({"s0": {"Key": "aGVsbG8="}}).to_string()).unwrap();
    for (number, (kind, user)) in users.iter().enumerate() {
        // With a public key beside the private one, and with the certificate alone.
        for (public, id) in [(true, format!("a{number}")), (false, format!("b{number}"))] {
            let label = format!("{kind} {public}");
            world.tokens.import_key("mine", &user.key_pem, &id, &label, public).unwrap();
            world.tokens.import_certificate("mine", &user.certificate_pem, &id, &label).unwrap();
            let id = format!("hex:{id}");
            let flags = ["--pkcs11-config", &config, "--pkcs11-key-id", &id, "--pkcs11-cert-label", &label];
            let set = [&["secret", "set", &secrets, &world.address][..], &flags].concat();
            assert_eq!(world.ok(&set), "Secret successfully set\n", "{label}");
        }
    }
}

#[test]
fn what_cannot_work_is_told_with_upstreams_words_and_what_is_there_instead() {
    let world = World::new();
    world.tokens.add("mine").unwrap();
    let user = TestUser::new("alice").unwrap();
    world.tokens.import_user("mine", &user, "01", "alice").unwrap();
    fs::write(world.path("secret"), [7; 32]).unwrap();
    let told = |fields: Value| {
        let config = world.tokens.config("config.json", &fields).unwrap();
        let (secret, out) = (world.path("secret"), world.path("out"));
        let sign = ["recover-with-signature", "sign-secret", &secret, "-o", &out];
        world.fails(&[&sign[..], &["--pkcs11-config", &config, "--pkcs11-key-label", "alice"]].concat())
    };
    for (fields, messages) in [
        (
            json!({"TokenLabel": "mine", "Path": "/no/such/module.so"}),
            &["failed to create module context: failed to open module", "/no/such/module.so"][..],
        ),
        (json!({"TokenLabel": "mine", "Path": binary("marblerun")}), &["failed to open module"]),
        (json!({"TokenLabel": "yours"}), &["could not find PKCS#11 token", r#"label "mine""#]),
        (json!({"SlotNumber": 77}), &["could not find PKCS#11 token", "slot number 77"]),
        (
            json!({"TokenLabel": "mine", "Pin": "0000"}),
            &["failed to log into long term session: pkcs11: 0xA0: CKR_PIN_INCORRECT"],
        ),
        (
            json!({"TokenLabel": "mine", "TokenSerial": "1"}),
            &["config must specify exactly one way to select a token: token label, token serial number given"],
        ),
        (json!({"TokenLabel": "mine"}), &["loaded private key does not support decryption"]),
        // Nothing is seen without a login.
        (json!({"TokenLabel": "mine", "LoginNotSupported": true}), &["was not found", "The token has no private keys"]),
    ] {
        let text = told(fields.clone());
        for message in messages {
            assert!(text.contains(message), "{fields}: {text}");
        }
    }
    let missing = ["secret", "get", "s0", "localhost:1", "-i", "--pkcs11-config", "/no/such.json"];
    let missing = world.fails(&[&missing[..], &["--pkcs11-key-id", "1", "--pkcs11-cert-id", "1"]].concat());
    assert!(
        missing.contains("could not open config file: /no/such.json: open /no/such.json: no such file or directory")
    );
    let flags = world.fails(&["secret", "get", "s0", "localhost:1"]);
    let group = "at least one of the flags in the group [pkcs11-cert-id pkcs11-cert-label cert] is required";
    assert!(flags.starts_with(&format!("Error: {group}\nHint: ")), "{flags}");
}

#[test]
fn the_pin_comes_from_the_environment_a_file_or_the_terminal() {
    let world = World::new();
    world.tokens.add("mine").unwrap();
    let key = RecoveryKeyPair::new().unwrap();
    world.tokens.import_key("mine", &key.private_pem().unwrap(), "01", "alice", true).unwrap();
    fs::write(world.path("secret"), [7; 32]).unwrap();
    let (secret, out) = (world.path("secret"), world.path("out"));
    let sign = |config: &str| {
        let _ = fs::remove_file(&out);
        world.command(&[
            "recover-with-signature",
            "sign-secret",
            &secret,
            "-o",
            &out,
            "--pkcs11-config",
            config,
            "--pkcs11-key-label",
            "alice",
        ])
    };
    let signed = || fs::read(&out).unwrap() == key.sign(&[7; 32]).unwrap();

    let without = world.tokens.config("without.json", &json!({"TokenLabel": "mine", "Pin": null})).unwrap();
    succeeded(&["env"], sign(&without).env("MARBLERUN_PKCS11_PIN", PIN).output().unwrap());
    assert!(signed());
    let wrong = failed(&["env"], sign(&without).env("MARBLERUN_PKCS11_PIN", "0000").output().unwrap());
    assert!(wrong.contains("CKR_PIN_INCORRECT") && wrong.contains("A wrong PIN was entered before"), "{wrong}");

    fs::write(world.path("pin"), format!("{PIN}\n")).unwrap();
    let fields = json!({"TokenLabel": "mine", "Pin": null, "PinSource": world.path("pin")});
    let from_file = world.tokens.config("file.json", &fields).unwrap();
    succeeded(&["file"], sign(&from_file).output().unwrap());
    assert!(signed());

    let nobody = failed(&["nobody"], sign(&without).stdin(Stdio::null()).output().unwrap());
    assert!(nobody.contains("no PIN for the token \"mine\"") && nobody.contains("MARBLERUN_PKCS11_PIN"), "{nobody}");

    let command = sign(&without);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let (variable, value) = world.tokens.env();
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"])
        .env(variable, value)
        .env_remove("MARBLERUN_PKCS11_PIN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Typed only after the question, as a person does: what is typed before is shown, and then thrown away.
    let mut shown = read_until(&mut terminal, "PIN of the token");
    wait_until_input_is_hidden(terminal.id());
    writeln!(terminal.stdin.as_mut().unwrap(), "{PIN}").unwrap();
    let output = terminal.wait_with_output().unwrap();
    shown.push_str(&String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{shown}");
    assert!(!shown.contains(PIN), "the PIN is not shown: {shown}");
    assert!(signed());
}

fn read_until(terminal: &mut std::process::Child, wanted: &str) -> String {
    use std::io::Read as _;

    let mut shown = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&shown).contains(wanted) {
        assert_eq!(
            terminal.stdout.as_mut().unwrap().read(&mut byte).unwrap(),
            1,
            "{}",
            String::from_utf8_lossy(&shown)
        );
        shown.push(byte[0]);
    }
    String::from_utf8(shown).unwrap()
}

/// Waits until the terminal that `script` runs its child on no longer shows what is typed.
fn wait_until_input_is_hidden(script: u32) {
    let started = Instant::now();
    loop {
        let terminals =
            children_of(script).into_iter().filter_map(|pid| fs::read_link(format!("/proc/{pid}/fd/2")).ok());
        let hides = |terminal| {
            let settings = Command::new("stty").arg("-F").arg(terminal).arg("-a").output().unwrap();
            String::from_utf8_lossy(&settings.stdout).split_whitespace().any(|setting| setting == "-echo")
        };
        if terminals.into_iter().any(hides) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the input is not hidden");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap();
    let ids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // PID (NAME) STATE PARENT ..
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    };
    ids.filter(is_child).collect()
}

/// SoftHSM knows OAEP with SHA-1 only, so what is decrypted here went the way of tokens that lack it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_party_whose_key_is_on_a_token_recovers_and_proves_backups() {
    let mut world = World::new();
    let (alice, bob, stranger) =
        (RecoveryKeyPair::new().unwrap(), RecoveryKeyPair::new().unwrap(), RecoveryKeyPair::new().unwrap());
    world.tokens.add("mine").unwrap();
    world.tokens.import_key("mine", &alice.private_pem().unwrap(), "6b31", "alice", true).unwrap();
    world.tokens.import_key("mine", &stranger.private_pem().unwrap(), "02", "stranger", false).unwrap();
    let config = world.tokens.config("config.json", &json!({"TokenLabel": "mine"})).unwrap();
    let on_token = ["--pkcs11-config", &config, "--pkcs11-key-id", "k1"];
    let as_stranger = ["--pkcs11-config", &config, "--pkcs11-key-label", "stranger"];
    fs::write(world.path("bob.pem"), bob.private_pem().unwrap()).unwrap();
    let user = TestUser::new("writer").unwrap();
    let parties = [("bob", bob.public_pem().unwrap()), ("alice", alice.public_pem().unwrap())];
    fs::write(world.path("manifest.json"), load::manifest(&user, &parties, 1).unwrap()).unwrap();
    let (data, manifest, bob_pem) = (world.path("recovery.json"), world.path("manifest.json"), world.path("bob.pem"));

    world.start("host").await;
    world.ok(&["manifest", "set", &manifest, &world.address, "-i", "-r", &data]);
    world.stop().await;

    let seal = world.path("seal");
    let verify = [&["backup", "verify", &seal, "--key", &bob_pem, "--output", "json"][..], &on_token].concat();
    let proof: Value = serde_json::from_str(&world.ok(&verify)).unwrap();
    assert_eq!(proof["quorum"]["parties"], json!(["alice", "bob"]));
    let refused = world.fails(&[&["backup", "verify", &seal, "--key", &bob_pem][..], &as_stranger].concat());
    assert!(refused.contains("recovery key 2"), "{refused}");

    // Offline steps.
    let secrets: Value = serde_json::from_slice(&fs::read(&data).unwrap()).unwrap();
    let encrypted = marblerun_api::bytes::decode(secrets["RecoverySecrets"]["alice"].as_str().unwrap()).unwrap();
    let plain = alice.decrypt(&encrypted).unwrap();
    fs::write(world.path("encrypted"), &encrypted).unwrap();
    fs::write(world.path("plain"), &plain).unwrap();
    for input in ["encrypted", "plain"] {
        let (input, out) = (world.path(input), world.path(&format!("{input}.signature")));
        world.ok(&[&["recover-with-signature", "sign-secret", &input, "-o", &out][..], &on_token].concat());
        assert_eq!(fs::read(&out).unwrap(), alice.sign(&plain).unwrap(), "{input}");
    }
    let (input, out) = (world.path("encrypted"), world.path("none"));
    let sign_as_stranger = [&["recover-with-signature", "sign-secret", &input, "-o", &out][..], &as_stranger].concat();
    assert!(world.fails(&sign_as_stranger).contains("crypto/rsa: decryption error"));
    assert!(!Path::new(&out).exists());

    // Another host: both parties, one with what was prepared offline would do as well.
    world.start("other-host").await;
    let address = world.address.clone();
    let none = world.fails(&[&["recover", &data, &address, "-i", "--data"][..], &as_stranger].concat());
    assert!(none.contains("no entry of the recovery data is encrypted to this key"), "{none}");
    let (ephemeral, wrapped) = (world.path("ephemeral.pem"), world.path("wrapped"));
    world.ok(&["recover-with-signature", "public-key", &address, "-i", "-o", &ephemeral]);
    let encrypt = ["recover-with-signature", "encrypt-secret", &input, "--coordinator-pub-key", &ephemeral];
    world.ok(&[&encrypt[..], &["-o", &wrapped], &on_token].concat());
    assert_eq!(fs::read(&wrapped).unwrap().len(), 512);
    let answer = world.ok(&[&["recover", &data, &address, "-i", "--data"][..], &on_token].concat());
    assert!(answer.ends_with("Remaining secrets: 1\n"), "{answer}");
    let answer = world.ok(&["recover", &data, &address, "-i", "--data", "--key", &bob_pem]);
    assert_eq!(answer, "Recovery successful.\n");
    world.stop().await;
}
