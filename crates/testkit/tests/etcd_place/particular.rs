//! What is particular to etcd: keys that operators change one by one, other clusters, other certificates.

use std::time::Duration;

use marblerun_store::cluster::conformance::{content, holds, object};
use marblerun_store::cluster::{ArchiveReason, Content, PlaceError, SharedPlace as _, WriteFailure};

use crate::lab::EtcdLab;

#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(answer: Result<T, WriteFailure>) {
    assert!(matches!(answer, Err(WriteFailure::InDoubt { conflict: true, .. })), "{answer:?}");
}

#[test]
fn each_key_of_the_state_that_somebody_else_writes_is_noticed() {
    let lab = EtcdLab::new();
    let mut place = lab.instance(1);
    let mut version = place.create(&Content { parts: Some(vec![1]), ..content(1, 500) }).unwrap();
    for key in ["state", "key", "parts"] {
        lab.put(key, b"by hand");
        assert_ne!(place.version(), Ok(Some(version.clone())), "{key}");
        assert_conflict(place.replace(&version, &content(2, 500)));
        let there = object(&mut place);
        version = place.replace(&there.version, &content(3, 500)).unwrap();
        assert!(holds(&object(&mut place), &content(3, 500)));
    }
    lab.delete("key");
    assert_conflict(place.replace(&version, &content(4, 500)));
    assert_eq!(object(&mut place).sealed_key, None);
}

#[test]
fn a_key_that_was_left_behind_does_not_hinder_a_creation() {
    let lab = EtcdLab::new();
    lab.put("key", b"old");
    lab.put("parts", b"old");
    let mut place = lab.instance(1);
    assert_eq!(place.read(), Ok(None));
    assert_eq!(place.version(), Ok(None));
    let made = place.create(&content(1, 500)).unwrap();
    let there = object(&mut place);
    assert!(holds(&there, &content(1, 500)));
    assert_eq!(there.version, made);
    assert_eq!(there.last_writer, format!("marblerun-{}", "01".repeat(16)));
}

#[test]
fn an_archive_copied_by_hand_is_known_by_its_content() {
    let lab = EtcdLab::new();
    let mut place = lab.instance(1);
    place.create(&content(1, 500)).unwrap();
    let there = object(&mut place);
    place.archive(2, &there, ArchiveReason::Reset).unwrap();
    let noted = place.archives().unwrap();
    assert!(noted[0].age.unwrap() < Duration::from_secs(600));
    lab.delete("archive/2/about");
    let computed = place.archives().unwrap();
    assert_eq!((computed[0].digest, computed[0].age), (noted[0].digest, None));
}

#[test]
fn a_host_may_keep_more_values_than_a_state_has_bytes() {
    let lab = EtcdLab::new();
    let mut place = lab.instance(1);
    for number in 0..8 {
        let value = [(format!("aa.{number}.cc"), vec![number; 300_000])].into();
        place.change_entries(&value, &[]).unwrap();
    }
    assert_eq!(place.entries().unwrap().len(), 8);
    let large = place.change_entries(&[("aa.bb.cc".to_owned(), vec![0; 2_000_000])].into(), &[]);
    assert!(matches!(large, Err(PlaceError::Refused(_))), "{large:?}");
}

#[test]
fn without_a_certificate_nothing_is_answered_and_that_is_said() {
    let lab = EtcdLab::new();
    let mut config = lab.config(1);
    config.identity = None;
    let mut place = lab.etcd(config).place();
    let answer = place.read();
    assert!(
        matches!(&answer, Err(PlaceError::Unreachable(why)) if why.contains("MARBLERUN_ETCD_CERT_FILE")),
        "{answer:?}"
    );
    let answer = place.create(&content(1, 500));
    assert!(matches!(&answer, Err(WriteFailure::InDoubt { conflict: false, .. })), "{answer:?}");
    assert_eq!(lab.instance(2).read(), Ok(None));
}

#[test]
fn a_member_that_is_away_is_passed_over_by_the_next_call() {
    let lab = EtcdLab::new();
    let mut config = lab.config(1);
    config.endpoints.insert(0, format!("https://127.0.0.1:{}", marblerun_testkit::free_port()).parse().unwrap());
    let mut place = lab.etcd(config).place();
    assert!(matches!(place.read(), Err(PlaceError::Unreachable(_))), "one call, one member");
    assert_eq!(place.read(), Ok(None));
    place.create(&content(1, 500)).unwrap();
}
