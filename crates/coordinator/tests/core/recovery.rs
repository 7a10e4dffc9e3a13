//! Recovery through the use cases: a state in a directory, a host that is lost, holders who come back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use marblerun_api::bytes::Base64;
use marblerun_attestation::{Backend, Evidence, IssueError, Issuer, ReportData, Simulation, Tee};
use marblerun_coordinator::config::Config;
use marblerun_coordinator::core::{Clock, Coordinator, Settings};
use marblerun_coordinator::error::{Error, ErrorKind};
use marblerun_coordinator::start::{start, temporary_state};
use marblerun_sealing::{HostKeyFile, Sealers};
use marblerun_state::{AuditEvent, AuditKind};
use marblerun_store::{Store, StoreConfig};
use marblerun_testkit::RecoveryKeyPair;
use serde_json::json;
use tempfile::TempDir;
use zeroize::Zeroizing;

/// A deployment whose Coordinator has stopped.
struct Deployment {
    home: TempDir,
    keys: Vec<(String, RecoveryKeyPair)>,
    secrets: BTreeMap<String, Base64>,
    root: Vec<u8>,
}

async fn coordinator(home: &Path, host: &str) -> Coordinator {
    coordinator_with(home, host, "--recovery-reset=allow").await
}

async fn coordinator_with(home: &Path, host: &str, option: &str) -> Coordinator {
    let config = Config::from_arguments([
        "marblerun-coordinator".to_owned(),
        format!("--seal-dir={}", home.join("seal").display()),
        format!("--simulation-host-key={}", home.join(host).display()),
        "--tee=simulation".to_owned(),
        option.to_owned(),
    ]);
    start(&config.unwrap(), Clock::system()).await.unwrap()
}

impl Deployment {
    async fn new(parties: usize, threshold: u64) -> Self {
        let home = TempDir::new().unwrap();
        let keys: Vec<(String, RecoveryKeyPair)> =
            (0..parties).map(|n| (format!("party{n}"), RecoveryKeyPair::new().unwrap())).collect();
        let pems: BTreeMap<&String, String> =
            keys.iter().map(|(name, key)| (name, key.public_pem().unwrap())).collect();
        let manifest = json!({
            "Packages": {"app": {"Debug": true}},
            "Marbles": {"web": {"Package": "app"}},
            "RecoveryKeys": pems,
            "Config": {"RecoveryThreshold": threshold},
        });
        let running = coordinator(home.path(), "host").await;
        let answer = running.set_manifest(serde_json::to_vec(&manifest).unwrap()).await.unwrap();
        let root = running.snapshot().authority().root_certificate.clone();
        running.close().await;
        let secrets = answer.recovery_secrets.into_iter().map(|(name, secret)| (name, Base64(secret))).collect();
        Self { home, keys, secrets, root }
    }

    async fn on_another_host(&self) -> Coordinator {
        coordinator(self.home.path(), "other-host").await
    }

    fn secret(&self, party: usize) -> (Vec<u8>, Vec<u8>) {
        let (name, key) = &self.keys[party];
        key.open(name, &self.secrets).unwrap()
    }
}

async fn upload(coordinator: &Coordinator, secret: &[u8], signature: &[u8]) -> Result<usize, Error> {
    let answer = coordinator.recover(Zeroizing::new(secret.to_vec()), signature.to_vec()).await?;
    let words = match answer.remaining {
        0 => "Recovery successful.".to_owned(),
        n => format!("Secret was processed successfully. Upload the next secret. Remaining secrets: {n}"),
    };
    assert_eq!(answer.message, words);
    Ok(answer.remaining)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_secret_brings_back_the_same_root_whatever_came_before_it() {
    let deployment = Deployment::new(1, 0).await;
    let coordinator = deployment.on_another_host().await;
    assert_eq!(coordinator.status().0, 1);
    assert_ne!(coordinator.snapshot().authority().root_certificate, deployment.root, "a temporary one");
    assert!(coordinator.manifest().await.unwrap().is_none());
    assert!(coordinator.warnings().iter().any(|warning| warning.starts_with("recovery mode (")));

    for length in [0, 1, 16, 24, 32, 33, 512] {
        let error = upload(&coordinator, &vec![7; length], &[7; 256]).await.unwrap_err();
        let (kind, prefix) = match length {
            16 | 24 | 32 | 33 => (ErrorKind::Refused, "setting recovery key: "),
            _ => (ErrorKind::BadRequest, "failed to decrypt recovery secret: ephemeral secret key not set"),
        };
        assert!(error.kind == kind && error.message.starts_with(prefix), "{length}: {error}");
    }
    let (secret, signature) = deployment.secret(0);
    assert!(upload(&coordinator, &secret, &[7; 256]).await.is_err(), "a secret without its signature");
    assert_eq!(upload(&coordinator, &secret, &signature).await.unwrap(), 0);

    assert_eq!(coordinator.status().0, 3);
    assert_eq!(coordinator.snapshot().authority().root_certificate, deployment.root);
    assert_eq!(coordinator.update_log().await.unwrap().len(), 1, "recovery is no entry of the log");
    let again = upload(&coordinator, &secret, &signature).await.unwrap_err();
    assert_eq!(again.message, "server is not in expected state");
    let again = upload(&coordinator, b"123", &[]).await.unwrap_err();
    assert_eq!(again.message, "failed to decrypt recovery secret: server is not in expected state");
    assert_eq!(coordinator.recovery_public_key().await.unwrap_err().message, "server is not in expected state");
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_come_in_any_order_and_once_each() {
    let deployment = Deployment::new(3, 2).await;
    let coordinator = deployment.on_another_host().await;
    let (secret, signature) = deployment.secret(2);
    assert_eq!(upload(&coordinator, &secret, &signature).await.unwrap(), 1, "the true number");
    assert!(upload(&coordinator, &secret, &signature).await.is_err());
    assert_eq!(coordinator.status().0, 1);
    let (secret, signature) = deployment.secret(0);
    assert_eq!(upload(&coordinator, &secret, &signature).await.unwrap(), 0);
    let state = coordinator.snapshot();
    assert_eq!(state.authority().root_certificate, deployment.root);
    let entry = state.audit(AuditKind::Changes).after(1).next().unwrap();
    assert_eq!((entry.event, entry.actor.as_str()), (AuditEvent::Recovery, "party:party0,party:party2"));
    assert_eq!((entry.before.as_deref(), entry.after.as_deref()), (Some("incarnation:1"), Some("incarnation:2")));
    // What was refused meanwhile is told in the state that is back.
    coordinator.record_refusals().await;
    let state = coordinator.snapshot();
    let refused = state.audit(AuditKind::Refusals).after(0).next().unwrap();
    assert_eq!((refused.actor.as_str(), refused.subject.as_str()), ("anyone", "recover"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_may_come_encrypted_to_the_ephemeral_key() {
    use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
    let deployment = Deployment::new(1, 0).await;
    let coordinator = deployment.on_another_host().await;
    let spki = coordinator.recovery_public_key().await.unwrap();
    assert_eq!(coordinator.recovery_public_key().await.unwrap(), spki, "the same until it has served");
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&spki).unwrap()).unwrap();
    assert_eq!(key.key_size_bits(), 4096);
    let error = upload(&coordinator, b"123", &[]).await.unwrap_err();
    assert_eq!(error.message, "failed to decrypt recovery secret: crypto/rsa: decryption error");

    let (secret, signature) = deployment.secret(0);
    let mut encrypted = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA256_MGF1SHA256, &secret, &mut encrypted, None).unwrap();
    assert_eq!(upload(&coordinator, &encrypted, &signature).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_put_in_place_begins_another_ceremony() {
    let (first, second) = (Deployment::new(2, 0).await, Deployment::new(2, 0).await);
    let coordinator = first.on_another_host().await;
    let (secret, signature) = first.secret(0);
    assert_eq!(upload(&coordinator, &secret, &signature).await.unwrap(), 1);
    std::fs::copy(second.home.path().join("seal/sealed_data"), first.home.path().join("seal/sealed_data")).unwrap();
    let (secret, signature) = first.secret(1);
    assert!(upload(&coordinator, &secret, &signature).await.is_err(), "it says nothing about the new file");
    for (party, remaining) in [(0, 1), (1, 0)] {
        let (secret, signature) = second.secret(party);
        assert_eq!(upload(&coordinator, &secret, &signature).await.unwrap(), remaining);
    }
    assert_eq!(coordinator.snapshot().authority().root_certificate, second.root);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_may_be_set_over_a_state_that_waits_and_the_old_state_is_kept() {
    let deployment = Deployment::new(1, 0).await;
    let sealed = std::fs::read(deployment.home.path().join("seal/sealed_data")).unwrap();
    let coordinator = deployment.on_another_host().await;
    let bad = coordinator.set_manifest(b"{}".to_vec()).await.unwrap_err();
    assert_eq!(bad.message, "checking manifest: no allowed packages defined");
    assert_eq!(coordinator.status().0, 1, "a refused manifest leaves the recovery as it was");
    assert_eq!(std::fs::read(deployment.home.path().join("seal/sealed_data")).unwrap(), sealed);

    let manifest = br#"{"Packages":{"app":{"Debug":true}},"Marbles":{"web":{"Package":"app"}}}"#.to_vec();
    coordinator.set_manifest(manifest).await.unwrap();
    assert_eq!(coordinator.status().0, 3);
    assert_eq!(coordinator.update_log().await.unwrap().len(), 1);
    let state = coordinator.snapshot();
    let entry = state.audit(AuditKind::Changes).after(0).next().unwrap();
    assert_eq!((entry.event, entry.reason.as_deref()), (AuditEvent::ManifestSet, Some("recovery_given_up")));
    let kept = std::fs::read_dir(deployment.home.path().join("seal")).unwrap();
    assert!(kept.flatten().any(|entry| std::fs::read(entry.path()).is_ok_and(|bytes| bytes == sealed)), "archived");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_reset_is_denied_only_the_holders_end_a_recovery() {
    let deployment = Deployment::new(1, 0).await;
    let coordinator = coordinator_with(deployment.home.path(), "other-host", "--recovery-reset=deny").await;
    let manifest = br#"{"Packages":{"app":{"Debug":true}},"Marbles":{"web":{"Package":"app"}}}"#.to_vec();
    let error = coordinator.set_manifest(manifest).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Refused, "recovery_reset_denied"));
    assert_eq!(coordinator.status().0, 1);
    let (secret, signature) = deployment.secret(0);
    assert_eq!(upload(&coordinator, &secret, &signature).await.unwrap(), 0);
}

/// Hardware that may be broken for a while.
#[derive(Default)]
struct Hardware {
    issued: AtomicUsize,
    is_broken: AtomicBool,
}

impl Issuer for Hardware {
    fn tee(&self) -> Tee {
        Tee::Sgx
    }

    fn issue(&self, report_data: &ReportData) -> Result<Evidence, IssueError> {
        self.issued.fetch_add(1, Ordering::Relaxed);
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(IssueError { tee: Tee::Sgx, reason: "it does not answer".to_owned() });
        }
        Ok(Evidence::from_wire(report_data.0.to_vec()).unwrap())
    }
}

/// A Coordinator with that hardware on a host that cannot open the state.
fn in_hardware(home: &Path, hardware: Arc<Hardware>) -> Coordinator {
    let config = StoreConfig::new(
        home.join("seal"),
        Sealers::simulation(HostKeyFile::new(&home.join("another-host"))),
        "test 1",
    );
    let store = Store::open(config, &|phase| temporary_state(phase, "localhost", &Clock::system())).unwrap();
    let backend = Backend { issuer: hardware, verifier: Arc::new(Simulation) };
    Coordinator::new(store, Settings { backend, ..Settings::simulation() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_the_hardware_does_not_vouch_for_is_never_served_and_no_share_is_lost() {
    let deployment = Deployment::new(2, 0).await;
    let hardware = Arc::new(Hardware::default());
    let coordinator = in_hardware(deployment.home.path(), Arc::clone(&hardware));
    let temporary = coordinator.snapshot().authority().root_certificate.clone();
    let (first, second) = (deployment.secret(0), deployment.secret(1));
    assert_eq!(upload(&coordinator, &first.0, &first.1).await.unwrap(), 1);

    let sealed = || std::fs::read(deployment.home.path().join("seal/sealed_data")).unwrap();
    let before = sealed();
    hardware.is_broken.store(true, Ordering::Relaxed);
    let error = upload(&coordinator, &second.0, &second.1).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Internal, "no_quote"));
    for part in ["it does not answer", "still in recovery mode", "upload the last secret again"] {
        assert!(error.message.contains(part), "{error}");
    }
    assert_eq!(coordinator.status().0, 1);
    assert_eq!(coordinator.snapshot().authority().root_certificate, temporary);
    assert!(sealed() == before, "nothing was written");
    let progress = coordinator.recovery_progress().await.unwrap();
    assert!(progress.parties.iter().all(|(_, accepted)| *accepted), "{:?}", progress.parties);

    hardware.is_broken.store(false, Ordering::Relaxed);
    assert_eq!(upload(&coordinator, &second.0, &second.1).await.unwrap(), 0);
    assert_eq!(coordinator.status().0, 3);
    let issued = hardware.issued.load(Ordering::Relaxed);
    hardware.is_broken.store(true, Ordering::Relaxed);
    let quote = coordinator.quote(&[]).await.unwrap().quote.unwrap();
    assert_eq!(quote, ReportData::binding(&[&deployment.root]).0);
    assert_eq!(hardware.issued.load(Ordering::Relaxed), issued, "it was made before the state was served");
    coordinator.close().await;
}
