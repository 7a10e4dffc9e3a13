//! The audit trail through a whole life, with the real programs: everything that happens is told, and what is told
//! can be proved afterwards, with a Coordinator and without.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use marblerun_testkit::{Coordinator, RecoveryKeyPair, TestUser, binary, load};
use serde_json::{Value, json};

/// A folder of files, and `marblerun` with a certificate cache of its own.
struct Home(tempfile::TempDir);

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(binary("marblerun"))
            .args(args)
            .arg("--coordinator-cert")
            .arg(self.path("coordinator-cert.pem"))
            .output()
            .unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{args:?}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
        stdout
    }

    fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// With the certificate of a user.
    fn as_user(&self, name: &str, args: &[&str]) -> Vec<String> {
        let own = [
            format!("--cert={}", self.text(&format!("{name}.crt"))),
            format!("--key={}", self.text(&format!("{name}.key"))),
        ];
        args.iter().map(|arg| (*arg).to_owned()).chain(own).collect()
    }

    fn ok_as(&self, user: &str, args: &[&str]) -> String {
        let args = self.as_user(user, args);
        self.ok(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn fails_as(&self, user: &str, args: &[&str]) -> String {
        let args = self.as_user(user, args);
        self.fails(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Event, actor and reason of each entry.
    fn told(&self, user: &str, address: &str, more: &[&str]) -> Vec<String> {
        let args = [&["audit", "log", address, "--output", "json"], more].concat();
        let document: Value = serde_json::from_str(&self.ok_as(user, &args)).unwrap();
        let entries = document["entries"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        entries
            .iter()
            .map(|entry| {
                format!("{} {} {}", text(&entry["event"]), text(&entry["actor"]), text(&entry["reason"]))
                    .trim_end()
                    .to_owned()
            })
            .collect()
    }
}

/// The manifest of a story: `owner` may do everything, `reader` nothing.
fn manifest(owner: &TestUser, reader: &TestUser, key: &RecoveryKeyPair) -> Value {
    let raw = load::manifest(owner, &[("carol", key.public_pem().unwrap())], 1).unwrap();
    let mut manifest: Value = serde_json::from_slice(&raw).unwrap();
    let owner_name = manifest["Users"].as_object().unwrap().keys().next().unwrap().clone();
    let mut roles = manifest["Users"][&owner_name]["Roles"].clone();
    roles.as_array_mut().unwrap().push(json!("owner"));
    let certificate = manifest["Users"][&owner_name]["Certificate"].clone();
    manifest["Users"] = json!({
        "olga": {"Certificate": certificate, "Roles": roles},
        "rita": {"Certificate": reader.certificate_pem, "Roles": []},
    });
    manifest["Roles"]["owner"] = json!({"ResourceType": "Manifest", "Actions": ["UpdateManifest"]});
    manifest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_happens_to_a_deployment_is_told_and_proved() {
    let home = Home(tempfile::tempdir().unwrap());
    let (olga, rita) = (TestUser::new("olga").unwrap(), TestUser::new("rita").unwrap());
    let key = RecoveryKeyPair::new().unwrap();
    for (name, user) in [("olga", &olga), ("rita", &rita)] {
        home.write(&format!("{name}.crt"), &user.certificate_pem);
        home.write(&format!("{name}.key"), &user.key_pem);
    }
    home.write("carol.pem", key.private_pem().unwrap());
    let mut next = manifest(&olga, &rita, &key);
    home.write("manifest.json", next.to_string());
    home.write("secrets.json", json!({"s0": {"Key": "aGVsbG8="}}).to_string());
    let [m, rec, secrets, carol] =
        ["manifest.json", "recovery.json", "secrets.json", "carol.pem"].map(|name| home.text(name));

    let coordinator = Coordinator::builder(&home.path("seal")).host_key(&home.path("host")).start().await.unwrap();
    let address = coordinator.client_addr.to_string();
    let a = address.as_str();

    // Set, write, update; and what was refused.
    home.ok(&["manifest", "set", &m, a, "-i", "-r", &rec]);
    home.ok_as("olga", &["secret", "set", &secrets, a]);
    next["Marbles"]["second"] = next["Marbles"]["app"].clone();
    let client = coordinator.client_builder().await.unwrap().identity(olga.identity().unwrap()).build().unwrap();
    client.apply_update(next.to_string().as_bytes()).await.unwrap();
    home.fails_as("rita", &["secret", "set", &secrets, a]);
    let nobody = coordinator.client().await.unwrap();
    assert!(nobody.apply_update(b"{}").await.is_err());
    assert!(home.fails(&["audit", "log", a]).contains("--cert"), "it is for users");
    let so_far = ["manifest_set anyone", "secret_written olga", "update_proposed olga", "update_applied olga"];
    assert_eq!(home.told("rita", a, &[]), so_far);
    let [first, second, third] = ["1.jsonl", "2.jsonl", "3.jsonl"].map(|name| home.text(name));
    assert!(home.ok_as("rita", &["audit", "log", a, "-o", &first]).contains("4 entries and the signed head saved"));

    // A backup through the Coordinator, for who may have it.
    fs::create_dir(home.path("backups")).unwrap();
    let backups = home.text("backups");
    assert!(home.fails_as("rita", &["backup", "create", a, &backups]).contains("UpdateManifest"));
    assert_eq!(fs::read_dir(&backups).unwrap().count(), 0, "nothing is left of a refused one");
    home.ok_as("olga", &["backup", "create", a, &backups]);
    let backup = fs::read_dir(&backups).unwrap().next().unwrap().unwrap().path().display().to_string();
    home.ok(&["backup", "verify", &backup, "--key", &carol]);
    home.ok_as("olga", &["secret", "set", &secrets, a]);

    // The host is lost, and the clean stop has written what was refused.
    let again = Coordinator::builder(&home.path("seal")).host_key(&home.path("other-host")).same_ports(&coordinator);
    coordinator.terminate().await.unwrap();
    let coordinator = again.start().await.unwrap();
    assert_eq!(coordinator.status().await.unwrap(), 1, "{}", coordinator.log());
    home.ok(&["recover", &rec, a, "-i", "--data", "--key", &carol]);
    let told = home.told("rita", a, &[]);
    assert_eq!(told[..4], so_far);
    assert_eq!(told[4..], ["backup olga", "secret_written olga", "recovery party:carol"]);
    let refused = home.told("rita", a, &["--refused"]);
    for expected in ["refused anyone unknown_user", "refused rita not_allowed"] {
        assert!(refused.iter().any(|entry| entry == expected), "{expected}: {refused:?}");
    }
    home.ok_as("rita", &["audit", "log", a, "--after", "4", "-o", &second]);

    // Online and offline, alone and in a row.
    let online = home.ok_as("rita", &["audit", "verify", a]);
    assert!(online.contains("OK: changes: entries 1 to 7 chain") && online.contains("OK: refusals: "), "{online}");
    for sources in [&[first.as_str()][..], &[&first, &second]] {
        assert!(home.ok(&[&["audit", "verify"], sources].concat()).starts_with("OK: changes: entries 1 to "));
    }
    assert!(home.fails(&["audit", "verify", &second, &first]).contains("older"));
    let sealed = home.ok(&["audit", "verify", &backup, "--key", &carol]);
    assert!(sealed.contains("entries 1 to 5 chain"), "up to its own entry: {sealed}");
    assert!(home.ok(&["audit", "log", &home.text("seal"), "--key", &carol]).contains("party:carol"));
    let from_backup = home.text("from-backup.jsonl");
    home.ok(&["audit", "log", &backup, "--key", &carol, "-o", &from_backup]);
    assert!(home.ok(&["audit", "verify", &from_backup, &second]).contains("entries 1 to 7"), "they fit together");

    // What is done to an export is found, and where.
    let text = fs::read_to_string(&first).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let tampered = home.text("tampered.jsonl");
    let without = |index: usize| {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, line)| *line);
        kept.collect::<Vec<_>>().join("\n")
    };
    let swapped = {
        let mut lines = lines.clone();
        lines.swap(1, 2);
        lines.join("\n")
    };
    let with_old_head = {
        let mut lines = fs::read_to_string(&from_backup).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
        *lines.last_mut().unwrap() = text.lines().last().unwrap().to_owned();
        lines.join("\n")
    };
    for (content, expected) in [
        (text.replacen("olga", "rita", 1), "entry 3 does not chain to entry 2"),
        (without(2), "entry 2 is missing"),
        (without(4), "the signed head is at entry 4, and the entries end at 3"),
        (without(5), "the last line is not a signed head"),
        (swapped, "entry 2 follows entry 0"),
        (with_old_head, "nobody vouches for entry 5"),
        (text.replace("\\\"incarnation\\\":1", "\\\"incarnation\\\":2"), "changed"),
    ] {
        assert_ne!(content, text);
        fs::write(&tampered, content).unwrap();
        let error = home.fails(&["audit", "verify", &tampered]);
        assert!(error.contains("BROKEN") && error.contains(expected), "{expected}: {error}");
    }
    let stranger = Coordinator::builder(&home.path("stranger")).start().await.unwrap();
    let other = marblerun_client::chain_pem(
        &stranger.attest().await.unwrap().intermediate,
        &stranger.attest().await.unwrap().root,
    );
    let other_root = other.unwrap().split_inclusive("-----END CERTIFICATE-----\n").nth(1).unwrap().to_owned();
    home.write("other.pem", other_root);
    assert!(
        home.fails(&["audit", "verify", &first, "--root", &home.text("other.pem")]).contains("not signed by the root")
    );

    // The backup is restored: its trail is back, and tells that it was accepted.
    let again = Coordinator::builder(&home.path("seal")).host_key(&home.path("other-host")).same_ports(&coordinator);
    coordinator.terminate().await.unwrap();
    home.ok(&["backup", "restore", &backup, &home.text("seal"), "--force"]);
    let coordinator = again.start().await.unwrap();
    assert_eq!(coordinator.status().await.unwrap(), 1, "its host is gone: {}", coordinator.log());
    home.ok(&["recover", &rec, a, "-i", "--data", "--key", &carol]);
    let told = home.told("rita", a, &[]);
    assert_eq!(told[4..], ["backup olga", "recovery party:carol"]);
    // What was exported before the restore went another way.
    home.ok_as("rita", &["audit", "log", a, "-o", &third]);
    home.ok_as("olga", &["secret", "set", &secrets, a]);
    home.ok_as("rita", &["audit", "log", a, "-o", &third]);
    let forked = home.fails(&["audit", "verify", &second, &third]);
    assert!(forked.contains("not the same in all segments"), "{forked}");
    coordinator.terminate().await.unwrap();
}

/// Where the host's key is still there, an older state is accepted at the start, which is told once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_state_that_is_accepted_says_so() {
    let home = Home(tempfile::tempdir().unwrap());
    let (olga, rita) = (TestUser::new("olga").unwrap(), TestUser::new("rita").unwrap());
    let manifest = manifest(&olga, &rita, &RecoveryKeyPair::new().unwrap());
    let seal: &Path = &home.path("seal");
    let mut coordinator = Coordinator::builder(seal).start().await.unwrap();
    coordinator.client().await.unwrap().set_manifest(manifest.to_string().as_bytes()).await.unwrap();
    let backup = fs::read(seal.join("sealed_data")).unwrap();
    let client = coordinator.client_builder().await.unwrap().identity(olga.identity().unwrap()).build().unwrap();
    client.set_secrets([("s0".to_owned(), load::plain(b"later"))].into()).await.unwrap();
    let restart = Coordinator::builder(seal).same_ports(&coordinator);
    coordinator.terminate().await.unwrap();
    fs::write(seal.join("sealed_data"), backup).unwrap();
    for _ in 0..2 {
        coordinator = restart.clone().start().await.unwrap();
        let client = coordinator.client_builder().await.unwrap().identity(rita.identity().unwrap()).build().unwrap();
        let segment = client.audit_segment(marblerun_client::AuditTrail::Changes, 0).await.unwrap();
        let root = coordinator.attest().await.unwrap().root;
        let proof = marblerun_client::verify_audit(std::slice::from_ref(&segment), &root).unwrap();
        assert_eq!((proof.first, proof.last, proof.incarnation), (1, 2, 2));
        assert!(segment.entries[1].contains("\"event\":\"restore_accepted\",\"actor\":\"coordinator\""), "{segment:?}");
        coordinator.terminate().await.unwrap();
    }
}
