//! Programs that become Marbles, with the real programs on both sides: whom they believe.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use marblerun_client::{AttestOptions, Endpoint, attest};
use marblerun_testkit::{Coordinator, binary};
use sha2::{Digest as _, Sha256};

const MANIFEST: &[u8] = br#"{"Packages":{"app":{"Debug":true}},"Marbles":{"web":{"Package":"app"}}}"#;

fn premain(coordinator: &Coordinator, home: &Path, expected: &[(&str, &str)]) -> Output {
    Command::new(binary("marblerun-premain"))
        .args(["sh", "-c", "echo \"$MARBLE_PREDEFINED_COORDINATOR_ROOT_CA\""])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("EDG_MARBLE_TYPE", "web")
        .env("EDG_MARBLE_COORDINATOR_ADDR", coordinator.mesh_addr.to_string())
        .env("MARBLERUN_COORDINATOR_CLIENT_ADDR", coordinator.client_addr.to_string())
        .env("MARBLERUN_TEE", "simulation")
        .env("MARBLERUN_PREMAIN_TIMEOUT", "20")
        .envs(expected.iter().copied())
        .current_dir(home)
        .output()
        .unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(output.stdout.is_empty(), "the program never ran: {output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marble_obeys_the_coordinator_that_it_expects_and_no_other() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let coordinator = Coordinator::builder(&home.join("seal")).start().await.unwrap();
    let endpoint = Endpoint::parse(&coordinator.client_addr.to_string()).unwrap();
    let attested = attest(&endpoint, &AttestOptions::insecure()).await.unwrap();
    attested.client(endpoint).build().unwrap().set_manifest(MANIFEST).await.unwrap();
    let root = attested.root_pem().unwrap();
    fs::write(home.join("root.pem"), &root).unwrap();
    let manifest = hex::encode(Sha256::digest(MANIFEST));
    let pinned = ("MARBLERUN_COORDINATOR_ROOT_CA", "root.pem");

    let run = premain(&coordinator, home, &[pinned, ("MARBLERUN_COORDINATOR_MANIFEST", &manifest)]);
    assert!(run.status.success(), "{run:?}");
    assert_eq!(String::from_utf8(run.stdout).unwrap().trim(), root.trim());

    let other = "00".repeat(32);
    let text = refused(&premain(&coordinator, home, &[pinned, ("MARBLERUN_COORDINATOR_MANIFEST", &other)]));
    assert!(text.contains(&format!("has the fingerprint {manifest}, and not {other}")), "{text}");
    let text = refused(&premain(&coordinator, home, &[("MARBLERUN_COORDINATOR_ROOT_CA", other.as_str())]));
    assert!(text.contains("another fingerprint"), "{text}");

    // Whoever asks for evidence does not take simulation for any.
    let era = format!(r#"{{"UniqueID":"{other}"}}"#);
    fs::write(home.join("era.json"), era).unwrap();
    let text = refused(&premain(&coordinator, home, &[pinned, ("MARBLERUN_COORDINATOR_ERA", "era.json")]));
    assert!(text.contains("it runs in simulation and proves nothing"), "{text}");
}
