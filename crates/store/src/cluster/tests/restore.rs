//! Restores, rollbacks and forks: while instances run and while none does, noticed and decided.

use marblerun_state::Cause;

use super::rig::{Deployment, gossip};
use crate::backend::Failure;
use crate::cluster::{Content, DecisionError, Notes, Object};
use crate::testing::{manifest, recovery, root};

fn content(object: &Object) -> Content {
    Content {
        sealed_data: object.sealed_data.clone().unwrap(),
        sealed_key: object.sealed_key.clone(),
        parts: None,
        notes: Notes::default(),
    }
}

fn backup(deployment: &Deployment) -> Content {
    content(&deployment.place.object().unwrap())
}

fn is_unavailable(result: &Result<(), Failure>) -> bool {
    matches!(result, Err(Failure::Unavailable(_)))
}

#[test]
fn a_restore_while_nobody_runs_is_taken_told_and_opens_another_life_with_the_next_change() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let old = backup(&deployment);
    a.count(2).unwrap();
    a.stop();
    deployment.place.recreate(&old);
    let calls = deployment.place.take_calls();
    assert!(!calls.is_empty());
    let mut again = deployment.start_alone("a2", "host-a");
    assert!(again.is_serving());
    assert_eq!(again.counted(), 1);
    assert!(again.warnings().iter().any(|warning| warning.contains("restored")));
    assert_eq!(again.state.lineage().incarnation, 1, "nothing is written without a change");
    again.count(7).unwrap();
    let life = again.state.incarnations().last().cloned().unwrap();
    assert_eq!((life.number, life.cause, life.confirmed_by.as_str()), (2, Cause::Restore, ""));
    assert_eq!(life.cut_off.map(|(sequence, _)| sequence), Some(4));
    again.stop();
    let again = deployment.start_alone("a3", "host-a");
    assert!(again.warnings().is_empty(), "{:?}", again.warnings());
}

#[test]
fn a_restore_under_running_instances_stops_them_until_an_operator_accepts() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    let old = backup(&deployment);
    a.count(2).unwrap();
    b.validate().unwrap();
    deployment.place.put(&old);
    for instance in [&mut a, &mut b] {
        assert!(instance.validate().is_err());
        assert!(instance.is_diverged(), "{:?}", instance.mode());
        assert!(is_unavailable(&instance.count(3)));
        assert_eq!(instance.counted(), 2, "what was known stays");
    }
    assert!(!a.view().serving, "no key is given away");

    a.accept().unwrap();
    assert!(a.is_serving());
    assert_eq!(a.counted(), 1);
    let life = a.state.incarnations().last().cloned().unwrap();
    assert_eq!((life.cause, life.confirmed_by.as_str()), (Cause::Restore, "admin"));
    b.tend();
    assert!(b.is_serving(), "what an operator confirmed is followed: {:?}", b.mode());
    assert_eq!(b.counted(), 1);
    gossip(&mut [&mut a, &mut b]);
    gossip(&mut [&mut a, &mut b]);
    assert!(a.is_serving() && b.is_serving());
    b.count(5).unwrap();
    a.validate().unwrap();
    assert_eq!(a.counted(), 5);
    assert_eq!(deployment.place.archived().len(), 1, "what was cut off is kept");
    a.stop();
    b.stop();
    let again = deployment.start_alone("b2", "host-b");
    assert!(again.warnings().is_empty(), "{:?}", again.warnings());
}

#[test]
fn a_restore_can_be_rejected_and_what_was_served_is_written_back() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    let old = backup(&deployment);
    a.count(2).unwrap();
    b.validate().unwrap();
    deployment.place.recreate(&old);
    a.validate().unwrap_err();
    b.validate().unwrap_err();
    a.reject().unwrap();
    assert_eq!((a.is_serving(), a.counted()), (true, 2));
    b.tend();
    assert_eq!((b.is_serving(), b.counted()), (true, 2));
    b.count(3).unwrap();
    assert_eq!(deployment.place.archived().len(), 1, "what was put there is kept");
    assert_eq!(
        a.reject(),
        Err(DecisionError::NotNow(
            "nothing waits for this decision: what lies in the shared place is what this Coordinator serves".to_owned()
        ))
    );
}

#[test]
fn a_diverged_instance_goes_on_by_itself_when_its_state_is_back() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let old = backup(&deployment);
    a.count(2).unwrap();
    let new = backup(&deployment);
    deployment.place.put(&old);
    a.validate().unwrap_err();
    assert!(a.is_diverged());
    deployment.place.put(&new);
    a.tend();
    assert!(a.is_serving(), "{:?}", a.mode());
    a.count(3).unwrap();
}

#[test]
fn a_fork_that_grew_longer_is_told_from_a_successor() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let old = backup(&deployment);
    a.count(2).unwrap();
    // A copy goes on elsewhere, on the same hosts, and overtakes.
    let elsewhere = crate::cluster::simulated::SimulatedStore::new();
    elsewhere.put(&old);
    for (name, value) in deployment.place.host_entries() {
        elsewhere.set_host_entry(&name, &value);
    }
    let copy = deployment.with_place(elsewhere.clone());
    let mut other = copy.start_alone("other", "host-a");
    assert!(other.is_serving(), "{:?}", other.mode());
    for value in 10..20 {
        other.count(value).unwrap();
    }
    deployment.place.put(&content(&elsewhere.object().unwrap()));
    a.validate().unwrap_err();
    assert!(a.is_diverged());
    assert_eq!(a.counted(), 2);
}

#[test]
fn who_starts_beside_an_instance_that_knows_better_does_not_serve_a_restored_state() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let old = backup(&deployment);
    a.count(2).unwrap();
    deployment.place.put(&old);
    a.validate().unwrap_err();
    let mut b = deployment.start_among("b", "host-a", &mut [&mut a]);
    assert_eq!(b.code(), "diverged");
    assert!(is_unavailable(&b.commit([manifest("")])), "nor is it replaced");
    a.accept().unwrap();
    gossip(&mut [&mut a, &mut b]);
    gossip(&mut [&mut a, &mut b]);
    assert!(b.is_serving(), "{:?}", b.mode());
}

#[test]
fn the_state_of_another_deployment_is_never_followed() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let foreign = Deployment::new();
    foreign.running("x", "host-x").stop();
    deployment.place.put(&content(&foreign.place.object().unwrap()));
    a.validate().unwrap_err();
    a.tend();
    a.tend();
    assert!(a.is_diverged(), "{:?}", a.mode());
    assert_eq!(a.counted(), 1);
    a.accept().unwrap_err();
    a.reject().unwrap();
    assert!(a.is_serving());
}

#[test]
fn two_histories_shown_to_two_instances_are_noticed_within_one_greeting() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    deployment.place.fork("b");
    a.count(2).unwrap();
    b.count(3).unwrap();
    gossip(&mut [&mut a, &mut b]);
    assert!(a.is_diverged(), "{:?}", a.mode());
    assert!(b.is_diverged(), "{:?}", b.mode());
    assert!(is_unavailable(&a.count(4)) && is_unavailable(&b.count(4)));
}

#[test]
fn a_peer_that_lags_or_is_ahead_is_no_fork() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    for value in 2..30 {
        a.count(value).unwrap();
        gossip(&mut [&mut a, &mut b]);
        b.count(100 + value).unwrap_or_else(|error| panic!("{error:?}"));
        a.tend();
        a.count(200 + value).unwrap();
        assert!(a.is_serving() && b.is_serving());
        a.commit([crate::testing::secret("s", 10)]).unwrap();
        if a.counted() > 190 {
            break;
        }
    }
}

#[test]
fn a_backup_under_other_recovery_keys_and_other_hosts_opens_with_those_of_its_time() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let old = backup(&deployment);
    a.commit([recovery("bob")]).unwrap();
    a.stop();
    deployment.lose_host("host-a");
    deployment.place.recreate(&old);
    let mut b = deployment.start_alone("b", "host-b");
    assert_eq!(b.code(), "no_key");
    b.recover(&root("bob")).unwrap_err();
    b.recover(&root("alice")).unwrap();
    assert_eq!(b.counted(), 1);
}

#[test]
fn five_archives_are_kept_and_a_sixth_decision_is_refused_until_one_is_old() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    for round in 0..6 {
        let old = backup(&deployment);
        a.count(10 + round).unwrap();
        deployment.place.put(&old);
        a.validate().unwrap_err();
        let decided = a.reject();
        if round < 5 {
            decided.unwrap();
        } else {
            let Err(DecisionError::NotStored(why)) = decided else { panic!("{decided:?}") };
            assert!(why.contains("archives"), "{why}");
            deployment.place.advance(std::time::Duration::from_secs(31 * 24 * 3600));
            a.reject().unwrap();
        }
    }
    assert_eq!(deployment.place.archived().len(), 5);
}
