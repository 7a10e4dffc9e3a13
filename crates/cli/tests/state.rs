//! `marblerun state`: what a sealed state tells with and without a key, and what an export refuses.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/fixtures/upstream").join(name)
}

fn key(number: u32) -> String {
    let path = format!("../store/tests/fixtures/keys/recovery{number}_priv.pem");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

fn run(args: &[&str], paths: &[&Path]) -> Output {
    let paths = paths.iter().map(|path| path.as_os_str());
    Command::new(env!("CARGO_BIN_EXE_marblerun"))
        .arg("state")
        .args(args)
        .args(paths)
        .env_remove("MARBLERUN_SIMULATION_HOST_KEY")
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

fn fails(args: &[&str], paths: &[&Path]) -> String {
    let output = run(args, paths);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn without_a_key_the_layout_of_an_upstream_file_is_told() {
    let single = json(&run(&["inspect", "--format", "json"], &[&fixture("single")]));
    assert_eq!((&single["condition"], &single["sealedKey"]["kind"]), (&"upstream".into(), &"upstream_bare".into()));
    assert_eq!((&single["upstream"]["headerBytes"], &single["upstream"]["sealedBytes"]), (&4.into(), &4751.into()));
    assert!(single["contents"].is_null());

    let shamir = json(&run(&["inspect", "--format", "json"], &[&fixture("shamir-2of3")]));
    assert_eq!(shamir["upstream"]["recoveryHashes"].as_array().unwrap().len(), 3);
    assert_eq!(shamir["recovery"][0]["scheme"], "unknown", "hashes do not tell how many are needed");

    let text = String::from_utf8(run(&["inspect"], &[&fixture("multi-xor-2")]).stdout).unwrap();
    assert!(text.contains("recovery hash map of 2 parties"), "{text}");
    assert!(text.contains("6c65561b2cd83357a6e6b33a1d70973a14f9f323e135065273e5c90fd471686a"), "{text}");
    assert!(text.contains("of the Go Coordinator without enclave"), "{text}");
}

#[test]
fn with_keys_the_contents_are_told_and_no_value_of_a_secret() {
    let data = fixture("multi-xor-2/recovery_data.json");
    let (one, two, data) = (key(1), key(2), data.display().to_string());
    let args = ["inspect", "--key", &one, "-k", &two, "--recoverydata", &data];
    let opened = json(&run(&[&args[..], &["--format", "json"]].concat(), &[&fixture("multi-xor-2/sealed_data")]));
    let expected: Value =
        serde_json::from_slice(&std::fs::read(fixture("multi-xor-2/expected.json")).unwrap()).unwrap();
    let contents = &opened["contents"];
    assert_eq!(contents["manifest"]["fingerprint"], expected["manifest_fingerprint"]);
    assert_eq!(contents["rootFingerprint"], expected["root_cert_sha256"]);
    assert_eq!((&contents["phase"], &opened["openedBy"]), (&"running".into(), &"recovery keys".into()));
    assert_eq!(contents["recovery"][0]["parties"], serde_json::json!(["alice", "bob"]));

    let by_itself = run(&["inspect", "--sealed-key"], &[&fixture("multi-xor-2")]);
    let text = String::from_utf8(by_itself.stdout).unwrap();
    assert!(text.contains("opened with sealed_key") && text.contains("2 of 2: alice, bob"), "{text}");
    let dek = expected["dek_hex"].as_str().unwrap();
    assert!(!text.contains(dek) && !opened.to_string().contains(dek));
}

#[test]
fn what_does_not_open_it_is_told_with_what_to_do() {
    let (first, third) = (key(1), key(3));
    let data = fixture("multi-xor-2/recovery_data.json").display().to_string();
    let args = |key| ["inspect", "--key", key, "--recoverydata", &data];
    let source = fixture("multi-xor-2");
    assert!(fails(&args(&first), &[&source]).contains("one more recovery secret is needed"));
    assert!(fails(&args(&third), &[&source]).contains("decrypts none of the secrets"));
    assert!(fails(&["inspect", "--recoverydata", &data], &[&source]).contains("add --key"));
    assert!(fails(&["inspect", "--sealed-key"], &[&source.join("sealed_data")]).contains("say what opens it"));
}

#[test]
fn an_export_names_its_folder_and_overwrites_nothing() {
    let home = tempfile::tempdir().unwrap();
    let source = fixture("shamir-2of3");
    assert!(fails(&["export", "--to", "upstream"], &[&source]).contains("-o DIR"));
    let out = home.path().join("out");
    let folder = out.display().to_string();
    let args = ["export", "--to", "upstream", "-o", &folder];
    let done = json(&run(&[&args[..], &["--format", "json"]].concat(), &[&source]));
    assert_eq!(done["openedBy"], "sealed_key");
    let bytes = |name: &str| std::fs::read(out.join(name)).unwrap();
    assert_eq!(bytes("sealed_key"), std::fs::read(source.join("sealed_key")).unwrap(), "the same key, from the shares");
    let before = bytes("sealed_data");
    assert!(fails(&args, &[&source]).contains("exists and is not overwritten"));
    assert_eq!(bytes("sealed_data"), before);

    let warnings =
        String::from_utf8(run(&["export", "--to", "upstream", "-o", &format!("{folder}2")], &[&source]).stderr);
    assert!(warnings.unwrap().contains("in the clear"));
    let bare = format!("{folder}3");
    assert!(run(&["export", "--to", "upstream", "--no-sealed-key", "-o", &bare], &[&source]).status.success());
    assert!(!Path::new(&bare).join("sealed_key").exists());
}
