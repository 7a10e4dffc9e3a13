//! What every shared place promises, as checks that run against any of them: the one in memory, a Kubernetes API server,
//! etcd. Each check wants a place of its own, in which nothing is yet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "checks for tests, which end where a promise is broken"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::digest;

use super::{ArchiveReason, Content, Notes, Object, Part, PlaceError, SharedPlace, Version, WriteFailure};

/// A place under test, and what others do to it.
pub trait Lab: Sync {
    /// The place as that instance reaches it.
    fn place(&self, instance: u8) -> Box<dyn SharedPlace>;
    /// An operator deletes the object.
    fn delete_object(&self);
    /// An operator makes the object without `sealed_data`. False if such a thing cannot be here.
    fn make_empty_object(&self) -> bool;
    /// An operator deletes the values of all hosts.
    fn delete_entries(&self);
}

/// A promise.
pub type Check = fn(&dyn Lab);

/// All promises, by name.
pub const PROMISES: &[(&str, Check)] = &[
    ("a_new_place_is_empty", a_new_place_is_empty),
    ("what_is_created_is_read_by_all", what_is_created_is_read_by_all),
    ("the_second_creator_gets_a_conflict", the_second_creator_gets_a_conflict),
    ("of_eight_creators_at_once_one_wins", of_eight_creators_at_once_one_wins),
    ("an_instance_replaces_what_it_wrote_without_reading", an_instance_replaces_what_it_wrote_without_reading),
    ("of_two_writers_on_one_base_one_wins", of_two_writers_on_one_base_one_wins),
    ("of_eight_writers_at_once_one_wins", of_eight_writers_at_once_one_wins),
    ("a_base_that_was_not_read_last_is_not_sent", a_base_that_was_not_read_last_is_not_sent),
    ("values_that_are_left_out_go_away", values_that_are_left_out_go_away),
    ("an_object_made_again_is_another_one", an_object_made_again_is_another_one),
    ("a_deleted_object_is_missing_and_can_be_made_again", a_deleted_object_is_missing_and_can_be_made_again),
    ("an_object_without_content_is_created_over", an_object_without_content_is_created_over),
    ("too_much_is_refused_and_the_old_stays", too_much_is_refused_and_the_old_stays),
    ("hosts_keep_their_values_apart", hosts_keep_their_values_apart),
    ("deleted_values_of_hosts_can_be_written_again", deleted_values_of_hosts_can_be_written_again),
    ("an_archive_keeps_what_was_there", an_archive_keeps_what_was_there),
    ("parts_are_kept_where_they_may_be", parts_are_kept_where_they_may_be),
    ("what_is_said_of_parts_is_replaced_alone", what_is_said_of_parts_is_replaced_alone),
];

/// Content that is told from others by its seed.
#[must_use]
pub fn content(seed: u8, size: usize) -> Content {
    Content {
        sealed_data: vec![seed; size],
        sealed_key: Some(vec![seed ^ 0xff; 60]),
        parts: None,
        notes: Notes {
            deployment: hex::encode([seed; 16]),
            incarnation: 1,
            sequence: u64::from(seed),
            manifest: String::new(),
            root: hex::encode([seed; 32]),
            format: 1,
        },
    }
}

/// The object that is there.
#[must_use]
pub fn object(place: &mut dyn SharedPlace) -> Object {
    place.read().unwrap().expect("there is an object")
}

/// Whether the object holds just that.
#[must_use]
pub fn holds(object: &Object, content: &Content) -> bool {
    object.sealed_data.as_ref() == Some(&content.sealed_data)
        && object.sealed_key == content.sealed_key
        && object.parts == content.parts
}

#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(answer: Result<T, WriteFailure>) {
    assert!(matches!(answer, Err(WriteFailure::InDoubt { conflict: true, .. })), "{answer:?}");
}

fn a_new_place_is_empty(lab: &dyn Lab) {
    let mut place = lab.place(1);
    assert_eq!(place.read(), Ok(None));
    assert_eq!(place.version(), Ok(None));
    assert_eq!(place.entries(), Ok(BTreeMap::new()));
    assert_eq!(place.archives(), Ok(Vec::new()));
    assert!(!place.name().is_empty());
}

fn what_is_created_is_read_by_all(lab: &dyn Lab) {
    let (mut one, mut two) = (lab.place(1), lab.place(2));
    let made = Content { parts: Some(b"names".to_vec()), ..content(1, 5000) };
    let version = one.create(&made).unwrap();
    for place in [&mut one, &mut two] {
        let there = object(place.as_mut());
        assert!(holds(&there, &made));
        assert_eq!(there.version, version);
        assert!(!there.immutable);
        assert_eq!(there.foreign_bytes, 0);
        assert!(!there.last_writer.is_empty());
        assert_eq!(place.version(), Ok(Some(version.clone())));
    }
}

fn the_second_creator_gets_a_conflict(lab: &dyn Lab) {
    let (mut one, mut two) = (lab.place(1), lab.place(2));
    one.create(&content(1, 500)).unwrap();
    assert_conflict(two.create(&content(2, 500)));
    assert!(holds(&object(two.as_mut()), &content(1, 500)));
}

fn of_eight_creators_at_once_one_wins(lab: &dyn Lab) {
    let won = at_once(lab, |place, seed| place.create(&content(seed, 3000)), |_| ());
    assert_eq!(won.len(), 1, "{won:?}");
    let (seed, version) = &won[0];
    let there = object(lab.place(1).as_mut());
    assert!(holds(&there, &content(*seed, 3000)));
    assert_eq!(there.version, *version);
}

fn an_instance_replaces_what_it_wrote_without_reading(lab: &dyn Lab) {
    let mut place = lab.place(1);
    let mut version = place.create(&content(1, 500)).unwrap();
    for seed in 2..6 {
        let newer = place.replace(&version, &content(seed, 500 + usize::from(seed))).unwrap();
        assert_eq!(newer.uid, version.uid);
        assert_ne!(newer.revision, version.revision);
        version = newer;
    }
    let there = object(lab.place(2).as_mut());
    assert_eq!(there.version, version);
    assert!(holds(&there, &content(5, 505)));
}

fn of_two_writers_on_one_base_one_wins(lab: &dyn Lab) {
    let (mut one, mut two) = (lab.place(1), lab.place(2));
    let base = one.create(&content(1, 500)).unwrap();
    assert_eq!(object(two.as_mut()).version, base);
    let second = two.replace(&base, &content(2, 500)).unwrap();
    assert_conflict(one.replace(&base, &content(3, 500)));
    let read = object(one.as_mut());
    assert_eq!(read.version, second);
    assert!(holds(&read, &content(2, 500)));
    one.replace(&read.version, &content(4, 500)).unwrap();
}

fn of_eight_writers_at_once_one_wins(lab: &dyn Lab) {
    let base = lab.place(1).create(&content(100, 3000)).unwrap();
    let won = at_once(
        lab,
        |place, seed| place.replace(&base, &content(seed, 3000)),
        |place| assert_eq!(object(place).version, base),
    );
    assert_eq!(won.len(), 1, "{won:?}");
    assert!(holds(&object(lab.place(1).as_mut()), &content(won[0].0, 3000)));
}

fn a_base_that_was_not_read_last_is_not_sent(lab: &dyn Lab) {
    let mut place = lab.place(1);
    let first = place.create(&content(1, 500)).unwrap();
    place.replace(&first, &content(2, 500)).unwrap();
    assert_conflict(place.replace(&first, &content(3, 500)));
    let unread = lab.place(2).replace(&first, &content(3, 500));
    assert_conflict(unread);
    assert!(holds(&object(place.as_mut()), &content(2, 500)));
}

fn values_that_are_left_out_go_away(lab: &dyn Lab) {
    let mut place = lab.place(1);
    let version = place.create(&Content { parts: Some(vec![1, 2]), ..content(1, 500) }).unwrap();
    place.replace(&version, &Content { sealed_key: None, ..content(2, 500) }).unwrap();
    let there = object(place.as_mut());
    assert_eq!((there.sealed_key, there.parts), (None, None));
}

fn an_object_made_again_is_another_one(lab: &dyn Lab) {
    let (mut one, mut two) = (lab.place(1), lab.place(2));
    let old = one.create(&content(1, 500)).unwrap();
    lab.delete_object();
    let new = two.create(&content(1, 500)).unwrap();
    assert_ne!(old.uid, new.uid);
    assert_conflict(one.replace(&old, &content(2, 500)));
    assert!(holds(&object(one.as_mut()), &content(1, 500)));
}

fn a_deleted_object_is_missing_and_can_be_made_again(lab: &dyn Lab) {
    let mut place = lab.place(1);
    let base = place.create(&content(1, 500)).unwrap();
    lab.delete_object();
    assert_eq!(place.replace(&base, &content(2, 500)), Err(WriteFailure::Missing));
    assert_eq!(place.version(), Ok(None));
    assert_eq!(place.read(), Ok(None));
    place.create(&content(3, 500)).unwrap();
    assert!(holds(&object(place.as_mut()), &content(3, 500)));
}

fn an_object_without_content_is_created_over(lab: &dyn Lab) {
    if !lab.make_empty_object() {
        return;
    }
    let (mut one, mut two) = (lab.place(1), lab.place(2));
    let empty = object(one.as_mut());
    assert_eq!((&empty.sealed_data, &empty.sealed_key), (&None, &None));
    assert_eq!(object(two.as_mut()).version, empty.version);
    let made = one.create(&content(1, 500)).unwrap();
    assert_eq!(made.uid, empty.version.uid);
    assert_conflict(two.create(&content(2, 500)));
    assert!(holds(&object(two.as_mut()), &content(1, 500)));
    one.replace(&made, &content(3, 500)).unwrap();
}

fn too_much_is_refused_and_the_old_stays(lab: &dyn Lab) {
    let mut place = lab.place(1);
    let most = place.limits().object_bytes;
    let large = |size: usize| Content { sealed_key: None, ..content(1, size) };
    assert!(matches!(place.create(&large(most + 1)), Err(WriteFailure::TooLarge(_))));
    assert_eq!(place.read(), Ok(None));
    let version = place.create(&large(most)).unwrap();
    let refused = place.replace(&version, &large(most + 1));
    assert!(matches!(refused, Err(WriteFailure::TooLarge(_))), "{refused:?}");
    assert!(holds(&object(place.as_mut()), &large(most)));
    place.replace(&version, &content(2, 500)).unwrap();
}

fn hosts_keep_their_values_apart(lab: &dyn Lab) {
    let (mut one, mut two) = (lab.place(1), lab.place(2));
    let named = |name: &str, byte: u8| BTreeMap::from([(name.to_owned(), vec![byte; 200])]);
    one.change_entries(&named("aa.11.22", 1), &[]).unwrap();
    two.change_entries(&named("bb.11.22", 2), &[]).unwrap();
    let mut more = named("aa.33.22", 3);
    more.extend(named("aa.44.22", 4));
    one.change_entries(&more, &["aa.11.22".to_owned()]).unwrap();
    let mut expected = more.clone();
    expected.extend(named("bb.11.22", 2));
    assert_eq!(one.entries(), Ok(expected.clone()));
    one.change_entries(&named("aa.33.22", 5), &["is.not.there".to_owned()]).unwrap();
    expected.extend(named("aa.33.22", 5));
    assert_eq!(two.entries(), Ok(expected));
    one.change_entries(&BTreeMap::new(), &[]).unwrap();
}

fn deleted_values_of_hosts_can_be_written_again(lab: &dyn Lab) {
    let mut place = lab.place(1);
    let mine = BTreeMap::from([("aa.11.22".to_owned(), vec![0, 255, 7])]);
    place.change_entries(&mine, &[]).unwrap();
    lab.delete_entries();
    assert_eq!(place.entries(), Ok(BTreeMap::new()));
    place.change_entries(&mine, &["aa.00.22".to_owned()]).unwrap();
    assert_eq!(place.entries(), Ok(mine));
}

fn an_archive_keeps_what_was_there(lab: &dyn Lab) {
    let mut place = lab.place(1);
    let digest_of = |content: &Content| {
        <[u8; 32]>::try_from(digest::digest(&digest::SHA256, &content.sealed_data).as_ref()).unwrap()
    };
    place.create(&content(1, 5000)).unwrap();
    let first = object(place.as_mut());
    place.archive(0, &first, ArchiveReason::Imported).unwrap();
    let version = place.replace(&first.version, &content(2, 5000)).unwrap();
    let second = object(place.as_mut());
    assert_eq!(second.version, version);
    place.archive(3, &second, ArchiveReason::Reset).unwrap();
    let archives = lab.place(2).archives().unwrap();
    let found: Vec<_> = archives.iter().map(|archive| (archive.place, archive.digest)).collect();
    assert_eq!(found, [(0, digest_of(&content(1, 5000))), (3, digest_of(&content(2, 5000)))]);
    for archive in archives {
        assert!(archive.age.is_some_and(|age| age < Duration::from_secs(3600)), "{archive:?}");
    }
    place.archive(0, &second, ArchiveReason::Restored).unwrap();
    assert_eq!(place.archives().unwrap()[0].digest, digest_of(&content(2, 5000)));
    assert!(matches!(place.archive(5, &second, ArchiveReason::Damaged), Err(PlaceError::Refused(_))));
    place.replace(&version, &content(3, 100)).unwrap();
}

fn parts_are_kept_where_they_may_be(lab: &dyn Lab) {
    let mut place = lab.place(1);
    let part = Part { bank: 1, number: 15 };
    assert!(matches!(place.read_part(part), Ok(None) | Err(PlaceError::Forbidden(_))));
    match place.write_part(part, None, b"piece") {
        // Who may not write them is told so.
        Err(PlaceError::Forbidden(_)) => return,
        written => written.unwrap(),
    }
    place.write_part(Part { bank: 2, number: 1 }, None, b"other").unwrap();
    assert_eq!(lab.place(2).read_part(part), Ok(Some(b"piece".to_vec())));
    let first = place.part_version(part).unwrap();
    let large = vec![9; place.limits().part_bytes.unwrap()];
    lab.place(2).write_part(part, first.as_ref(), &large).unwrap();
    // Who began before that does not undo it.
    for old in [None, first.as_ref()] {
        assert!(matches!(place.write_part(part, old, b"late"), Err(PlaceError::Unreachable(_))));
    }
    assert_eq!(place.read_part(part), Ok(Some(large)));
    assert_eq!(place.read_part(Part { bank: 2, number: 1 }), Ok(Some(b"other".to_vec())));
    for nowhere in [Part { bank: 3, number: 1 }, Part { bank: 0, number: 0 }, Part { bank: 0, number: 16 }] {
        assert!(place.write_part(nowhere, None, b"piece").is_err());
    }
}

fn what_is_said_of_parts_is_replaced_alone(lab: &dyn Lab) {
    let (mut one, mut two) = (lab.place(1), lab.place(2));
    let base = one.create(&content(1, 5000)).unwrap();
    let seen = object(two.as_mut());
    let version = one.set_parts(&base, b"{}").unwrap();
    assert_ne!(version, base);
    assert_conflict(two.set_parts(&seen.version, b"late"));
    let there = object(two.as_mut());
    assert_eq!((&there.version, there.parts.as_deref()), (&version, Some(&b"{}"[..])));
    assert!(holds(&Object { parts: None, ..there }, &content(1, 5000)));
    // What was written is what the next write is based on.
    one.replace(&version, &content(2, 500)).unwrap();
    assert_eq!(object(two.as_mut()).parts, None);
}

/// Eight instances write at once, each after having got ready. Those that won; all others heard of a conflict.
fn at_once(
    lab: &dyn Lab,
    write: impl Fn(&mut dyn SharedPlace, u8) -> Result<Version, WriteFailure> + Sync,
    ready: impl Fn(&mut dyn SharedPlace) + Sync,
) -> Vec<(u8, Version)> {
    let start = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (11..19)
            .map(|seed| {
                let (start, write, ready) = (&start, &write, &ready);
                scope.spawn(move || {
                    let mut place = lab.place(seed);
                    ready(place.as_mut());
                    start.wait();
                    (seed, write(place.as_mut(), seed))
                })
            })
            .collect();
        let answers: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        answers
            .into_iter()
            .filter_map(|(seed, answer)| match answer {
                Ok(version) => Some((seed, version)),
                lost => {
                    assert_conflict(lost);
                    None
                }
            })
            .collect()
    })
}
