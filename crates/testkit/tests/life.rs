//! The life of a deployment, with the real programs: provision, write, restart, back up, restore.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use marblerun_testkit::{Coordinator, FakeMarble, RecoveryKeyPair, TestUser, binary, load};
use serde_json::{Value, json};

const UUID: &str = "22222222-2222-4222-8222-222222222222";

/// Runs `marblerun` with a certificate cache of the test's own.
fn marblerun(home: &Path, args: &[&str]) -> Output {
    Command::new(binary("marblerun"))
        .args(args)
        .arg("--coordinator-cert")
        .arg(home.join("coordinator-cert.pem"))
        .output()
        .unwrap()
}

fn ok(home: &Path, args: &[&str]) -> String {
    let output = marblerun(home, args);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{args:?}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
    stdout
}

fn fails(home: &Path, args: &[&str]) -> String {
    let output = marblerun(home, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn path(home: &Path, name: &str) -> String {
    home.join(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_provisions_restarts_backs_up_and_restores_from_the_command_line() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let (user, key) = (TestUser::new("writer").unwrap(), RecoveryKeyPair::new().unwrap());
    fs::write(home.join("key.pem"), key.private_pem().unwrap()).unwrap();
    fs::write(home.join("user.crt"), &user.certificate_pem).unwrap();
    fs::write(home.join("user.key"), &user.key_pem).unwrap();
    let manifest = load::manifest(&user, &[("alice", key.public_pem().unwrap())], 2).unwrap();
    fs::write(home.join("manifest.json"), &manifest).unwrap();
    let m = path(home, "manifest.json");
    let rec = path(home, "recovery.json");

    let coordinator = Coordinator::builder(&home.join("seal")).host_key(&home.join("host")).start().await.unwrap();
    let address = coordinator.client_addr.to_string();
    let a = address.as_str();

    // Mistakes first: nothing listens for secrets yet, and recovery data must have a place to go.
    assert!(fails(home, &["status", a]).contains("No Coordinator certificate is cached"));
    assert!(fails(home, &["manifest", "set", &m, a, "-i", "-r", "/nonexistent/x.json"]).contains("cannot be written"));
    assert_eq!(coordinator.status().await.unwrap(), 2, "so nothing was set");

    let set = ok(home, &["manifest", "set", &m, a, "-i", "-r", &rec]);
    let fingerprint = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &manifest));
    assert_eq!(
        set,
        format!(
            "Successfully verified Coordinator, now uploading manifest\nManifest signature: {fingerprint}\n\
             Manifest successfully set\nRecovery data saved to: {rec}\n"
        )
    );
    let recovery: Value = serde_json::from_slice(&fs::read(&rec).unwrap()).unwrap();
    assert!(recovery["RecoverySecrets"]["alice"].is_string());
    assert_eq!(ok(home, &["manifest", "verify", &m, a, "-i"]), "OK\n");
    assert_eq!(ok(home, &["manifest", "verify", &fingerprint, a, "-i"]), "OK\n");
    assert!(fails(home, &["manifest", "verify", &"0".repeat(64), a, "-i"]).contains("different manifest"));
    assert!(ok(home, &["status", a]).starts_with("3: Coordinator is running correctly"));
    assert!(ok(home, &["manifest", "log", a]).contains("Initial manifest set"));
    assert_eq!(ok(home, &["manifest", "get", a, "-i"]).lines().nth(1).unwrap().as_bytes(), manifest);
    let status: Value = serde_json::from_str(&ok(home, &["status", a, "--output", "json"])).unwrap();
    assert_eq!(status["code"], 3);

    // Secrets of a user.
    fs::write(home.join("secrets.json"), json!({"s0": {"Key": "aGVsbG8="}}).to_string()).unwrap();
    let (crt, key_file) = (path(home, "user.crt"), path(home, "user.key"));
    let auth = ["--cert", crt.as_str(), "--key", key_file.as_str()];
    let secrets = path(home, "secrets.json");
    let with = |args: &[&str]| [args, &auth[..]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let run = |args: &[&str]| ok(home, &with(args).iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(run(&["secret", "set", &secrets, a]), "Secret successfully set\n");
    let got: Value = serde_json::from_str(&run(&["secret", "get", "s0", "shared", a, "--output", "json"])).unwrap();
    assert_eq!(got["s0"]["Private"], "aGVsbG8=");
    assert!(fails(home, &["secret", "get", "s0", a]).contains("--cert"));

    // A Marble, and what it was given.
    let first = FakeMarble::new().unwrap().activate(coordinator.mesh_addr, "app", UUID).await.unwrap();
    assert_eq!(first.argv, ["app", "--serve"]);

    // A backup, live; then a change that is not in it.
    fs::create_dir(home.join("backups")).unwrap();
    ok(home, &["backup", "create", &path(home, "seal"), &path(home, "backups")]);
    fs::write(home.join("secrets.json"), json!({"s0": {"Key": "bGF0ZXI="}}).to_string()).unwrap();
    run(&["secret", "set", &secrets, a]);
    let backup = fs::read_dir(home.join("backups")).unwrap().next().unwrap().unwrap().path().display().to_string();
    let key_pem = path(home, "key.pem");
    assert!(ok(home, &["backup", "list", &path(home, "backups")]).contains("sealed_data"));
    assert!(!ok(home, &["backup", "inspect", &backup]).is_empty());
    let verified: Value =
        serde_json::from_str(&ok(home, &["backup", "verify", &backup, "--key", &key_pem, "--output", "json"])).unwrap();
    assert_eq!(verified["manifestFingerprint"], fingerprint.as_str());
    fs::write(home.join("stranger.pem"), RecoveryKeyPair::new().unwrap().private_pem().unwrap()).unwrap();
    fails(home, &["backup", "verify", &backup, "--key", &path(home, "stranger.pem")]);

    // A restart needs nobody and keeps everything, derived secrets too.
    let root = coordinator.attest().await.unwrap().root;
    let again = Coordinator::builder(&home.join("seal")).host_key(&home.join("host")).same_ports(&coordinator);
    coordinator.terminate().await.unwrap();
    let coordinator = again.start().await.unwrap();
    assert_eq!(coordinator.attest().await.unwrap().root, root);
    let second = FakeMarble::new().unwrap().activate(coordinator.mesh_addr, "app", UUID).await.unwrap();
    for name in ["SHARED", "OWN"] {
        assert_eq!(first.text(name).unwrap(), second.text(name).unwrap(), "{name}");
    }

    // Restore on another host: an older state is replaced only on purpose, then recovery.
    fails(home, &["backup", "restore", &backup, &path(home, "seal")]);
    let again = Coordinator::builder(&home.join("elsewhere")).host_key(&home.join("other")).same_ports(&coordinator);
    coordinator.terminate().await.unwrap();
    ok(home, &["backup", "restore", &backup, &path(home, "elsewhere")]);
    let coordinator = again.start().await.unwrap();
    assert_eq!(coordinator.status().await.unwrap(), 1, "{}", coordinator.log());
    assert!(ok(home, &["status", "-i", a]).starts_with("1: Coordinator is in recovery mode."));
    assert!(fails(home, &["manifest", "set", &m, a, "-i"]).contains("--discard-state"));
    assert!(ok(home, &["status", a]).starts_with("1:"), "recovery mode is believed of anyone");
    let stale = fails(home, &["manifest", "log", a]);
    assert!(stale.contains("is not the cached root") && stale.contains(&path(home, "coordinator-cert.pem")), "{stale}");
    let stranger = path(home, "stranger.pem");
    assert!(fails(home, &["recover", &rec, a, "-i", "--data", "--key", &stranger]).contains("another key"));
    assert_eq!(ok(home, &["recover", &rec, a, "-i", "--data", "--key", &key_pem]), "Recovery successful.\n");
    assert_eq!(coordinator.attest().await.unwrap().root, root);
    assert!(ok(home, &["status", a]).starts_with("3:"), "the cached certificate is good again");
    let got: Value = serde_json::from_str(&run(&["secret", "get", "s0", a, "--output", "json"])).unwrap();
    assert_eq!(got["s0"]["Private"], "aGVsbG8=", "the value of the time of the backup");
    coordinator.terminate().await.unwrap();
}

/// A name that the certificate does not have is another mistake than another Coordinator, and has another remedy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_not_in_the_certificate_is_told_with_those_that_are() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("manifest.json"), load::manifest(&TestUser::new("writer").unwrap(), &[], 1).unwrap()).unwrap();
    let manifest = path(home, "manifest.json");
    let builder = Coordinator::builder(&home.join("seal")).env("EDG_COORDINATOR_DNS_NAMES", "coordinator.example");
    let coordinator = builder.start().await.unwrap();
    let (right, wrong) = (coordinator.client_addr.to_string(), format!("localhost:{}", coordinator.client_addr.port()));

    let refused = fails(home, &["manifest", "set", &manifest, &wrong, "-i"]);
    for promised in ["localhost", "coordinator.example", "127.0.0.1", "Hint: connect to a name"] {
        assert!(refused.contains(promised), "{promised:?}: {refused}");
    }
    assert_eq!(coordinator.status().await.unwrap(), 2, "so nothing was set");
    ok(home, &["manifest", "set", &manifest, &right, "-i"]);
    assert!(fails(home, &["status", &wrong]).contains("Hint: connect to a name"));
    let output = marblerun(home, &["status", &wrong, "-i"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is for other names than this address"));
    assert!(output.stdout.starts_with(b"3: "));
}

/// A file put in place under a running Coordinator is never written over; the restart loads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_copied_over_the_live_one_is_what_the_restart_loads() {
    let home = tempfile::tempdir().unwrap();
    let seal = home.path().join("seal");
    let user = TestUser::new("writer").unwrap();
    let coordinator = Coordinator::builder(&seal).start().await.unwrap();
    coordinator.client().await.unwrap().set_manifest(&load::manifest(&user, &[], 2).unwrap()).await.unwrap();
    let client = coordinator.client_builder().await.unwrap().identity(user.identity().unwrap()).build().unwrap();
    let write = |value: &'static str| {
        let client = client.clone();
        async move { client.set_secrets(BTreeMap::from([("s0".to_owned(), load::plain(value.as_bytes()))])).await }
    };
    write("backed up").await.unwrap();
    let backup = home.path().join("backup");
    fs::copy(seal.join("sealed_data"), &backup).unwrap();
    write("later").await.unwrap();
    fs::copy(&backup, seal.join("sealed_data")).unwrap();
    assert!(write("lost?").await.is_err(), "nothing is acknowledged any more");
    let again = Coordinator::builder(&seal).same_ports(&coordinator);
    coordinator.terminate().await.unwrap();
    let coordinator = again.start().await.unwrap();
    assert_eq!(coordinator.status().await.unwrap(), 3, "simulation serves an older state, with a warning");
    let client = coordinator.client_builder().await.unwrap().identity(user.identity().unwrap()).build().unwrap();
    let stored = client.secrets(&["s0".to_owned()]).await.unwrap();
    assert_eq!(stored["s0"].private.as_ref().unwrap().0, b"backed up");
}

/// No secret that a user or the Coordinator made stands in any log, metric, or file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_secrets_are_found_nowhere() {
    let home = tempfile::tempdir().unwrap();
    let seal = home.path().join("seal");
    let (user, key) = (TestUser::new("writer").unwrap(), RecoveryKeyPair::new().unwrap());
    let coordinator = Coordinator::builder(&seal)
        .host_key(&home.path().join("host"))
        .env("EDG_DEBUG_LOGGING", "1")
        .prometheus()
        .start()
        .await
        .unwrap();
    let manifest = load::manifest(&user, &[("alice", key.public_pem().unwrap())], 1).unwrap();
    let secrets = coordinator.client().await.unwrap().set_manifest(&manifest).await.unwrap();
    let client = coordinator.client_builder().await.unwrap().identity(user.identity().unwrap()).build().unwrap();
    let planted = "planted-secret-4711-do-not-show";
    client.set_secrets(BTreeMap::from([("s0".to_owned(), load::plain(planted.as_bytes()))])).await.unwrap();
    let shared = client.secrets(&["shared".to_owned()]).await.unwrap()["shared"].private.clone().unwrap().0;
    let marble = FakeMarble::new().unwrap().activate(coordinator.mesh_addr, "app", UUID).await.unwrap();
    let recovery = key.decrypt(&secrets["alice"].0).unwrap();

    let mut haystacks = vec![("log".to_owned(), coordinator.log().into_bytes())];
    for page in ["metrics", "events"] {
        let url = format!("{}/{page}", coordinator.prometheus_addr.unwrap());
        haystacks.push((page.to_owned(), http_get(&url).await));
    }
    let again = Coordinator::builder(&seal).host_key(&home.path().join("host")).env("EDG_DEBUG_LOGGING", "1");
    coordinator.terminate().await.unwrap();
    let coordinator = again.start().await.unwrap();
    haystacks.push(("log after restart".to_owned(), coordinator.log().into_bytes()));
    for entry in fs::read_dir(&seal).unwrap() {
        let path = entry.unwrap().path();
        haystacks.push((path.display().to_string(), fs::read(&path).unwrap()));
    }
    let own = hex::decode(marble.text("OWN").unwrap()).unwrap();
    for needle in [planted.as_bytes(), &shared, &recovery, &own] {
        for form in
            [needle.to_vec(), hex::encode(needle).into_bytes(), marblerun_api::bytes::encode(needle).into_bytes()]
        {
            for (name, haystack) in &haystacks {
                assert!(!haystack.windows(form.len()).any(|window| window == form), "a secret stands in {name}");
            }
        }
    }
}

async fn http_get(url: &str) -> Vec<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let (address, page) = url.split_once('/').unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /{page} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    answer
}
