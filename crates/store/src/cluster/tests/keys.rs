//! Key encryption keys: where they come from, when they count, how they go.

use super::rig::{Deployment, gossip};
use crate::cluster::{Kek, SealIdentity};
use crate::testing::{manifest, recovery};

#[test]
fn a_rotated_key_replaces_the_old_one_once_every_instance_has_it() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    let before = a.view().slots.clone();
    a.rotate(false).unwrap();
    assert_eq!(a.view().slots.len(), 2);
    for _ in 0..4 {
        gossip(&mut [&mut a, &mut b]);
    }
    let after = a.view().slots.clone();
    assert_eq!(after.len(), 1, "the old slot is gone");
    assert_ne!(after, before);
    b.validate().unwrap();
    assert_eq!(b.view().kek_ids(), after, "the old key is forgotten");
    a.stop();
    b.stop();
    assert!(deployment.start_alone("b2", "host-b").is_serving());
}

#[test]
fn a_host_that_was_away_during_a_rotation_asks_the_others() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let b = deployment.start_among("b", "host-b", &mut [&mut a]);
    b.stop();
    a.rotate(false).unwrap();
    a.hear(Vec::new());
    a.tend();
    a.tend();
    assert_eq!(a.view().slots.len(), 1);
    let lonely = deployment.start_alone("b2", "host-b");
    assert_eq!(lonely.code(), "no_key");
    lonely.stop();
    let b = deployment.start_among("b3", "host-b", &mut [&mut a]);
    assert!(b.is_serving(), "{:?}", b.mode());
}

#[test]
fn a_revoked_key_opens_nothing_that_is_written_after() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let stolen = a.view().keks.clone();
    let dek_before = deployment.place.object().unwrap().sealed_key;
    a.rotate(true).unwrap();
    assert_ne!(deployment.place.object().unwrap().sealed_key, dek_before);
    assert!(stolen.iter().all(|kek| !a.view().slots.contains(&kek.id())));
    assert_eq!(deployment.place.host_entries().len(), 1, "own old copies are gone");
    a.count(2).unwrap();
    a.stop();
    let again = deployment.start_alone("a2", "host-a");
    assert_eq!((again.is_serving(), again.counted()), (true, 2));
}

#[test]
fn a_key_that_does_not_open_the_state_is_never_given_to_anyone() {
    let deployment = Deployment::new();
    deployment.running("a", "host-a").stop();
    let mut b = deployment.start_alone("b", "host-b");
    let wrong = Kek::generate().unwrap();
    b.backend.take_kek(wrong.clone());
    b.tend();
    assert_eq!(b.code(), "no_key");
    assert!(b.view().keks.is_empty());
    let mut a = deployment.start_alone("a2", "host-a");
    gossip(&mut [&mut a, &mut b]);
    gossip(&mut [&mut a, &mut b]);
    assert!(b.is_serving());
    assert!(!b.view().keks.contains(&wrong));
}

#[test]
fn other_recovery_keys_change_the_data_key_and_the_others_follow_without_a_restart() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    a.commit([recovery("bob")]).unwrap();
    b.validate().unwrap();
    b.count(2).unwrap();
    a.validate().unwrap();
    assert_eq!(a.counted(), 2);
}

#[test]
fn a_stricter_seal_mode_makes_new_keys_at_once() {
    let deployment = Deployment::new();
    let identity = SealIdentity { measurement: vec![1; 32], security_version: 3 };
    let mut a = deployment.boot_as("a", "host-a", identity.clone());
    a.hear(Vec::new());
    a.tend();
    a.commit([manifest("ProductKey"), recovery("alice")]).unwrap();
    a.tend();
    let loose = a.view().kek_ids();
    a.commit([manifest("UniqueKey")]).unwrap();
    a.tend();
    assert!(a.view().slots.iter().all(|slot| !loose.contains(slot)));
    assert!(a.view().entry_sealed);
    a.stop();
    let mut same = deployment.boot_as("a2", "host-a", identity);
    same.hear(Vec::new());
    same.tend();
    assert!(same.is_serving(), "{:?}", same.mode());
}

#[test]
fn entries_of_one_host_are_few_and_the_one_in_force_stays() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    a.hear(Vec::new());
    for _ in 0..10 {
        a.rotate(false).unwrap();
        a.tend();
        a.tend();
    }
    assert!(deployment.place.host_entries().len() <= 5, "{}", deployment.place.host_entries().len());
    a.stop();
    assert!(deployment.start_alone("a2", "host-a").is_serving());
}
