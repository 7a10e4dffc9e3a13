//! What only happens before somebody's eyes: questions, hidden secrets, colours. Played on a real pseudo-terminal.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use marblerun_testkit::Coordinator;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifest/tests/fixtures/manifests").join(name).display().to_string()
}

/// Somebody with a home and a terminal.
struct Person {
    home: tempfile::TempDir,
}

impl Person {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marblerun"));
        command
            .args(args)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("TERM", "xterm-256color");
        command
    }

    /// Types on the terminal; answers what it shows, and the exit code.
    fn types(&self, mut command: Command, input: &str) -> (String, i32) {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let terminal = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let mut child = command
            .stdin(Stdio::from(terminal.try_clone().unwrap()))
            .stdout(Stdio::from(terminal.try_clone().unwrap()))
            .stderr(Stdio::from(terminal))
            .spawn()
            .unwrap();
        drop(command);
        let mut controller = File::from(controller);
        controller.write_all(input.as_bytes()).unwrap();
        let mut shown = Vec::new();
        let mut buffer = [0; 4096];
        // The end of the other side is an error on Linux.
        while let Ok(length @ 1..) = controller.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..length]);
        }
        (String::from_utf8_lossy(&shown).into_owned(), child.wait().unwrap().code().unwrap())
    }

    fn asked(&self, args: &[&str], input: &str) -> (String, i32) {
        self.types(self.command(args), input)
    }

    /// As a script would run it.
    fn unattended(&self, args: &[&str]) -> (String, i32) {
        let output = self.command(args).stdin(Stdio::null()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.code().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_an_update_asks_a_person_and_no_script() {
    let person = Person::new();
    let coordinator = Coordinator::builder(&person.path("seal")).start().await.unwrap();
    let a = coordinator.client_addr.to_string();
    let (cert, key) = (fixture("keys/alice.crt.pem"), fixture("keys/alice.key.pem"));
    let base = fixture("updbase-threshold2.json");
    let proposed = fs::read_to_string(&base).unwrap().replace("\"MaxActivations\": 1", "\"MaxActivations\": 2");
    fs::write(person.path("new.json"), proposed).unwrap();
    assert_eq!(person.unattended(&["manifest", "set", "-i", &base, &a, "-r", "rec.json"]).1, 0);
    let propose = || {
        let (text, code) = person.unattended(&["manifest", "update", "apply", "new.json", &a, "-c", &cert, "-k", &key]);
        assert_eq!(code, 0, "{text}");
    };
    let cancel = ["manifest", "update", "cancel", &a, "-c", &cert, "-k", &key];

    propose();
    let (text, code) = person.asked(&cancel, "n\n");
    assert!(code == 1 && text.contains("[y/N]") && text.contains("nothing was done"), "{text}");
    assert_eq!(person.unattended(&["manifest", "update", "get", &a]).1, 0, "it is still pending");
    let (text, code) = person.asked(&cancel, "y\n");
    assert!(code == 0 && text.contains("Cancellation successful"), "{text}");

    propose();
    let (text, code) = person.asked(&[&cancel[..], &["--yes"]].concat(), "");
    assert!(code == 0 && !text.contains("[y/N]"), "{text}");

    propose();
    let (text, code) = person.unattended(&cancel);
    assert!(code == 0 && !text.contains("[y/N]"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_state_is_given_up_only_by_somebody_who_says_so() {
    let person = Person::new();
    let (seal, host) = (person.path("seal"), person.path("host"));
    let manifest = fixture("updbase-single.json");
    let coordinator = Coordinator::builder(&seal).host_key(&host).start().await.unwrap();
    let a = coordinator.client_addr.to_string();
    let set = ["manifest", "set", "-i", &manifest, &a, "-r", "rec.json"];
    assert_eq!(person.unattended(&set).1, 0);
    let again = Coordinator::builder(&seal).host_key(&host).same_ports(&coordinator);
    coordinator.kill().unwrap();
    fs::remove_file(&host).unwrap();
    let coordinator = again.start().await.unwrap();

    assert_eq!(person.unattended(&set).1, 1, "a script is refused");
    let (text, code) = person.asked(&set, "\n");
    assert!(code == 1 && text.contains("Give it up for ever"), "{text}");
    assert_eq!(coordinator.status().await.unwrap(), 1, "the state still waits");
    let (text, code) = person.asked(&set, "yes\n");
    assert!(code == 0 && text.contains("Manifest successfully set"), "{text}");
    assert_eq!(coordinator.status().await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_not_shown_on_a_terminal_unasked() {
    let person = Person::new();
    let coordinator = Coordinator::builder(&person.path("seal")).start().await.unwrap();
    let a = coordinator.client_addr.to_string();
    let user = ["-c", &fixture("keys/alice.crt.pem"), "-k", &fixture("keys/alice.key.pem")];
    let with_user = |args: &[&'static str]| {
        [args, &[&*a][..], &user[..]].concat().iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()
    };
    let run = |args: &[&'static str], on_terminal: bool| {
        let args = with_user(args);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        if on_terminal { person.asked(&args, "") } else { person.unattended(&args) }
    };
    assert_eq!(
        person.unattended(&["manifest", "set", "-i", &fixture("updbase-single.json"), &a, "-r", "rec.json"]).1,
        0
    );
    fs::write(person.path("s.json"), r#"{"userPlain":{"Key":"c2VjcmV0"}}"#).unwrap();
    assert_eq!(run(&["secret", "set", "s.json"], false).1, 0);

    let (text, code) = run(&["secret", "get", "userPlain"], true);
    assert!(code == 0 && text.contains("hidden") && !text.contains("c2VjcmV0"), "{text}");
    assert!(run(&["secret", "get", "--show", "userPlain"], true).0.contains("c2VjcmV0"));
    assert!(run(&["secret", "get", "userPlain"], false).0.contains("c2VjcmV0"), "scripts get what they ask for");
    for args in [&["secret", "get", "-ojson", "userPlain"][..], &["secret", "get", "--field=value", "userPlain"]] {
        let (text, code) = run(args, true);
        assert!(code == 1 && !text.contains("c2VjcmV0") && text.contains("--show"), "{text}");
    }
    let (text, code) = run(&["secret", "get", "--show", "--field=value", "--encoding=raw", "userPlain"], true);
    assert!(code == 1 && !text.contains("secret\r\n"), "raw bytes never: {text}");
    let (_, code) = run(&["secret", "get", "-o", "saved", "userPlain"], true);
    assert!(code == 0 && fs::read_to_string(person.path("saved")).unwrap().contains("c2VjcmV0"));
}

#[test]
fn colours_are_for_terminals_that_have_and_want_them() {
    let person = Person::new();
    let args = ["manifest", "signature", "missing.json"];
    let escape = '\u{1b}';
    assert!(person.asked(&args, "").0.contains(escape));
    assert!(!person.unattended(&args).0.contains(escape));
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = person.command(&args);
        command.env(name, value);
        let (text, _) = person.types(command, "");
        assert!(text.contains("Error: ") && !text.contains(escape), "{name}: {text:?}");
    }
}

#[test]
fn a_context_and_a_newer_state_are_given_up_only_by_somebody_who_says_so() {
    let person = Person::new();
    assert_eq!(person.unattended(&["context", "add", "old", "localhost:1"]).1, 0);
    assert_eq!(person.asked(&["context", "rm", "old"], "n\n").1, 1);
    assert_eq!(person.unattended(&["context", "show", "old"]).1, 0, "it is still there");
    assert_eq!(person.asked(&["context", "rm", "old"], "y\n").1, 0);
    assert_eq!(person.unattended(&["context", "show", "old"]).1, 1);

    let restore = ["backup", "restore", "backup", "seal", "--force"];
    let (text, code) = person.asked(&restore, "n\n");
    assert!(code == 1 && text.contains("nothing was done"), "{text}");
    let (text, _) = person.asked(&restore[..4], "");
    assert!(!text.contains("[y/N]"), "without --force nothing newer is replaced, so nothing is asked: {text}");
}
