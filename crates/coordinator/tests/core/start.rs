//! Start-up: restarts, the start-up manifest, and what an operator is told.

use std::path::Path;

use marblerun_coordinator::config::Config;
use marblerun_coordinator::core::{Clock, Coordinator};
use marblerun_coordinator::start::{StartError, start, start_unless};
use serde_json::Value;
use tempfile::TempDir;

use crate::world::{UUID, user, vector, vectors};

fn config(home: &Path, more: &[&str]) -> Config {
    let seal_dir = format!("--seal-dir={}", home.join("seal").display());
    let arguments = ["marblerun-coordinator", "--tee=simulation", &seal_dir];
    Config::from_arguments(arguments.iter().chain(more)).unwrap()
}

async fn started(home: &Path, more: &[&str]) -> Result<Coordinator, StartError> {
    start(&config(home, more), Clock::system()).await
}

fn startup(file: &str) -> String {
    format!("--startup-manifest={}", vectors().join(file).display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_everything_as_it_was() {
    let home = TempDir::new().unwrap();
    let first = started(home.path(), &[]).await.unwrap();
    assert_eq!(first.status(), (2, "Coordinator is ready to accept a manifest.".into()));
    first.set_manifest(vector("updbase-multi.json")).await.unwrap();
    first.update(Some(&user("alice")), vector("other-multi-1.json")).await.unwrap();
    let (root, log) = (first.snapshot().authority().root_certificate.clone(), first.update_log().await.unwrap());
    first.close().await;
    drop(first);

    let second = started(home.path(), &[]).await.unwrap();
    assert_eq!(second.status().0, 3);
    assert_eq!(second.snapshot().authority().root_certificate, root);
    assert_eq!(second.update_log().await.unwrap(), log);
    let (raw, missing, count) = second.pending_update().await.unwrap();
    assert_eq!((raw, count), (vector("other-multi-1.json"), 2));
    assert_eq!(missing, ["bob", "carol"]);
    second.acknowledge_update(Some(&user("bob")), vector("other-multi-1.json")).await.unwrap();
    let applied = second.acknowledge_update(Some(&user("carol")), vector("other-multi-1.json")).await.unwrap();
    assert_eq!(applied.missing_users, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_startup_manifest_begins_a_deployment_and_touches_no_other() {
    let home = TempDir::new().unwrap();
    let first = started(home.path(), &[&startup("updbase-single.json")]).await.unwrap();
    assert_eq!(first.manifest().await.unwrap().unwrap().raw, vector("updbase-single.json"));
    let state = first.snapshot();
    let entry = state.audit(marblerun_state::AuditKind::Changes).after(0).next().unwrap();
    assert_eq!((entry.event.as_str(), entry.actor.as_str()), ("manifest_set", "coordinator"));
    drop(state);
    let recovery_data = home.path().join("startup-recovery-data.json");
    let saved: Value = serde_json::from_slice(&std::fs::read(&recovery_data).unwrap()).unwrap();
    assert!(saved["RecoverySecrets"]["rec1"].is_string());
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&recovery_data).unwrap().permissions().mode() & 0o777, 0o600);
    first.close().await;
    drop(first);

    for file in ["updbase-single.json", "minimal.json"] {
        let again = started(home.path(), &[&startup(file)]).await.unwrap();
        assert_eq!(again.manifest().await.unwrap().unwrap().raw, vector("updbase-single.json"), "with {file}");
        assert_eq!(again.update_log().await.unwrap().len(), 1);
        again.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_startup_manifest_is_never_set_over_a_state_that_waits_for_recovery() {
    let home = TempDir::new().unwrap();
    let host = |name: &str| format!("--simulation-host-key={}", home.path().join(name).display());
    let first = started(home.path(), &[&host("host"), &startup("minimal.json")]).await.unwrap();
    first.close().await;
    drop(first);
    let second = started(home.path(), &[&host("other-host"), &startup("minimal.json")]).await.unwrap();
    assert_eq!(second.status().0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_startup_manifest_that_cannot_be_set_ends_the_start_and_leaves_nothing() {
    let home = TempDir::new().unwrap();
    for file in ["no-such-file.json", "no-packages.json"] {
        let error = started(home.path(), &[&startup(file)]).await.err().unwrap();
        assert!(error.to_string().contains(file), "{error}");
    }
    // Recovery data have no place to go: the Coordinator is not asked to make any.
    let taken = format!("--startup-recovery-data={}", home.path().join("no/such/dir/data.json").display());
    let error = started(home.path(), &[&startup("updbase-single.json"), &taken]).await.err().unwrap();
    assert!(error.to_string().contains("Nothing was set"), "{error}");
    std::fs::write(home.path().join("startup-recovery-data.json"), "precious").unwrap();
    let error = started(home.path(), &[&startup("updbase-single.json")]).await.err().unwrap();
    assert!(error.to_string().contains("Move it away"), "{error}");

    let fresh = started(home.path(), &[]).await.unwrap();
    assert_eq!(fresh.status().0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn simulation_and_missing_recovery_keys_are_said() {
    let home = TempDir::new().unwrap();
    let coordinator = started(home.path(), &[]).await.unwrap();
    assert!(coordinator.warnings().iter().any(|warning| warning.starts_with("SIMULATION")));
    let answer = coordinator.set_manifest(vector("minimal.json")).await.unwrap();
    let warnings = coordinator.warnings();
    assert!(warnings.iter().any(|warning| warning.contains("RecoveryKeys")), "{warnings:?}");
    assert!(answer.warnings.iter().any(|warning| warning.contains("RecoveryKeys")), "{:?}", answer.warnings);
    assert!(coordinator.activate(None, request()).await.is_err());
}

fn request() -> marblerun_coordinator::core::ActivationRequest {
    marblerun_coordinator::core::ActivationRequest {
        quote: Vec::new(),
        csr: Vec::new(),
        marble_type: "web".into(),
        uuid: UUID.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_startup_manifest_in_yaml_is_set_as_the_command_line_would_send_it() {
    let home = TempDir::new().unwrap();
    let yaml = home.path().join("manifest.yaml");
    std::fs::write(&yaml, "Packages:\n  p: {Debug: yes}\nMarbles:\n  m: {Package: p}\n").unwrap();
    let option = format!("--startup-manifest={}", yaml.display());
    for _ in 0..2 {
        let coordinator = started(home.path(), &[&option]).await.unwrap();
        let raw = coordinator.manifest().await.unwrap().unwrap().raw;
        assert_eq!(raw, br#"{"Marbles":{"m":{"Package":"p"}},"Packages":{"p":{"Debug":true}}}"#);
        coordinator.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_for_another_coordinator_can_be_stopped() {
    let home = TempDir::new().unwrap();
    std::fs::create_dir(home.path().join("seal")).unwrap();
    let lock = std::fs::File::create(home.path().join("seal/sealed_data.lock")).unwrap();
    lock.lock().unwrap();
    let stop = tokio::time::sleep(std::time::Duration::from_millis(200));
    let outcome = start_unless(&config(home.path(), &[]), Clock::system(), stop).await;
    assert!(matches!(outcome, Err(StartError::Stopped)));
    // Only then may the thread that waits go on, so that this test ends.
    drop(lock);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_is_named() {
    let home = TempDir::new().unwrap();
    std::fs::write(home.path().join("seal"), "a file").unwrap();
    let error = started(home.path(), &[]).await.err().unwrap();
    assert!(matches!(error, StartError::SealDir { .. }), "{error}");
    assert!(error.to_string().contains("seal"));
}
