//! What is said when the wire to the API server breaks: never more than is known.

use std::time::{Duration, Instant};

use marblerun_store::cluster::conformance::{content, holds, object};
use marblerun_store::cluster::{PlaceError, SharedPlace as _, WriteFailure};
use marblerun_testkit::kube::Role;

use crate::cutter::{Cutter, Mode};
use crate::lab::{KubeLab, by_kubeconfig};

struct Wired {
    lab: KubeLab,
    cutter: Cutter,
    place: marblerun_kubernetes::KubernetesPlace,
    _folder: tempfile::TempDir,
}

fn wired() -> Wired {
    let lab = KubeLab::new(Role::Ours);
    let folder = tempfile::tempdir().unwrap();
    let cutter = Cutter::new(lab.namespace.control_plane().port().unwrap());
    let kubeconfig = cutter.kubeconfig(&lab.account.kubeconfig, folder.path());
    let place = lab.kubernetes_by(1, by_kubeconfig(&kubeconfig)).place();
    Wired { lab, cutter, place, _folder: folder }
}

#[track_caller]
fn assert_doubt<T: std::fmt::Debug>(answer: Result<T, WriteFailure>) {
    assert!(matches!(answer, Err(WriteFailure::InDoubt { conflict: false, .. })), "{answer:?}");
}

#[test]
fn a_lost_answer_and_a_lost_request_are_both_in_doubt_and_neither_is_repeated() {
    let Wired { lab, cutter, mut place, .. } = wired();
    let made = place.create(&content(1, 500)).unwrap();
    let connections = cutter.connections();

    cutter.set(Mode::LoseAnswer);
    assert_doubt(place.replace(&made, &content(2, 500)));
    cutter.set(Mode::Open);
    let applied = object(&mut lab.instance(2));
    assert!(holds(&applied, &content(2, 500)), "it was carried out, once");
    assert_eq!(cutter.connections(), connections, "nothing was sent again");

    assert_eq!(place.version(), Ok(Some(applied.version.clone())));
    assert!(holds(&object(&mut place), &content(2, 500)));
    cutter.set(Mode::LoseRequest);
    assert_doubt(place.replace(&applied.version, &content(3, 500)));
    cutter.set(Mode::Open);
    assert!(holds(&object(&mut place), &content(2, 500)), "it never arrived");
    // The same bytes again, as the protocol has it.
    place.replace(&applied.version, &content(3, 500)).unwrap();

    for mode in [Mode::LoseRequest, Mode::LoseAnswer] {
        cutter.set(mode);
        assert!(matches!(place.read(), Err(PlaceError::Unreachable(_))));
        assert!(matches!(place.version(), Err(PlaceError::Unreachable(_))));
        assert!(matches!(place.entries(), Err(PlaceError::Unreachable(_))));
        cutter.set(Mode::Open);
        assert!(place.version().is_ok());
    }
}

#[test]
fn a_lost_answer_to_a_creation_is_found_by_reading_and_may_be_sent_again() {
    let Wired { lab, cutter, mut place, .. } = wired();
    assert_eq!(place.read(), Ok(None));
    cutter.set(Mode::LoseAnswer);
    assert_doubt(place.create(&content(1, 500)));
    cutter.set(Mode::Open);
    let made = object(&mut lab.instance(2));
    assert!(holds(&made, &content(1, 500)));
    assert_eq!(place.create(&content(1, 500)), Ok(made.version));
}

#[test]
fn a_write_that_lands_late_is_in_doubt_and_meets_what_there_is_then() {
    let Wired { lab, cutter, mut place, .. } = wired();
    let made = place.create(&content(1, 500)).unwrap();
    cutter.set(Mode::HoldRequest);
    let start = Instant::now();
    assert_doubt(place.replace(&made, &content(2, 500)));
    let waited = start.elapsed();
    assert!((9..13).contains(&waited.as_secs()), "{waited:?}");
    let mut other = lab.instance(2);
    let there = object(&mut other);
    assert!(holds(&there, &content(1, 500)), "it has not landed");
    other.replace(&there.version, &content(3, 500)).unwrap();
    cutter.set(Mode::Open);
    std::thread::sleep(Duration::from_secs(1));
    assert!(holds(&object(&mut other), &content(3, 500)), "it landed on another version");

    let base = object(&mut place).version;
    cutter.set(Mode::HoldRequest);
    assert_doubt(place.replace(&base, &content(4, 500)));
    cutter.set(Mode::Open);
    let start = Instant::now();
    while !holds(&object(&mut other), &content(4, 500)) {
        assert!(start.elapsed() < Duration::from_secs(30), "it lands, long after it was given up");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn silence_is_waited_for_no_longer_than_five_seconds_by_readers() {
    let Wired { lab: _lab, cutter, mut place, .. } = wired();
    assert_eq!(place.read(), Ok(None));
    cutter.set(Mode::HoldRequest);
    let start = Instant::now();
    assert!(matches!(place.version(), Err(PlaceError::Unreachable(_))));
    let waited = start.elapsed();
    assert!((3..8).contains(&waited.as_secs()), "{waited:?}");
    cutter.set(Mode::Open);
}
