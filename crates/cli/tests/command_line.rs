//! What every command promises without a Coordinator: streams, exit codes, and one JSON document.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn marblerun(args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_marblerun"))
        .args(args)
        .env("HOME", home.path())
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A port on which nobody listens.
fn closed_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn a_group_alone_prints_help_to_stdout_and_succeeds() {
    for args in [
        &[][..],
        &["manifest"],
        &["certificate"],
        &["secret"],
        &["backup"],
        &["audit"],
        &["state"],
        &["manifest", "--help"],
    ] {
        let output = marblerun(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(text(&output.stdout).contains("Usage:"), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_wrong_command_line_fails_with_1_and_tells_on_stderr() {
    for args in [
        &["bogus"][..],
        &["manifest", "bogus"],
        &["status"],
        &["status", "a", "b"],
        &["status", "--bogus", "a"],
        &["status", "a", "--timeout", "0"],
    ] {
        let output = marblerun(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(output.stdout.is_empty() && text(&output.stderr).to_lowercase().starts_with("error: "), "{args:?}");
    }
}

#[test]
fn with_json_every_failure_is_exactly_one_document_on_stdout() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("empty.json"), "{}").unwrap();
    std::fs::write(path("junk"), "junk").unwrap();
    let nobody = closed_port();
    let (manifest, junk, missing) = (path("empty.json"), path("junk"), path("missing"));
    for args in [
        &["bogus", "--output", "json"][..],
        &["status", "-o", "json"],
        &["status", "--format=json", "--bogus", "x"],
        &["status", "-i", &nobody, "-o", "json"],
        &["status", "not an address", "-i", "-ojson"],
        &["manifest", "get", "-i", &nobody, "-o", "json"],
        &["manifest", "set", "-i", &manifest, &nobody, "-o", "json"],
        &["manifest", "verify", "-i", "abc", &nobody, "-o", "json"],
        &["manifest", "check", &manifest, "-o", "json"],
        &["manifest", "signature", &missing, "-o", "json"],
        &["certificate", "root", "-i", &nobody, "-o", "json"],
        &["secret", "get", "a", &nobody, "-i", "-o", "json"],
        &["recover", &junk, &nobody, "-i", "-o", "json"],
        &["recover-with-signature", "public-key", &nobody, "-i", "-o", "json"],
        &["manifest", "log", "-i", &nobody, "-o", "json"],
        &["manifest", "update", "apply", &manifest, &nobody, "-i", "-o", "json"],
        &["manifest", "update", "get", &nobody, "-i", "-o", "json"],
        &["manifest", "update", "cancel", &nobody, "-i", "-o", "json"],
        &["access", "explain", &junk, "-o", "json"],
        &["access", "explain", &nobody, "-i", "-o", "json"],
        &["package-info", &junk, "-o", "json"],
        &["context", "use", "nosuch", "-o", "json"],
        &["context", "show", "-o", "json"],
        &["status", "--context", "nosuch", "-o", "json"],
        &["backup", "inspect", &junk, "-o", "json"],
        &["backup", "inspect", &missing, "-o", "json"],
        &["backup", "verify", &junk, "-o", "json"],
        &["backup", "list", &missing, "-o", "json"],
        &["backup", "create", &nobody, &missing, "-o", "json"],
        &["backup", "create", &missing, &junk, "-o", "json"],
        &["audit", "log", &nobody, "-o", "json"],
        &["audit", "verify", &nobody, "-i", "-o", "json"],
        &["audit", "verify", &junk, "-o", "json"],
        &["audit", "verify", &junk, &missing, "-o", "json"],
        &["state", "inspect", &junk, "-o", "json"],
        &["state", "inspect", &missing, "--sealed-key", "-o", "json"],
        &["state", "export", &junk, "--to", "upstream", "-o", "json"],
        &["state", "export", &junk, "--to", "elsewhere", "-o", "json"],
        &["install", "-o", "json"],
        &["install", "--repository", "r.example/m", "-o", "json"],
        &["install", "--dry-run=client", "-o", "json"],
        &["install", "--dry-run=nobody", "-o", "json"],
        &["uninstall", "-o", "json"],
        &["check", "--kubeconfig", &junk, "-o", "json"],
        &["precheck", "--kubeconfig", &missing, "-o", "json"],
        &["doctor", "-o", "json"],
    ] {
        let output = marblerun(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", text(&output.stdout)));
        assert!(document.is_object(), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}: people see it too");
    }
}

#[test]
fn with_json_every_success_is_exactly_one_document_on_stdout() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("manifest.json");
    let minimal = include_str!("../../manifest/tests/fixtures/manifests/minimal.json");
    std::fs::write(&manifest, minimal).unwrap();
    let manifest = manifest.to_str().unwrap();
    for args in [
        &["version"][..],
        &["manifest", "signature", manifest],
        &["manifest", "check", manifest],
        &["access", "explain", manifest],
        &["context", "list"],
        &["context", "add", "a", "localhost:1"],
        &["context", "use", "--none"],
        &["backup", "list", dir.path().to_str().unwrap()],
    ] {
        let output = marblerun(&[args, &["--output", "json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok(), "{args:?}: {}", text(&output.stdout));
    }
}

#[test]
fn one_word_too_many_is_an_error_of_every_command() {
    for (command, words) in [
        ("manifest get", 1),
        ("manifest log", 1),
        ("manifest set", 2),
        ("manifest verify", 2),
        ("manifest signature", 1),
        ("manifest check", 1),
        ("manifest update apply", 2),
        ("manifest update acknowledge", 2),
        ("manifest update cancel", 1),
        ("manifest update get", 1),
        ("certificate root", 1),
        ("certificate intermediate", 1),
        ("certificate chain", 1),
        ("secret set", 2),
        ("status", 1),
        ("recover", 2),
        ("recover-with-signature public-key", 1),
        ("recover-with-signature encrypt-secret", 1),
        ("recover-with-signature sign-secret", 1),
        ("package-info", 1),
        ("access explain", 1),
        ("version", 1),
    ] {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.extend(std::iter::repeat_n("a", words + 1));
        let output = marblerun(&args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains("unexpected argument"), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn the_findings_of_a_check_are_the_document_also_if_there_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("manifest.json");
    std::fs::write(&manifest, "{}").unwrap();
    let output = marblerun(&["manifest", "check", manifest.to_str().unwrap(), "--output", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!document["errors"].as_array().unwrap().is_empty());
}

#[test]
fn a_file_that_is_no_backup_fails_its_inspection() {
    let dir = tempfile::tempdir().unwrap();
    let junk = dir.path().join("junk");
    for content in [&b""[..], b"junk", &[7; 9000]] {
        std::fs::write(&junk, content).unwrap();
        let output = marblerun(&["backup", "inspect", junk.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains("damaged"));
    }
}

#[test]
fn a_reader_that_goes_away_is_an_error_and_no_panic() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_marblerun"))
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!text(&output.stderr).contains("panicked"));
}

#[test]
fn what_cannot_be_written_is_told_before_the_coordinator_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("manifest.json");
    std::fs::write(&manifest, "{}").unwrap();
    let place = dir.path().join("no/such/folder");
    // Nobody listens, so anything but the place would be another error.
    let output = marblerun(&[
        "manifest",
        "set",
        "-i",
        manifest.to_str().unwrap(),
        &closed_port(),
        "--recoverydata",
        place.to_str().unwrap(),
    ]);
    assert!(text(&output.stderr).contains("cannot be written"), "{}", text(&output.stderr));
    let output = marblerun(&[
        "manifest",
        "set",
        "-i",
        manifest.to_str().unwrap(),
        &closed_port(),
        "--coordinator-cert",
        dir.path().to_str().unwrap(),
    ]);
    assert!(text(&output.stderr).contains(dir.path().to_str().unwrap()), "{}", text(&output.stderr));
}

/// A private RSA key as PEM.
fn recovery_key() -> String {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};

    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let key: Pkcs8V1Der<'_> = key.as_der().unwrap();
    der::pem::encode_string("PRIVATE KEY", der::pem::LineEnding::LF, key.as_ref()).unwrap()
}

#[test]
fn recovery_data_without_the_flag_that_says_so_gets_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let (data, key) = (dir.path().join("recovery.json"), dir.path().join("key.pem"));
    std::fs::write(&data, r#"{"RecoverySecrets":{"a":"AQ==","b":"AQ=="}}"#).unwrap();
    std::fs::write(&key, recovery_key()).unwrap();
    let output = marblerun(&["recover", data.to_str().unwrap(), &closed_port(), "-i", "--key", key.to_str().unwrap()]);
    assert!(text(&output.stderr).contains("add --data"), "{}", text(&output.stderr));
}

/// `-o FILE` names a file for every command that prints data, as text and as JSON.
#[test]
fn a_result_goes_to_the_file_that_is_named_and_not_to_stdout() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("manifest.json"), "{}").unwrap();
    let (manifest, file) = (path("manifest.json"), path("result"));
    let fingerprint = text(&marblerun(&["manifest", "signature", &manifest]).stdout).to_owned();
    let output = marblerun(&["manifest", "signature", &manifest, "-o", &file]);
    assert!(output.status.success() && output.stdout.is_empty());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), fingerprint);
    let output = marblerun(&["manifest", "signature", &manifest, "--format", "json", "-o", &file]);
    assert!(output.status.success() && output.stdout.is_empty());
    let document: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(document["signature"], fingerprint.trim());
    let output = marblerun(&["version", "-o", &path("no/such/folder")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no folder"), "{}", text(&output.stderr));
}

#[test]
fn manifest_set_does_not_take_output_for_the_file_of_the_recovery_data() {
    let output = marblerun(&["manifest", "set", "manifest.json", &closed_port(), "-i", "-o", "recovery.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--recoverydata"), "{}", text(&output.stderr));
}

#[test]
fn where_nobody_listens_it_says_what_to_look_at() {
    let output = marblerun(&["status", "-i", &closed_port()]);
    assert!(text(&output.stderr).contains("Hint: is the Coordinator running"), "{}", text(&output.stderr));
}

#[test]
fn an_interrupted_command_leaves_no_unfinished_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("manifest.json"), "{}").unwrap();
    // Somebody who never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_marblerun"))
        .args(["manifest", "set", "manifest.json", &silent.local_addr().unwrap().to_string()])
        .args(["-i", "--recoverydata", "recovery.json", "--coordinator-cert", "cache.pem", "--format", "json"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _connection = silent.accept().unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["error"]["message"], "interrupted");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["manifest.json"]);
}

/// A command that waits for its input cannot be cancelled, and ends all the same.
#[test]
fn an_interrupted_command_ends_also_while_it_reads_stdin() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_marblerun"))
        .args(["manifest", "check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = std::time::Instant::now();
    let wait = |why: &str| {
        assert!(begun.elapsed().as_secs() < 20, "{why}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    // The mask of signals that it catches has SIGTERM (15) in it.
    let catches = |status: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 14) != 0
    };
    while !catches(&std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap()) {
        wait("it catches no signals");
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => wait("it does not end"),
        }
    };
    assert_eq!(status.code(), Some(143));
}
