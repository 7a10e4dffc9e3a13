//! What a Coordinator must be is settled before it is asked: nobody listens in these tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

const SIGNER: &str = "43361affedeb75affee9baec7e054a5e14883213e5a121b67d74a0e12e9d2b7a";

/// Stderr of a command that fails, run in that folder.
fn fails(dir: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_marblerun"))
        .args(args)
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("XDG_CONFIG_HOME")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn nobody() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn era(more: &str) -> String {
    format!(r#"{{"SignerID":"{SIGNER}","ProductID":3,"SecurityVersion":3{more}}}"#)
}

#[test]
fn without_a_policy_every_attesting_command_says_what_to_do_and_fetches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fingerprint = "ab".repeat(32);
    for args in [
        &["manifest", "get"][..],
        &["manifest", "verify", &fingerprint],
        &["certificate", "root"],
        &["recover-with-signature", "public-key"],
    ] {
        let text = fails(dir.path(), &[args, &[&nobody()]].concat());
        assert!(text.contains("--era-config FILE") && text.contains("era-config.json"), "{text}");
        assert!(text.contains("--insecure"), "{text}");
        assert!(!text.contains("refused"), "the Coordinator was not asked: {text}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is written");
}

#[test]
fn the_file_beside_is_used_and_a_named_one_before_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("era-config.json"), era("")).unwrap();
    let text = fails(dir.path(), &["manifest", "get", &nobody()]);
    assert!(text.starts_with("Reusing existing config file\n") && text.contains("refused"), "now it is asked: {text}");
    let text = fails(dir.path(), &["manifest", "get", &nobody(), "--era-config", "missing.json"]);
    assert!(text.contains("missing.json") && !text.contains("Reusing"), "{text}");
}

#[test]
fn a_bad_policy_is_told_before_the_coordinator_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    for (json, part) in [
        (era(r#","insecureskipverify":true"#), "a file cannot skip verification"),
        (r#"{"ProductID":3,"SecurityVersion":3}"#.to_owned(), "neither UniqueID nor SignerID"),
        (era(r#","UniqueID":"12""#), "UniqueID must be 64 hexadecimal digits"),
        ("[]".to_owned(), "cannot unmarshal array"),
    ] {
        std::fs::write(dir.path().join("era-config.json"), json).unwrap();
        let text = fails(dir.path(), &["manifest", "get", &nobody()]);
        assert!(text.contains("reading era-config.json") && text.contains(part), "{text}");
        let text = fails(dir.path(), &["manifest", "get", &nobody(), "--insecure"]);
        assert!(!text.contains("era-config.json"), "with --insecure the file is not opened: {text}");
    }
}

#[test]
fn what_has_no_effect_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let json = era(r#","AcceptedTCBStatuses":["Revoked"],"SecurityVersoin":9"#);
    std::fs::write(dir.path().join("era-config.json"), json).unwrap();
    let args = ["manifest", "get", &nobody(), "--accepted-tcb-statuses", "uptodate,OutOfDate"];
    let text = fails(dir.path(), &args);
    for part in ["say --accepted-tcb-statuses", "did you mean SecurityVersion?", "\"uptodate\" is no TCB status"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("\"OutOfDate\" is no"), "{text}");
}
