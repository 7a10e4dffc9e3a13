//! What is said when the wire to etcd breaks: never more than is known.

use std::time::{Duration, Instant};

use marblerun_store::cluster::conformance::{content, holds, object};
use marblerun_store::cluster::{PlaceError, SharedPlace as _, WriteFailure};

use crate::cutter::{Cutter, Mode};
use crate::lab::EtcdLab;

struct Wired {
    lab: EtcdLab,
    cutter: Cutter,
    place: marblerun_etcd::EtcdPlace,
}

fn wired() -> Wired {
    let lab = EtcdLab::new();
    let cutter = Cutter::new(lab.port);
    let mut config = lab.config(1);
    config.endpoints = vec![format!("https://127.0.0.1:{}", cutter.port()).parse().unwrap()];
    let place = lab.etcd(config).place();
    Wired { lab, cutter, place }
}

#[track_caller]
fn assert_doubt<T: std::fmt::Debug>(answer: Result<T, WriteFailure>) {
    assert!(matches!(answer, Err(WriteFailure::InDoubt { conflict: false, .. })), "{answer:?}");
}

#[test]
fn a_lost_answer_and_a_lost_request_are_both_in_doubt() {
    let Wired { lab, cutter, mut place } = wired();
    let made = place.create(&content(1, 500)).unwrap();
    cutter.set(Mode::LoseAnswer);
    assert_doubt(place.replace(&made, &content(2, 500)));
    cutter.set(Mode::Open);
    let there = object(&mut lab.instance(2));
    assert!(holds(&there, &content(2, 500)), "it was carried out");
    assert!(holds(&object(&mut place), &content(2, 500)));
    cutter.set(Mode::LoseRequest);
    assert_doubt(place.replace(&there.version, &content(3, 500)));
    cutter.set(Mode::Open);
    assert!(holds(&object(&mut place), &content(2, 500)), "it never arrived");
    place.replace(&there.version, &content(3, 500)).unwrap();
    cutter.set(Mode::LoseAnswer);
    assert!(matches!(place.version(), Err(PlaceError::Unreachable(_))));
}

#[test]
fn a_write_that_is_held_up_is_in_doubt_after_ten_seconds() {
    let Wired { lab, cutter, mut place } = wired();
    let made = place.create(&content(1, 500)).unwrap();
    cutter.set(Mode::HoldRequest);
    let start = Instant::now();
    assert_doubt(place.replace(&made, &content(2, 500)));
    assert!(start.elapsed() < Duration::from_secs(14), "{:?}", start.elapsed());
    let mut other = lab.instance(2);
    let there = object(&mut other);
    other.replace(&there.version, &content(3, 500)).unwrap();
    cutter.set(Mode::Open);
    std::thread::sleep(Duration::from_secs(1));
    assert!(holds(&object(&mut other), &content(3, 500)), "it landed on another version, or never");
}
