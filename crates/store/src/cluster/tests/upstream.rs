//! What upstream's Coordinators left in their Secret and ConfigMap (a state that the original wrote in simulation).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marblerun_recovery::RecoveryRoot;
use marblerun_state::{Cause, Phase};
use serde_json::Value;
use zeroize::Zeroizing;

use super::rig::Deployment;
use crate::cluster::{ArchiveReason, Content, Notes, Peer, PeerAnswer};
use crate::testing::root;

fn fixture() -> Value {
    let text = include_str!("../../../tests/fixtures/upstream-distributed.json");
    serde_json::from_str(text).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// Their Secret, and their ConfigMap if it is there.
fn left_behind(with_keys: bool) -> (Deployment, Content) {
    let (deployment, fixture) = (Deployment::new(), fixture());
    let content = Content {
        sealed_data: bytes(&fixture["secret"]["data"]["sealed_data"]),
        sealed_key: Some(bytes(&fixture["secret"]["data"]["sealed_key"])),
        parts: None,
        notes: Notes::default(),
    };
    deployment.place.put(&content);
    if with_keys {
        let name = "0".repeat(32);
        deployment.place.set_host_entry(&name, &bytes(&fixture["configMap"]["binaryData"][&name]));
    }
    (deployment, content)
}

fn dek() -> RecoveryRoot {
    RecoveryRoot::new(Zeroizing::new(hex::decode(fixture()["expected"]["dekHex"].as_str().unwrap()).unwrap()))
}

#[test]
fn their_state_is_taken_over_archived_and_their_recovery_secret_stays_good() {
    let (deployment, theirs) = left_behind(true);
    let mut ours = deployment.start_alone("a", "host-a");
    assert!(ours.is_serving(), "{:?}", ours.mode());
    assert_eq!(ours.phase(), Phase::AcceptingMarbles);
    assert_eq!(ours.state.incarnations().last().map(|life| life.cause), Some(Cause::Import));
    let archived = deployment.place.archived();
    let kept = archived.values().next().unwrap();
    assert_eq!(kept.reason, ArchiveReason::Imported);
    assert_eq!(kept.object.sealed_data.as_ref(), Some(&theirs.sealed_data));
    assert_eq!(kept.object.sealed_key, theirs.sealed_key);
    assert!(deployment.place.host_entries().contains_key(&"0".repeat(32)), "their entry is theirs");
    ours.count(1).unwrap();
    ours.stop();

    assert!(deployment.start_alone("a2", "host-a").is_serving());
    deployment.place.delete_host_entries();
    let mut elsewhere = deployment.start_alone("b", "host-b");
    assert_eq!(elsewhere.code(), "no_key");
    elsewhere.recover(&dek()).unwrap();
    assert_eq!(elsewhere.counted(), 1);
}

#[test]
fn without_their_keys_it_waits_for_their_recovery_secret() {
    let (deployment, theirs) = left_behind(false);
    let mut ours = deployment.start_alone("a", "host-a");
    assert_eq!(ours.code(), "no_key");
    ours.recover(&root("mallory")).unwrap_err();
    assert_eq!(deployment.place.object().unwrap().sealed_data.as_ref(), Some(&theirs.sealed_data));
    ours.recover(&dek()).unwrap();
    assert!(ours.is_serving());
    assert_eq!(deployment.place.archived().len(), 1);
}

#[test]
fn while_somebody_may_still_run_there_nothing_is_taken_over() {
    let (deployment, theirs) = left_behind(true);
    let mut ours = deployment.boot("a", "host-a");
    ours.hear(vec![Peer {
        address: "10.0.0.9:5433".to_owned(),
        answer: PeerAnswer::Rejected("no evidence".to_owned()),
    }]);
    ours.tend();
    assert_eq!(ours.code(), "not_imported");
    assert_eq!(deployment.place.object().unwrap().sealed_data.as_ref(), Some(&theirs.sealed_data));
    ours.hear(vec![Peer { address: "10.0.0.9:5433".to_owned(), answer: PeerAnswer::Nobody }]);
    ours.tend();
    assert!(ours.is_serving(), "{:?}", ours.mode());
}
