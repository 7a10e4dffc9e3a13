//! What an instance finds at its start, and what it makes of it: every row of the start table.

use marblerun_state::{Cause, Phase};

use super::rig::{Deployment, gossip};
use crate::cluster::simulated::Call;
use crate::cluster::{Content, Peer, PeerAnswer};
use crate::testing::{manifest, recovery, root};
use crate::{RollbackPolicy, StoreMode};

fn content(object: &crate::cluster::Object) -> Content {
    Content {
        sealed_data: object.sealed_data.clone().unwrap(),
        sealed_key: object.sealed_key.clone(),
        parts: None,
        notes: crate::cluster::Notes::default(),
    }
}

#[test]
fn a_deployment_begins_where_there_is_no_trace_and_all_instances_have_its_root() {
    let deployment = Deployment::new();
    let mut a = deployment.start_alone("a", "host-a");
    assert!(a.is_serving());
    assert_eq!(a.phase(), Phase::AcceptingManifest);
    assert!(a.view().entry_sealed, "the own key is confirmed");

    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    assert!(b.is_serving(), "{:?}", b.mode());
    assert_eq!(a.state.authority().root_certificate, b.state.authority().root_certificate);
    b.commit([manifest("")]).unwrap();
    a.validate().unwrap();
    assert_eq!(a.phase(), Phase::AcceptingMarbles);
    assert_eq!(a.state.incarnations().first().map(|life| life.cause), Some(Cause::Genesis));
}

#[test]
fn of_instances_that_begin_at_once_one_makes_the_deployment_and_the_others_join_it() {
    let deployment = Deployment::new();
    let mut instances: Vec<_> = (0..5).map(|n| deployment.boot(&format!("i{n}"), &format!("host-{n}"))).collect();
    // Nobody has heard of anybody: all find nothing, and create.
    for instance in &mut instances {
        instance.hear(Vec::new());
    }
    for instance in &mut instances {
        instance.tend();
    }
    let mut all: Vec<&mut _> = instances.iter_mut().collect();
    for _ in 0..3 {
        gossip(&mut all);
    }
    let root = all.first().unwrap().state.authority().root_certificate.clone();
    for instance in &all {
        assert!(instance.is_serving(), "{}: {:?}", instance.name, instance.mode());
        assert_eq!(instance.state.authority().root_certificate, root);
    }
}

#[test]
fn who_loses_the_race_for_the_first_state_leaves_nothing_of_its_own() {
    let deployment = Deployment::new();
    let mut late = deployment.boot("late", "host-late");
    late.hear(Vec::new());
    let (place, hosts) = (deployment.place.clone(), deployment.boot("early", "host-early"));
    let early = std::sync::Mutex::new(Some(hosts));
    let early = std::sync::Arc::new(early);
    let other = std::sync::Arc::clone(&early);
    place.before("late", Call::Create, move || {
        let mut early = other.lock().unwrap();
        let early = early.as_mut().unwrap();
        early.hear(Vec::new());
        early.tend();
        assert!(early.is_serving());
    });
    late.tend();
    let mut early = early.lock().unwrap().take().unwrap();
    assert!(early.is_serving());
    assert_eq!(deployment.place.host_entries().len(), 1, "the loser's key is gone");
    gossip(&mut [&mut early, &mut late]);
    gossip(&mut [&mut early, &mut late]);
    assert!(late.is_serving());
    assert_eq!(late.state.authority().root_certificate, early.state.authority().root_certificate);
}

#[test]
fn a_host_that_has_a_key_of_it_opens_the_state_by_itself() {
    let deployment = Deployment::new();
    deployment.running("a", "host-a").stop();
    let again = deployment.start_alone("a2", "host-a");
    assert!(again.is_serving(), "{:?}", again.mode());
    assert_eq!(again.counted(), 1);
    assert_eq!(again.state.lineage().incarnation, 1, "an ordinary start is no other life");
    assert!(again.warnings().is_empty(), "{:?}", again.warnings());
}

#[test]
fn on_new_hosts_alone_it_waits_for_recovery_keys_and_goes_on_the_moment_somebody_has_a_key() {
    let deployment = Deployment::new();
    deployment.running("a", "host-a").stop();
    let mut b = deployment.start_alone("b", "host-b");
    assert_eq!(b.code(), "no_key");
    assert_eq!(b.phase(), Phase::Recovery);

    // An old host comes back: the others have its key at once.
    let mut a = deployment.start_alone("a2", "host-a");
    gossip(&mut [&mut a, &mut b]);
    gossip(&mut [&mut a, &mut b]);
    assert!(b.is_serving(), "{:?}", b.mode());
    assert_eq!(b.counted(), 1);
    b.count(2).unwrap();
    a.validate().unwrap();
    assert_eq!(a.counted(), 2);
    assert!(b.view().entry_sealed, "the next start needs nobody");
}

#[test]
fn all_hosts_new_and_recovery_keys_open_it_and_an_old_host_still_comes_back() {
    let deployment = Deployment::new();
    deployment.running("a", "host-a").stop();
    let mut b = deployment.start_alone("b", "host-b");
    b.recover(&root("alice")).unwrap();
    assert!(b.is_serving());
    assert_eq!((b.counted(), b.state.lineage().incarnation), (1, 2));
    assert_eq!(
        b.state.incarnations().last().map(|life| (life.cause, life.confirmed_by.as_str())),
        Some((Cause::Recovery, "alice"))
    );
    b.count(2).unwrap();
    b.stop();
    let a = deployment.start_alone("a2", "host-a");
    assert!(a.is_serving(), "the slot of its key stayed: {:?}", a.mode());
    assert_eq!(a.counted(), 2);
    let b = deployment.start_alone("b2", "host-b");
    assert!(b.is_serving());
}

#[test]
fn wrong_recovery_keys_change_nothing() {
    let deployment = Deployment::new();
    deployment.running("a", "host-a").stop();
    let before = deployment.place.object();
    let mut b = deployment.start_alone("b", "host-b");
    b.recover(&root("mallory")).unwrap_err();
    assert_eq!(deployment.place.object(), before);
    assert_eq!(b.code(), "no_key");
}

#[test]
fn a_lost_object_is_never_replaced_by_a_fresh_identity() {
    let deployment = Deployment::new();
    let a = deployment.running("a", "host-a");
    let backup = deployment.place.object().unwrap();
    a.stop();
    deployment.place.delete();
    let mut again = deployment.start_alone("a2", "host-a");
    assert_eq!(again.code(), "missing");
    assert!(deployment.place.object().is_none());
    // It goes on by itself when the state is put back.
    deployment.place.recreate(&content(&backup));
    again.tend();
    assert!(again.is_serving(), "{:?}", again.mode());
    assert_eq!(again.counted(), 1);
}

#[test]
fn an_empty_object_counts_as_absent_with_a_trace_and_without() {
    let deployment = Deployment::new();
    deployment.place.empty();
    let a = deployment.start_alone("a", "host-a");
    assert!(a.is_serving(), "{:?}", a.mode());
    a.stop();
    deployment.place.empty();
    let again = deployment.start_alone("a2", "host-a");
    assert_eq!(again.code(), "missing");
}

#[test]
fn a_peer_that_holds_the_state_is_a_trace_when_everything_else_is_lost() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    deployment.place.delete();
    deployment.place.delete_host_entries();
    let b = deployment.start_among("b", "host-b", &mut [&mut a]);
    assert_eq!(b.code(), "missing");
    assert!(matches!(a.mode(), StoreMode::ReadOnly { .. }));
    assert_eq!(a.counted(), 1, "reads go on");
    a.reject().unwrap();
    assert!(a.is_serving());
    a.count(2).unwrap();
}

#[test]
fn the_keys_of_the_hosts_are_written_anew_when_they_were_deleted() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    deployment.place.delete_host_entries();
    a.tend();
    assert_eq!(deployment.place.host_entries().len(), 1);
    a.stop();
    assert!(deployment.start_alone("a2", "host-a").is_serving());
}

#[test]
fn no_manifest_is_taken_before_a_restart_could_open_the_state() {
    let deployment = Deployment::new();
    let mut a = deployment.start_alone("a", "host-a");
    let mut b = deployment.boot("b", "host-b");
    deployment.place.deny("b", Call::ChangeEntries);
    for _ in 0..3 {
        gossip(&mut [&mut a, &mut b]);
    }
    assert!(b.is_serving(), "{:?}", b.mode());
    let refused = b.commit([manifest("")]);
    assert!(matches!(refused, Err(crate::backend::Failure::Unavailable(_))), "{refused:?}");
    deployment.place.permit("b", Call::ChangeEntries);
    b.commit([manifest("")]).unwrap();
}

#[test]
fn damage_leads_to_recovery_mode_and_is_kept_when_a_manifest_replaces_it() {
    let deployment = Deployment::new();
    deployment.running("a", "host-a").stop();
    let mut damaged = content(&deployment.place.object().unwrap());
    let at = damaged.sealed_data.len() - 40;
    damaged.sealed_data[at] ^= 1;
    deployment.place.put(&damaged);
    let mut a = deployment.start_alone("a2", "host-a");
    assert_eq!(a.code(), "damaged");
    let root_before = a.state.authority().root_certificate.clone();
    a.commit([manifest(""), recovery("bob")]).unwrap();
    assert!(a.is_serving());
    assert_eq!(a.state.authority().root_certificate, root_before, "that of the temporary state");
    let archived = deployment.place.archived();
    assert_eq!(archived.len(), 1);
    assert!(archived.values().any(|kept| kept.object.sealed_data.as_ref() == Some(&damaged.sealed_data)));
}

#[test]
fn a_key_for_another_state_beside_it_is_recovery_mode_and_nothing_worse() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let before = content(&deployment.place.object().unwrap());
    a.commit([recovery("bob")]).unwrap();
    let after = content(&deployment.place.object().unwrap());
    a.stop();
    deployment.place.put(&Content { sealed_key: before.sealed_key.clone(), ..after.clone() });
    let mut again = deployment.start_alone("a2", "host-a");
    assert_eq!(again.code(), "no_key");
    deployment.place.put(&Content { sealed_key: None, ..after.clone() });
    again.tend();
    assert_eq!(again.code(), "no_key");
    again.recover(&root("bob")).unwrap();
    assert_eq!(again.counted(), 1);
}

#[test]
fn while_a_peer_may_hold_the_state_no_manifest_is_set_over_it() {
    let deployment = Deployment::new();
    deployment.running("a", "host-a").stop();
    let mut b = deployment.boot("b", "host-b");
    b.hear(vec![Peer { address: "10.0.0.7:5433".to_owned(), answer: PeerAnswer::Silent("timed out".to_owned()) }]);
    b.tend();
    let before = deployment.place.object();
    let refused = b.commit([manifest("")]);
    assert!(
        matches!(&refused, Err(crate::backend::Failure::Unavailable(why)) if why.contains("10.0.0.7")),
        "{refused:?}"
    );
    assert_eq!(deployment.place.object(), before);
    b.hear(vec![Peer { address: "10.0.0.7:5433".to_owned(), answer: PeerAnswer::Nobody }]);
    b.tend();
    b.commit([manifest("")]).unwrap();
    assert_eq!(deployment.place.archived().len(), 1);
}

#[test]
fn a_place_that_does_not_answer_is_waited_for() {
    let deployment = Deployment::new();
    deployment.running("a", "host-a").stop();
    deployment.place.stall("a2");
    let mut a = deployment.start_alone("a2", "host-a");
    assert_eq!(a.code(), "unreachable");
    assert!(matches!(a.commit([manifest("")]), Err(crate::backend::Failure::Unavailable(_))));
    a.recover(&root("alice")).unwrap_err();
    deployment.place.resume("a2");
    a.tend();
    assert!(a.is_serving());
}

#[test]
fn an_immutable_object_is_told_and_nothing_is_written() {
    let deployment = Deployment::new();
    deployment.running("a", "host-a").stop();
    deployment.place.set_immutable(true);
    let a = deployment.start_alone("a2", "host-a");
    let StoreMode::Recovery { message, .. } = a.mode() else { panic!("{:?}", a.mode()) };
    assert!(message.contains("immutable"), "{message}");
}

#[test]
fn a_state_without_a_manifest_that_nobody_can_open_is_archived_and_founded_anew() {
    let deployment = Deployment::new();
    deployment.start_alone("a", "host-a").stop();
    let mut b = deployment.start_alone("b", "host-b");
    b.tend();
    assert!(b.is_serving(), "{:?}", b.mode());
    assert_eq!(b.phase(), Phase::AcceptingManifest);
    assert_eq!(deployment.place.archived().len(), 1);
}

#[test]
fn with_refuse_a_rolled_back_state_waits_for_the_key_holders() {
    let mut deployment = Deployment::new();
    deployment.rollback = RollbackPolicy::Refuse;
    let mut a = deployment.running("a", "host-a");
    let old = content(&deployment.place.object().unwrap());
    a.count(2).unwrap();
    a.stop();
    deployment.place.put(&old);
    let mut again = deployment.start_alone("a2", "host-a");
    assert_eq!(again.code(), "older_than_witness");
    again.recover(&root("alice")).unwrap();
    assert_eq!(again.counted(), 1);
    again.stop();
    let again = deployment.start_alone("a3", "host-a");
    assert!(again.is_serving(), "the key holders have consented: {:?}", again.mode());
}
