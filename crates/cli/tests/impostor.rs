//! Servers that are not what they seem, old, silent or hostile: what the command makes of them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

/// HTTP status and body for a method and path, the query included.
type Answers = Box<dyn Fn(&str, &str) -> (u16, Value) + Send>;

/// A folder with the certificates of one or two Coordinators.
struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { dir: tempfile::tempdir().unwrap() };
        for name in ["root", "other"] {
            stage.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout {name}.key -out {name}.pem \
                 -subj /CN=Root -days 9 -sha384 -addext subjectAltName=IP:127.0.0.1"
            ));
            stage.openssl(&format!(
                "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout {name}-i.key -out {name}-i.csr -subj /CN=Intermediate \
                 -addext basicConstraints=critical,CA:TRUE"
            ));
            stage.openssl(&format!(
                "x509 -req -in {name}-i.csr -CA {name}.pem -CAkey {name}.key -CAcreateserial -copy_extensions copyall -days 9 -sha384 -out {name}-i.pem"
            ));
        }
        stage
    }

    fn openssl(&self, line: &str) {
        let done = Command::new("openssl").args(line.split(' ')).current_dir(self.dir.path()).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// `openssl dgst` over bytes, with the key of that name.
    fn signature(&self, key: &str, bytes: &[u8]) -> String {
        fs::write(self.path("signed"), bytes).unwrap();
        self.openssl(&format!("dgst -sha256 -sign {key}.key -out signature signed"));
        STANDARD.encode(fs::read(self.path("signature")).unwrap())
    }

    /// As [`Stage::serve_ours`], as the original's Coordinators, which cannot attest an incarnation.
    fn serve(&self, answers: Answers) -> String {
        self.serve_ours(Box::new(move |method, path| {
            if path.starts_with("/api/v3/attestation") { unknown() } else { answers(method, path) }
        }))
    }

    /// Serves with the root's key until the test ends; answers the address.
    fn serve_ours(&self, answers: Answers) -> String {
        let chain = vec![CertificateDer::from_pem_file(self.path("root.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.path("root.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for peer in listener.incoming() {
                let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut stream = BufReader::new(rustls::StreamOwned::new(connection, peer.unwrap()));
                let mut head = String::new();
                // Whoever distrusts the certificate says nothing more.
                while stream.read_line(&mut head).is_ok_and(|length| length > 2) {}
                let Some((method, path)) = head.split_once(' ') else { continue };
                let path = path.split(' ').next().unwrap();
                let (code, body) = answers(method, path);
                let body = body.to_string();
                let head = format!("HTTP/1.1 {code} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.get_mut().write_all(format!("{head}{body}").as_bytes());
                stream.get_mut().conn.send_close_notify();
                let _ = stream.get_mut().flush();
            }
        });
        address
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marblerun"));
        command.args(args).current_dir(self.dir.path()).env_clear().env("HOME", self.dir.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a success.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{args:?}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
        stdout
    }

    /// Standard error of a failure, and its kind of exit code.
    fn fails(&self, args: &[&str]) -> (String, i32) {
        let output = self.run(&[args, &["--exit-code"]].concat());
        (String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
    }
}

fn success(data: Value) -> (u16, Value) {
    (200, json!({"status": "success", "data": data}))
}

fn unknown() -> (u16, Value) {
    (405, json!({"status": "error", "data": null, "message": ""}))
}

#[test]
fn a_planted_intermediate_is_handed_out_to_nobody() {
    let stage = Stage::new();
    let chain = stage.text("other-i.pem") + &stage.text("root.pem");
    let address = stage.serve(Box::new(move |_, _| success(json!({"cert": chain, "quote": null}))));
    for args in [
        &["certificate", "intermediate", "-i", &address][..],
        &["certificate", "chain", "-i", &address],
        &["manifest", "get", "-i", "--keep-cert", &address],
    ] {
        let (text, code) = stage.fails(args);
        assert!(code == 10 && text.contains("does not belong to its root"), "{args:?} {code}: {text}");
    }
    assert!(!stage.path("marblerunIntermediateCA.crt").exists());
    assert!(!stage.path(".config").exists(), "nothing was cached");
}

#[test]
fn whether_a_state_waits_is_known_before_a_manifest_is_set_over_it() {
    let stage = Stage::new();
    let chain = stage.text("root-i.pem") + &stage.text("root.pem");
    fs::write(stage.path("m.json"), "{}").unwrap();
    let address = stage.serve(Box::new(move |method, path| match (method, path) {
        ("GET", "/api/v2/quote") => success(json!({"cert": chain, "quote": null})),
        ("GET", _) => (500, json!({"status": "error", "data": null, "message": "busy"})),
        _ => success(json!({"RecoverySecrets": {}})),
    }));
    let (text, code) = stage.fails(&["manifest", "set", "-i", "m.json", &address]);
    assert!(code != 0 && text.contains("asking for the state of the Coordinator"), "{code}: {text}");
}

#[test]
fn what_a_stranger_says_cannot_steer_the_terminal() {
    let stage = Stage::new();
    let address = stage.serve(Box::new(|_, _| {
        (500, json!({"status": "error", "data": null, "message": "\u{1b}[2K\r\u{1b}[1AOK \u{202e}x"}))
    }));
    let (text, _) = stage.fails(&["manifest", "verify", "-i", &"0".repeat(64), &address]);
    assert!(text.contains("OK") && !text.contains(['\u{1b}', '\r', '\u{202e}']), "{text:?}");
    let recovering = "1: \u{1b}[2J3: running";
    let address = stage.serve(Box::new(move |_, _| success(json!({"code": 1, "message": recovering}))));
    assert!(!stage.ok(&["status", "-i", &address]).contains('\u{1b}'));
}

#[test]
fn a_manifest_that_the_root_did_not_sign_is_not_printed() {
    let stage = Stage::new();
    let manifest = br#"{"Packages":{}}"#;
    let fingerprint = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, manifest));
    let (good, foreign) = (stage.signature("root", manifest), stage.signature("other", manifest));
    for (signature, stated, expected) in [
        (&good, fingerprint.clone(), None),
        (&foreign, fingerprint.clone(), Some("did not sign the manifest")),
        (&good, "00".repeat(32), Some("does not have the fingerprint")),
    ] {
        let chain = stage.text("root-i.pem") + &stage.text("root.pem");
        let signature = signature.clone();
        let address = stage.serve(Box::new(move |_, path| match path {
            "/api/v2/quote" => success(json!({"cert": chain, "quote": null})),
            _ => success(json!({
                "manifest": STANDARD.encode(manifest),
                "manifestFingerprint": stated,
                "manifestSignatureRootECDSA": signature,
            })),
        }));
        for args in [
            &["manifest", "get", "-i", &address][..],
            &["manifest", "verify", "-i", &fingerprint, &address],
            &["access", "explain", &address, "-i", "--coordinator-cert", "c.pem"],
        ] {
            // What `access explain` relies on.
            fs::write(stage.path("c.pem"), stage.text("root-i.pem") + &stage.text("root.pem")).unwrap();
            match expected {
                None => drop(stage.ok(args)),
                Some(expected) => {
                    let (text, code) = stage.fails(args);
                    assert!(code == 10 && text.contains(expected), "{args:?} {code}: {text}");
                    let stdout = String::from_utf8(stage.run(args).stdout).unwrap();
                    assert!(!stdout.contains("Packages"), "{stdout}");
                }
            }
        }
    }
}

#[test]
fn an_old_coordinator_with_v1_alone_is_understood() {
    let stage = Stage::new();
    let manifest = r#"{"Packages":{"a":{"SecurityVersion":1,"x":[ 1 ]},"b":{}}}"#;
    let raw = STANDARD.encode(manifest);
    let fingerprint = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, manifest.as_bytes()));
    let signature = stage.signature("root", manifest.as_bytes());
    let chain = stage.text("root-i.pem") + &stage.text("root.pem");
    fs::write(stage.path("cache.pem"), &chain).unwrap();
    let answer = json!({"ManifestSignatureRootECDSA": signature, "ManifestSignature": fingerprint, "Manifest": raw});
    let log = [
        r#"{"update":"SecurityVersion increased","package":"a","new version":7}"#,
        r#"{"update":"Complete Manifest updated"}"#,
        r#"{"update":"SecurityVersion increased","package":"b","new version":3}"#,
    ]
    .join("\n");
    let address = stage.serve(Box::new(move |method, path| match (method, path) {
        ("GET", "/quote") => success(json!({"Cert": chain, "Quote": null})),
        ("GET", "/status") => success(json!({"StatusCode": 3, "StatusMessage": "old"})),
        ("GET", "/manifest") => success(answer.clone()),
        ("GET", "/update") => success(json!(log.clone() + "\n")),
        ("POST", "/update" | "/update-cancel") => success(Value::Null),
        ("POST", "/update-manifest") => success(json!("2 users still need to acknowledge")),
        ("GET", "/update-manifest") => success(json!({"manifest": raw, "message": "", "missingUsers": ["x", "y"]})),
        _ => unknown(),
    }));
    let cached = |args: &[&str]| {
        let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        all.extend([address.clone(), "--coordinator-cert".to_owned(), "cache.pem".to_owned()]);
        all
    };
    let ok = |args: &[&str]| {
        let all = cached(args);
        stage.ok(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifest/tests/fixtures/manifests/keys");
    let (cert, key) = (fixtures.join("alice.crt.pem"), fixtures.join("alice.key.pem"));
    let user = ["-c", cert.to_str().unwrap(), "-k", key.to_str().unwrap()];
    fs::write(stage.path("m.json"), manifest).unwrap();
    let with_user = |args: &[&str]| ok(&[args, &user[..]].concat());

    assert_eq!(ok(&["status"]), "3: old\n");
    assert!(ok(&["manifest", "get", "-i"]).ends_with(&format!("{manifest}\n")));
    let effective = ok(&["manifest", "get", "-i", "-u"]);
    let expected = manifest.replace(r#""b":{}"#, r#""b":{"SecurityVersion": 3}"#);
    assert!(effective.ends_with(&format!("{expected}\n")), "only what came after the full update: {effective}");
    assert!(ok(&["manifest", "log"]).contains("\"new version\":7"));
    assert_eq!(with_user(&["manifest", "update", "apply", "m.json"]), "Update manifest set successfully\n");
    assert_eq!(
        with_user(&["manifest", "update", "acknowledge", "m.json"]),
        "Acknowledgement successful:\n2 users still need to acknowledge the update manifest.\n\
         The following users have not yet accepted: User0, User1\n"
    );
    assert_eq!(with_user(&["manifest", "update", "cancel"]), "Cancellation successful\n");
    assert_eq!(ok(&["manifest", "update", "get"]), manifest);
    assert_eq!(
        ok(&["manifest", "update", "get", "--missing"]),
        "The following users have not yet acknowledged the update: [x y]\n"
    );
    let (text, _) = stage.fails(&["manifest", "get", "-i", "--nonce", "n", &address]);
    assert!(
        text.contains("using custom nonce requires /api/v2, but the Coordinator does not support /api/v2"),
        "{text}"
    );
    assert!(ok(&["version", "-i"]).contains("Unable to find MarbleRun Coordinator"), "v1 tells no version");
}

#[test]
fn the_nonce_that_is_typed_is_what_the_coordinator_is_asked_with() {
    let stage = Stage::new();
    let chain = stage.text("root-i.pem") + &stage.text("root.pem");
    let address = stage.serve(Box::new(move |_, path| match path {
        "/api/v2/quote?nonce=w7_Dvw%3D%3D" => success(json!({"cert": chain, "quote": null})),
        _ => unknown(),
    }));
    let args = |nonce| ["certificate", "root", "-i", "-o", "-", "--nonce", nonce, &address];
    assert_eq!(stage.ok(&args("\u{ff}\u{ff}")), stage.text("root.pem"));
    assert!(stage.fails(&args("other")).0.contains("nonce"));
}

#[test]
fn an_answer_without_data_is_an_error_and_no_crash() {
    let stage = Stage::new();
    let address = stage.serve(Box::new(|_, _| success(Value::Null)));
    for args in
        [&["status", "-i", &address][..], &["manifest", "get", "-i", &address], &["manifest", "log", "-i", &address]]
    {
        assert_eq!(stage.fails(args).1, 1, "{args:?}");
    }
    let address = stage.serve(Box::new(|_, _| (502, json!("no envelope"))));
    let (text, code) = stage.fails(&["status", "-i", &address]);
    assert!(code == 1 && text.contains("502 Bad Gateway"), "{text}");
}

#[test]
fn recovery_mode_is_believed_of_anyone_and_nothing_else_is() {
    let stage = Stage::new();
    fs::write(stage.path("cache.pem"), stage.text("other-i.pem") + &stage.text("other.pem")).unwrap();
    for (state, expected) in [(1, 0), (2, 10), (3, 10)] {
        let address = stage.serve(Box::new(move |_, _| success(json!({"code": state, "message": "m"}))));
        let output = stage.run(&["status", &address, "--coordinator-cert", "cache.pem"]);
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            (output.status.code(), shown.as_str()),
            if expected == 0 { (Some(0), "1: m\n") } else { (Some(1), "") }
        );
        if expected != 0 {
            assert_eq!(stage.fails(&["status", &address, "--coordinator-cert", "cache.pem"]).1, expected);
        }
    }
}

#[test]
fn a_silent_server_ends_with_the_time_limit_or_with_ctrl_c_and_leaves_nothing() {
    let stage = Stage::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let begun = Instant::now();
    assert_eq!(stage.fails(&["status", "-i", &address, "--timeout", "1"]).1, 11);
    assert!(begun.elapsed() < Duration::from_secs(30));

    fs::create_dir(stage.path("out")).unwrap();
    fs::write(stage.path("m.json"), "{}").unwrap();
    let mut command = stage.command(&["manifest", "set", "-i", "m.json", &address, "-r", "out/rec.json"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The place for recovery data is made before anything is sent.
    while fs::read_dir(stage.path("out")).unwrap().next().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(200));
    let signalled = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(stage.path("out")).unwrap().count(), 0, "no unfinished file");
}

#[test]
fn a_restored_state_is_told_loudly_and_once_and_nobody_is_refused_for_what_is_only_said() {
    let stage = Stage::new();
    let chain = stage.text("root-i.pem") + &stage.text("root.pem");
    let config = stage.path(".config/marblerun");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("coordinator-cert.pem"), &chain).unwrap();
    let life = Arc::new(AtomicU64::new(1));
    let told = Arc::clone(&life);
    let address = stage.serve_ours(Box::new(move |_, path| {
        assert!(path.starts_with("/api/v3/attestation?nonce="), "one request: {path}");
        let number = told.load(Ordering::Relaxed);
        let id = format!("{number:032x}");
        (200, json!({"cert": chain, "quote": null, "tee": "simulation", "incarnation": number, "incarnationId": id}))
    }));
    for (number, expected) in [
        (1, None),
        (
            2,
            Some(
                "RESTORED OR RECOVERED since it was last seen here: incarnation 1 -> 2 (as it says; nothing is attested)",
            ),
        ),
        (2, None),
        (1, Some("incarnation 2 -> 1 (as it says; nothing is attested), from a backup that is older than that life")),
    ] {
        life.store(number, Ordering::Relaxed);
        let output = stage.run(&["certificate", "root", "-i", "-o", "-", &address]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        match expected {
            Some(expected) => assert!(stderr.contains(expected), "{stderr}"),
            None => assert!(!stderr.contains("ncarnation"), "{stderr}"),
        }
    }
    assert!(stage.text(".config/marblerun/coordinator-cert.incarnation").contains("attested = false"));
}
