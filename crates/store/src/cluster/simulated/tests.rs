use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::cluster::conformance::{Lab, PROMISES, content, holds, object};
use crate::cluster::{ArchiveReason, Limits, Part, PlaceError, SharedPlace, WriteFailure};

impl Lab for SimulatedStore {
    fn place(&self, instance: u8) -> Box<dyn SharedPlace> {
        Box::new(Self::place(self, &instance.to_string()))
    }

    fn delete_object(&self) {
        self.delete();
    }

    fn make_empty_object(&self) -> bool {
        self.empty();
        true
    }

    fn delete_entries(&self) {
        self.delete_host_entries();
    }
}

fn with_parts() -> SimulatedStore {
    let store = SimulatedStore::new();
    store.set_limits(Limits { object_bytes: 10_000, part_bytes: Some(1000), entries_bytes: 1000 });
    store
}

#[test]
fn it_keeps_every_promise_of_a_shared_place() {
    for (name, check) in PROMISES {
        for store in [SimulatedStore::new(), with_parts()] {
            println!("{name}");
            check(&store);
        }
    }
}

#[test]
fn a_lost_request_changes_nothing_and_a_lost_answer_does() {
    let store = SimulatedStore::new();
    let mut place = store.place("a");
    let base = place.create(&content(1, 100)).unwrap();
    store.fault("a", Call::Replace, Fault::LostRequest);
    let doubt = place.replace(&base, &content(2, 100));
    assert!(matches!(doubt, Err(WriteFailure::InDoubt { conflict: false, .. })));
    assert!(holds(&object(&mut place), &content(1, 100)));
    store.fault("a", Call::Replace, Fault::LostAnswer);
    let doubt = place.replace(&base, &content(2, 100));
    assert!(matches!(doubt, Err(WriteFailure::InDoubt { conflict: false, .. })));
    assert!(holds(&object(&mut place), &content(2, 100)));
}

#[test]
fn a_repetition_below_turns_success_into_conflict() {
    let store = SimulatedStore::new();
    let mut place = store.place("a");
    let base = place.create(&content(1, 100)).unwrap();
    store.fault("a", Call::Replace, Fault::Repeated);
    let answer = place.replace(&base, &content(2, 100));
    assert!(matches!(answer, Err(WriteFailure::InDoubt { conflict: true, .. })));
    assert!(holds(&object(&mut place), &content(2, 100)));
}

#[test]
fn a_late_request_lands_when_the_test_says_and_meets_what_there_is_then() {
    let store = SimulatedStore::new();
    let mut place = store.place("a");
    let base = place.create(&content(1, 100)).unwrap();
    store.fault("a", Call::Replace, Fault::Late);
    store.fault("a", Call::Replace, Fault::Late);
    for _ in 0..2 {
        assert!(place.replace(&base, &content(2, 100)).is_err());
    }
    assert!(holds(&object(&mut place), &content(1, 100)));
    assert_eq!(store.late(), 2);
    assert!(matches!(store.land(), Some(Ok(Some(_)))));
    assert!(holds(&object(&mut place), &content(2, 100)));
    assert!(matches!(store.land(), Some(Err(_))), "the second one finds another base");
    assert!(store.land().is_none());
}

#[test]
fn others_act_between_two_calls_when_the_test_says() {
    let store = SimulatedStore::new();
    let (mut a, mut b) = (store.place("a"), store.place("b"));
    let base = a.create(&content(1, 100)).unwrap();
    b.read().unwrap();
    let seen = base.clone();
    store.before("a", Call::Replace, move || {
        b.replace(&seen, &content(2, 100)).unwrap();
    });
    assert!(matches!(a.replace(&base, &content(3, 100)), Err(WriteFailure::InDoubt { conflict: true, .. })));
    assert!(holds(&object(&mut a), &content(2, 100)));
}

#[test]
fn faults_of_reads_answer_nothing() {
    let store = SimulatedStore::new();
    let mut place = store.place("a");
    for fault in [Fault::LostRequest, Fault::LostAnswer, Fault::GatewayTimeout, Fault::TooManyRequests(None)] {
        store.fault("a", Call::Read, fault);
        assert!(matches!(place.read(), Err(PlaceError::Unreachable(_))));
    }
    store.fault("a", Call::Read, Fault::Garbled);
    assert!(matches!(place.read(), Err(PlaceError::Malformed(_))));
    store.stall("a");
    assert!(matches!(place.version(), Err(PlaceError::Unreachable(_))));
    assert!(store.place("b").version().is_ok());
    store.resume("a");
    store.deny("a", Call::Entries);
    assert!(matches!(place.entries(), Err(PlaceError::Forbidden(_))));
    store.permit("a", Call::Entries);
    assert!(place.entries().is_ok());
}

#[test]
fn faults_of_writes_are_what_a_server_answers() {
    let store = SimulatedStore::new();
    let mut place = store.place("a");
    let wait = Some(Duration::from_secs(3));
    store.fault("a", Call::Create, Fault::TooManyRequests(wait));
    let answer = place.create(&content(1, 100));
    assert!(matches!(answer, Err(WriteFailure::InDoubt { conflict: false, retry_after, .. }) if retry_after == wait));
    store.fault("a", Call::Create, Fault::ServerError);
    assert!(place.create(&content(1, 100)).is_err());
    assert_eq!(place.read(), Ok(None));
    store.deny("a", Call::Create);
    assert!(matches!(place.create(&content(1, 100)), Err(WriteFailure::Forbidden(_))));
    store.permit("a", Call::Create);
    store.fault("a", Call::Create, Fault::GatewayTimeout);
    assert!(place.create(&content(1, 100)).is_err());
    let base = object(&mut place).version;
    store.set_immutable(true);
    assert!(object(&mut place).immutable);
    assert!(matches!(place.replace(&base, &content(2, 100)), Err(WriteFailure::Refused(_))));
    let mine = BTreeMap::from([("n".to_owned(), vec![1])]);
    store.fault("a", Call::ChangeEntries, Fault::LostAnswer);
    assert!(matches!(place.change_entries(&mine, &[]), Err(PlaceError::Unreachable(_))));
    assert_eq!(store.host_entries(), mine);
}

#[test]
fn the_place_can_lie() {
    let store = SimulatedStore::new();
    let (mut a, mut b) = (store.place("a"), store.place("b"));
    let first = a.create(&content(1, 100)).unwrap();
    store.freeze("b");
    let second = a.replace(&first, &content(2, 100)).unwrap();
    assert_eq!(b.version(), Ok(Some(first.clone())));
    assert!(holds(&object(&mut b), &content(1, 100)));
    assert!(b.replace(&first, &content(3, 100)).is_err(), "it meets what there is");
    store.thaw("b");
    assert_eq!(b.version(), Ok(Some(second.clone())));

    store.fork("b");
    b.read().unwrap();
    let forked = b.replace(&second, &content(4, 100)).unwrap();
    let main = a.replace(&second, &content(5, 100)).unwrap();
    assert_eq!(forked, main, "one version, two histories");
    assert!(holds(&object(&mut b), &content(4, 100)));
    assert!(holds(&object(&mut a), &content(5, 100)));
    let mut c = store.place("c");
    store.join("c", "b");
    assert!(holds(&object(&mut c), &content(4, 100)));
    store.unite("c");
    assert!(holds(&object(&mut c), &content(5, 100)));

    assert!(store.turn_back(&first));
    assert_eq!(object(&mut a).version, first);
    assert_eq!(a.replace(&first, &content(6, 100)), Ok(second), "revisions count a second time");
}

#[test]
fn operators_restore_replace_and_delete() {
    let store = with_parts();
    let mut place = store.place("a");
    let base = place.create(&content(1, 100)).unwrap();
    let touched = store.touch().unwrap();
    assert_eq!((&touched.uid, touched == base), (&base.uid, false));
    let put = store.put(&content(2, 100));
    assert_eq!(put.uid, base.uid);
    let made_again = store.recreate(&content(1, 100));
    assert_ne!(made_again.uid, base.uid);
    assert_eq!(object(&mut place).last_writer, "kubectl");
    store.set_foreign_bytes(9900);
    assert_eq!(object(&mut place).foreign_bytes, 9900);
    assert!(matches!(place.replace(&made_again, &content(3, 100)), Err(WriteFailure::TooLarge(_))));
    let there = store.object().unwrap();
    place.archive(2, &there, ArchiveReason::Damaged).unwrap();
    store.advance(Duration::from_secs(31 * 86400));
    assert_eq!(place.archives().unwrap()[0].age, Some(Duration::from_secs(31 * 86400)));
    store.forget_age(2);
    assert_eq!(place.archives().unwrap()[0].age, None);
    assert_eq!(store.archived()[&2].reason, ArchiveReason::Damaged);
    store.delete_archive(2);
    assert_eq!(place.archives(), Ok(Vec::new()));
    let part = Part { bank: 0, number: 1 };
    place.write_part(part, None, b"x").unwrap();
    store.set_part(part, None);
    assert_eq!((place.read_part(part), store.stored_parts().len()), (Ok(None), 0));
    store.set_host_entry("somebody", b"else");
    let too_much = BTreeMap::from([("mine".to_owned(), vec![0; 1000])]);
    assert!(matches!(place.change_entries(&too_much, &[]), Err(PlaceError::Refused(_))));
    assert_eq!(place.entries().unwrap().len(), 1);
    let writers: Vec<_> = store.history().iter().map(|written| written.writer.clone()).collect();
    assert_eq!(writers, ["a", "kubectl", "kubectl", "kubectl"]);
}

#[test]
fn every_call_is_in_the_log_with_its_outcome() {
    let store = SimulatedStore::new();
    let mut place = store.place("a");
    place.read().unwrap();
    place.create(&content(1, 100)).unwrap();
    store.fault("a", Call::Version, Fault::LostAnswer);
    assert!(place.version().is_err());
    assert!(store.place("b").create(&content(2, 100)).is_err());
    place.report(crate::cluster::Severity::Warning, "Reason", "text");
    let seen: Vec<_> = store.take_calls().into_iter().map(|it| (it.instance, it.call, it.outcome)).collect();
    let unknown = Outcome::Unknown("no answer in time".to_owned());
    assert_eq!(
        seen,
        [
            ("a".to_owned(), Call::Read, Outcome::Done),
            ("a".to_owned(), Call::Create, Outcome::Done),
            ("a".to_owned(), Call::Version, unknown),
            ("b".to_owned(), Call::Create, Outcome::Conflict),
            ("a".to_owned(), Call::Report, Outcome::Done),
        ]
    );
    assert!(store.calls().is_empty());
    assert_eq!(store.reports()[0].message, "text");
}
