//! Collateral that was believed once is remembered in the sealed state: over restarts, and with few writes. Real
//! verification of quotes made for tests, and a real directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use marblerun_attestation::{Backend, Simulation};
use marblerun_coordinator::core::{Clock, Coordinator, Settings};
use marblerun_coordinator::start::temporary_state;
use marblerun_sealing::{Plain, Sealers};
use marblerun_state::Change;
use marblerun_store::{Store, StoreConfig};
use serde_json::json;
use tempfile::TempDir;

use crate::verification::{CERTIFICATE, NOW, activate_type, bound, package, quote, verifier};
use crate::world::json as bytes;

fn store(home: &Path) -> Store {
    let config = StoreConfig::new(home.join("seal"), Sealers::simulation(Plain), "test 1");
    Store::open(config, &|phase| temporary_state(phase, "localhost", &Clock::system())).unwrap()
}

/// A process: what it has in memory is lost with it.
fn started(home: &Path) -> Coordinator {
    let backend = Backend { issuer: Arc::new(Simulation), verifier: Arc::new(verifier()) };
    let clock = Clock::from_fn(|| Timestamp::from_second(NOW).unwrap());
    Coordinator::new(store(home), Settings { backend, clock, ..Settings::simulation() })
}

async fn deployment() -> (TempDir, Coordinator) {
    let home = TempDir::new().unwrap();
    let coordinator = started(home.path());
    let manifest = json!({
        "Packages": {"app": package(json!({}))},
        "Marbles": {"free": {"Package": "app"}, "counted": {"Package": "app", "MaxActivations": 9}},
    });
    coordinator.set_manifest(bytes(&manifest)).await.unwrap();
    (home, coordinator)
}

fn marks(coordinator: &Coordinator) -> BTreeMap<String, u64> {
    coordinator.snapshot().collateral_marks().as_ref().clone()
}

fn sequence(coordinator: &Coordinator) -> u64 {
    coordinator.store_status().sequence
}

async fn activated(coordinator: &Coordinator, marble_type: &str) -> Result<(), String> {
    activate_type(coordinator, marble_type, CERTIFICATE, quote("UpToDate", &bound())).await
}

/// Another Coordinator, or this one in an earlier life, believed newer collateral than what is at hand now.
async fn newer_was_seen(home: &Path, name: &str, value: u64) {
    let store = store(home);
    let change = Change::CollateralMarks(BTreeMap::from([(name.to_owned(), value)]));
    store.commit(move |draft| draft.record(change.clone())).await.unwrap();
    store.close().await;
}

const EVALUATION: &str = "sgx/00a0b0c0d0e0/platform/tcb-evaluation";

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_older_collateral_is_still_refused_and_it_is_said_why() {
    let (home, coordinator) = deployment().await;
    activated(&coordinator, "counted").await.unwrap();
    let seen = marks(&coordinator);
    assert_eq!((seen[EVALUATION], seen.len()), (17, 4), "three numbers and the date: {seen:?}");
    assert!(seen["time"] < NOW.unsigned_abs());
    coordinator.close().await;

    let coordinator = started(home.path());
    assert_eq!(marks(&coordinator), seen);
    activated(&coordinator, "free").await.unwrap();
    coordinator.close().await;

    newer_was_seen(home.path(), EVALUATION, 18).await;
    let coordinator = started(home.path());
    for marble_type in ["free", "counted"] {
        let text = activated(&coordinator, marble_type).await.unwrap_err();
        let expected = "the collateral is older than what was seen before: its TCB info has number 17, and 18 was seen";
        assert_eq!(text, expected);
    }
    assert_eq!(coordinator.snapshot().activations("counted"), 1);
    coordinator.close().await;

    newer_was_seen(home.path(), "time", NOW.unsigned_abs() + 1).await;
    let coordinator = started(home.path());
    let text = activated(&coordinator, "free").await.unwrap_err();
    assert!(text.starts_with("the clock of this machine went back"), "{text}");
    coordinator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_collateral_is_written_once_and_with_what_is_written_anyway() {
    let (home, coordinator) = deployment().await;
    let before = sequence(&coordinator);
    activated(&coordinator, "counted").await.unwrap();
    assert_eq!(sequence(&coordinator), before + 1, "in the transaction of the activation");
    assert_eq!(marks(&coordinator).len(), 4);
    activated(&coordinator, "free").await.unwrap();
    coordinator.close().await;
    assert_eq!(sequence(&coordinator), before + 1, "and in no other");

    let (_home, coordinator) = deployment().await;
    let before = sequence(&coordinator);
    for _ in 0..3 {
        activated(&coordinator, "free").await.unwrap();
    }
    coordinator.close().await;
    assert_eq!(sequence(&coordinator), before + 1, "one of its own, where nothing else is written");
    assert_eq!(marks(&coordinator).len(), 4);
    drop(home);
}

#[tokio::test(start_paused = true)]
async fn nobody_has_to_stop_the_coordinator_for_it() {
    let (_home, coordinator) = deployment().await;
    activated(&coordinator, "free").await.unwrap();
    for _ in 0..1000 {
        if !marks(&coordinator).is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    assert_eq!(marks(&coordinator).len(), 4);
}
