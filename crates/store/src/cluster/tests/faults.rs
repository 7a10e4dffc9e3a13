//! Writes whose outcome is not known, and everything else that can go wrong on the way.

use super::rig::{Deployment, gossip};
use crate::StoreMode;
use crate::backend::Failure;
use crate::cluster::simulated::{Call, Fault};
use crate::testing::secret;

#[test]
fn a_write_whose_answer_is_lost_counts_once() {
    for fault in [Fault::LostAnswer, Fault::Repeated, Fault::GatewayTimeout, Fault::Garbled] {
        let deployment = Deployment::new();
        let mut a = deployment.running("a", "host-a");
        let before = deployment.place.history().len();
        deployment.place.fault("a", Call::Replace, fault.clone());
        a.count(2).unwrap();
        assert_eq!(deployment.place.history().len(), before + 1, "{fault:?}");
        assert_eq!(a.counted(), 2);
        a.count(3).unwrap();
    }
}

#[test]
fn a_write_that_never_arrived_is_sent_again_as_the_same_bytes() {
    for fault in [Fault::LostRequest, Fault::ServerError, Fault::TooManyRequests(None)] {
        let deployment = Deployment::new();
        let mut a = deployment.running("a", "host-a");
        deployment.place.fault("a", Call::Replace, fault.clone());
        a.count(2).unwrap();
        let again = deployment.start_alone("a2", "host-a");
        assert_eq!(again.counted(), 2, "{fault:?}");
    }
}

#[test]
fn a_lost_race_is_run_again_on_the_winners_state() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    a.commit([secret("of-a", 10)]).unwrap();
    b.commit([secret("of-b", 10)]).unwrap();
    a.validate().unwrap();
    assert!(a.state.secret("of-a").is_some() && a.state.secret("of-b").is_some());
    assert!(b.state.secret("of-a").is_some());
}

#[test]
fn a_write_that_lands_late_is_found_out_whatever_came_between() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    // All that is sent stays under way until its caller has given up.
    for _ in 0..64 {
        deployment.place.fault("a", Call::Replace, Fault::Late);
    }
    let outcome = a.count(2);
    assert!(matches!(outcome, Err(Failure::Unknown(_))), "{outcome:?}");
    assert_eq!(a.counted(), 1, "nothing of it is published");
    deployment.place.land().unwrap().unwrap();
    a.validate().unwrap();
    assert_eq!(a.counted(), 2, "it is in force, and seen");
    while let Some(landed) = deployment.place.land() {
        assert!(landed.is_err(), "only one of them can be in force");
    }
}

#[test]
fn a_late_write_that_lost_changes_nothing() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    for _ in 0..64 {
        deployment.place.fault("a", Call::Replace, Fault::Late);
    }
    assert!(matches!(a.count(2), Err(Failure::Unknown(_))));
    b.count(5).unwrap();
    while let Some(landed) = deployment.place.land() {
        assert!(landed.is_err());
    }
    a.validate().unwrap();
    gossip(&mut [&mut a, &mut b]);
    assert_eq!((a.counted(), b.counted()), (5, 5));
    assert!(a.is_serving() && b.is_serving());
}

#[test]
fn while_the_place_is_away_reads_go_on_writes_are_refused_and_all_is_well_after() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    deployment.place.stall("a");
    assert!(a.validate().is_err());
    assert!(a.count(2).is_err());
    a.tend();
    assert_eq!(a.counted(), 1);
    assert!(a.is_serving(), "the process does not give up what it has");
    deployment.place.resume("a");
    a.tend();
    a.count(3).unwrap();
}

#[test]
fn what_does_not_fit_is_refused_alone_and_the_old_state_stands() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let refused = a.commit([secret("large", 1_000_000)]);
    assert!(matches!(&refused, Err(Failure::NotStored(why)) if why.contains("at most")), "{refused:?}");
    a.count(2).unwrap();
    deployment.place.set_foreign_bytes(960_000);
    deployment.place.touch();
    a.validate().unwrap();
    let refused = a.count(3);
    assert!(refused.is_err(), "foreign values count");
    assert_eq!(a.counted(), 2);
}

#[test]
fn deleted_under_a_running_instance_it_is_told_and_never_made_anew_by_itself() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    deployment.place.delete();
    assert!(a.count(2).is_err());
    for _ in 0..3 {
        a.tend();
    }
    assert!(deployment.place.object().is_none());
    let StoreMode::ReadOnly { reason } = a.mode() else { panic!("{:?}", a.mode()) };
    assert!(reason.contains("restore reject"), "{reason}");
}

#[test]
fn nothing_is_written_without_a_change() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    let before = deployment.place.history().len();
    for _ in 0..5 {
        gossip(&mut [&mut a, &mut b]);
    }
    a.stop();
    b.stop();
    let mut again = deployment.start_alone("a2", "host-a");
    again.tend();
    assert_eq!(deployment.place.history().len(), before);
}

#[test]
fn a_failed_genesis_leaves_no_trace_at_whatever_call_it_fails() {
    for call in [Call::Read, Call::Entries, Call::Archives, Call::ChangeEntries, Call::Create] {
        for fault in [Fault::LostRequest, Fault::LostAnswer] {
            let deployment = Deployment::new();
            let mut a = deployment.boot("a", "host-a");
            a.hear(Vec::new());
            deployment.place.fault("a", call, fault.clone());
            a.tend();
            drop(a);
            let mut again = deployment.start_alone("a2", "host-a");
            again.tend();
            assert!(again.is_serving(), "{call:?} {fault:?}: {:?}", again.mode());
        }
    }
}
