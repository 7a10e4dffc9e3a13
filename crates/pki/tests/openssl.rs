//! A second opinion: the `openssl` command line reads our keys and verifies our chains.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use marblerun_pki::{VerifiedCsr, generate_shared, issue_marble_leaf, pem};
use support::*;

/// Runs openssl; `None` (loudly) where it is not installed.
fn openssl(arguments: &[&str], input: &[u8]) -> Option<(bool, String)> {
    let spawned = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        eprintln!("SKIPPED: the openssl command is not installed, nothing was checked with it");
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn openssl_reads_keys_of_every_type() {
    let authority = authority();
    for (kind, size) in [
        ("cert-ecdsa", 224),
        ("cert-ecdsa", 256),
        ("cert-ecdsa", 384),
        ("cert-ecdsa", 521),
        ("cert-rsa", 2048),
        ("cert-rsa", 1025),
        ("cert-ed25519", 0),
    ] {
        let secret = generate_shared("s", &definition(kind, size), &authority, now()).unwrap();
        let key = pem::encode(pem::PRIVATE_KEY, &secret.private.unwrap()).unwrap();
        let Some((ok, public)) = openssl(&["pkey", "-check", "-pubout"], key.as_bytes()) else { return };
        assert!(ok, "{kind} {size}: {public}");
        let public_pem = pem::encode(pem::PUBLIC_KEY, &secret.public.unwrap()).unwrap();
        assert!(public.contains(public_pem.as_str()), "{kind} {size}: {public}");
        let certificate = pem::encode(pem::CERTIFICATE, &secret.certificate.unwrap()).unwrap();
        let (ok, shown) = openssl(&["x509", "-noout", "-pubkey"], certificate.as_bytes()).unwrap();
        assert!(ok && shown.contains(public_pem.as_str()), "{kind} {size}: {shown}");
    }
}

#[test]
fn openssl_verifies_a_leaf_under_either_root() {
    let authority = authority();
    let csr = VerifiedCsr::parse(&base64(&fixture("golden.json")["csr"])).unwrap();
    let uuid = "11111111-1111-4111-8111-111111111111";
    let leaf = issue_marble_leaf(&authority, &csr, uuid, "web", now()).unwrap();
    let directory = std::env::temp_dir().join(format!("marblerun-pki-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, der: &[u8]| {
        let path = directory.join(name);
        std::fs::write(&path, pem::encode(pem::CERTIFICATE, der).unwrap().as_bytes()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let root = write("root", &authority.root_certificate);
    let intermediate = write("intermediate", &authority.intermediate_certificate);
    let marble_root = write("marble-root", &authority.marble_root_certificate);
    let leaf = write("leaf", &leaf.certificate);
    let at = now().as_second().to_string();
    let verify = |trusted: &[&str]| {
        let mut arguments = vec!["verify", "-attime", &at, "-purpose", "sslserver"];
        arguments.extend(trusted);
        arguments.push(&leaf);
        openssl(&arguments, b"")
    };
    if let Some((ok, text)) = verify(&["-CAfile", &marble_root]) {
        assert!(ok, "{text}");
        let (ok, text) = verify(&["-CAfile", &root, "-untrusted", &intermediate]).unwrap();
        assert!(ok, "{text}");
        let (ok, text) = verify(&["-CAfile", &root]).unwrap();
        assert!(!ok, "{text}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
