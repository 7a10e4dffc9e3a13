//! States that do not fit into one object.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use marblerun_state::Change;

use super::rig::{Deployment, Instance, gossip};
use crate::backend::Failure;
use crate::cluster::simulated::{Call, Fault};
use crate::cluster::{Content, Limits};
use crate::testing::{count, root, secret};

/// A deployment where little fits into the object, and its snapshot lies in parts.
fn large() -> (Deployment, Instance) {
    let deployment = Deployment::new();
    deployment.place.set_limits(Limits { object_bytes: 16_000, part_bytes: Some(6000), entries_bytes: 700_000 });
    let mut a = deployment.running("a", "host-a");
    a.commit([secret("large", 22_000)]).unwrap();
    assert!(a.view().part_bytes > 20_000);
    (deployment, a)
}

fn calls(deployment: &Deployment, call: Call) -> usize {
    deployment.place.calls().iter().filter(|logged| logged.call == call).count()
}

fn banks(deployment: &Deployment) -> BTreeSet<u8> {
    deployment.place.stored_parts().keys().map(|part| part.bank).collect()
}

#[test]
fn a_large_state_lies_in_parts_and_each_commit_is_one_write_of_what_changed() {
    let (deployment, mut a) = large();
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    assert!(b.is_serving() && b.state.secret("large").is_some());
    let _ = deployment.place.take_calls();
    let before = deployment.place.object().unwrap().sealed_data.unwrap().len();
    for value in 2..12 {
        let instance = if value % 2 == 0 { &mut a } else { &mut b };
        instance.validate().unwrap();
        instance.count(value).unwrap();
    }
    assert_eq!(calls(&deployment, Call::Replace), 10);
    assert_eq!((calls(&deployment, Call::WritePart), calls(&deployment, Call::ReadPart)), (0, 0));
    let grown = deployment.place.object().unwrap().sealed_data.unwrap().len() - before;
    assert!(grown < 10 * 400, "{grown}");
    a.validate().unwrap();
    assert_eq!((a.counted(), b.counted()), (11, 11));
    let c = deployment.start_alone("c", "host-a");
    assert_eq!(c.counted(), 11, "who starts opens all of it");
}

#[test]
fn when_the_object_is_full_another_bank_takes_the_next_snapshot() {
    let (deployment, mut a) = large();
    assert_eq!(banks(&deployment).len(), 1);
    let first = deployment.place.object().unwrap();
    let first_parts = deployment.place.stored_parts();
    let mut value = 2;
    while banks(&deployment).len() < 3 {
        a.count(value).unwrap();
        value += 1;
        assert!(value < 500);
    }
    // Until the second next snapshot, a copy of the first object has its parts.
    assert!(first_parts.iter().all(|(part, bytes)| deployment.place.stored_parts().get(part) == Some(bytes)));
    assert_ne!(deployment.place.object().unwrap().bank(), first.bank());
    let again = deployment.start_alone("a2", "host-a");
    assert_eq!(again.counted(), value - 1);
}

#[test]
fn a_state_that_has_become_small_lies_in_the_object_again() {
    let (deployment, mut a) = large();
    a.commit([Change::Secret("large".to_owned(), None)]).unwrap();
    let mut value = 2;
    while a.view().part_bytes > 0 {
        a.count(value).unwrap();
        value += 1;
        assert!(value < 500);
    }
    assert_eq!(deployment.place.object().unwrap().parts, None);
    assert_eq!(deployment.start_alone("a2", "host-a").counted(), value - 1);
}

#[test]
fn of_two_who_write_a_snapshot_at_once_one_is_first_and_neither_is_lost() {
    let (deployment, mut a) = large();
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    // Both are about to write one: what they add does not fit behind the last.
    let during = Arc::new(Mutex::new(None));
    let done = Arc::clone(&during);
    deployment.place.before("a", Call::WritePart, move || {
        // Between the reservation of one and its first part, the other does all of it.
        let outcome = b.commit([secret("of-b", 9000)]);
        *done.lock().unwrap() = Some((b, outcome));
    });
    a.commit([secret("of-a", 9000)]).unwrap();
    let (mut b, outcome) = during.lock().unwrap().take().unwrap();
    outcome.unwrap();
    gossip(&mut [&mut a, &mut b]);
    for instance in [&a, &b] {
        assert!(instance.is_serving());
        for name in ["large", "of-a", "of-b"] {
            assert!(instance.state.secret(name).is_some(), "{}: {name}", instance.name);
        }
    }
    let c = deployment.start_alone("c", "host-a");
    assert!(c.is_serving() && c.state.secret("of-a").is_some() && c.state.secret("of-b").is_some());
}

#[test]
fn a_part_that_lands_late_overwrites_nothing_that_a_state_needs() {
    let (deployment, mut a) = large();
    deployment.place.fault("a", Call::WritePart, Fault::Late);
    let outcome = a.commit([secret("lost", 9000)]);
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    a.commit([secret("kept", 9000)]).unwrap();
    assert!(deployment.place.land().unwrap().is_err(), "it compares with what lay there");
    let again = deployment.start_alone("a2", "host-a");
    assert!(again.is_serving() && again.state.secret("kept").is_some() && again.state.secret("lost").is_none());
}

#[test]
fn others_let_a_snapshot_be_written_first_but_not_for_ever() {
    let (deployment, mut a) = large();
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    // `a` dies between reservation and snapshot.
    for _ in 0..8 {
        deployment.place.fault("a", Call::WritePart, Fault::LostRequest);
    }
    a.commit([secret("lost", 9000)]).unwrap_err();
    drop(a);
    b.validate().unwrap();
    b.count(7).unwrap();
    assert_eq!(deployment.start_alone("c", "host-b").counted(), 7);
}

#[test]
fn a_part_that_is_gone_is_recovery_mode_and_back_it_is_all_there() {
    let (deployment, a) = large();
    a.stop();
    let (part, bytes) = deployment.place.stored_parts().into_iter().nth(1).unwrap();
    for wrong in [None, Some(&b"junk"[..])] {
        deployment.place.set_part(part, wrong);
        let mut again = deployment.start_alone("a2", "host-a");
        assert_eq!(again.code(), "damaged");
        assert!(again.recover(&root("alice")).is_err());
        deployment.place.set_part(part, Some(&bytes));
        again.tend();
        assert!(again.is_serving(), "{:?}", again.mode());
        again.stop();
    }
}

#[test]
fn recovery_keys_open_a_state_in_parts() {
    let (deployment, a) = large();
    a.stop();
    deployment.place.delete_host_entries();
    let mut other = deployment.start_alone("b", "host-b");
    assert_eq!(other.code(), "no_key");
    other.recover(&root("alice")).unwrap();
    assert!(other.is_serving() && other.state.secret("large").is_some());
    other.count(2).unwrap();
    assert_eq!(deployment.start_alone("c", "host-b").counted(), 2);
}

#[test]
fn a_restore_is_accepted_or_rejected_and_archives_keep_their_parts() {
    for accepts in [true, false] {
        let (deployment, mut a) = large();
        let old = deployment.place.object().unwrap();
        a.commit([secret("newer", 9000)]).unwrap();
        deployment.place.put(&Content {
            sealed_data: old.sealed_data.clone().unwrap(),
            sealed_key: old.sealed_key.clone(),
            parts: old.parts.clone(),
            ..Content::default()
        });
        a.tend();
        assert!(a.is_diverged());
        if accepts {
            a.accept().unwrap()
        } else {
            a.reject().unwrap()
        }
        assert!(a.is_serving());
        assert_eq!(a.state.secret("newer").is_some(), !accepts);
        let archived = deployment.place.archived().into_values().next().unwrap();
        let pinned = archived.object.bank().unwrap();
        let stored = deployment.place.stored_parts();
        let kept: Vec<_> = stored.into_iter().filter(|(part, _)| part.bank == pinned).collect();
        for round in 0..4 {
            a.commit([secret("changes", 9000 + round)]).unwrap();
        }
        let now = deployment.place.stored_parts();
        assert!(kept.iter().all(|(part, bytes)| now.get(part) == Some(bytes)), "accepts: {accepts}");
        assert!(deployment.start_alone("a2", "host-a").is_serving());
    }
}

#[test]
fn what_fits_nowhere_or_may_not_be_spread_is_refused_and_the_old_stays() {
    let (deployment, mut a) = large();
    let outcome = a.commit([secret("huge", 100_000)]);
    assert!(matches!(&outcome, Err(Failure::NotStored(why)) if why.contains("hold fewer")), "{outcome:?}");
    deployment.place.deny("a", Call::WritePart);
    let outcome = a.commit([secret("more", 9000)]);
    assert!(matches!(&outcome, Err(Failure::NotStored(why)) if why.contains("stateParts")), "{outcome:?}");
    a.commit([count(3)]).unwrap();
    assert_eq!(deployment.start_alone("b", "host-a").counted(), 3);
}
