use std::sync::LazyLock;

use jiff::Timestamp;
use marblerun_manifest::model::SecretKind;
use marblerun_pki::SubjectAltNames;
use marblerun_recovery::{Party, RecoveryRoot, RecoverySet, Scheme};
use proptest::prelude::*;

use super::*;
use crate::{Change, Draft, Loader};

static AUTHORITIES: LazyLock<[Arc<Authority>; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| Arc::new(Authority::generate(&SubjectAltNames::default(), Timestamp::UNIX_EPOCH).unwrap()))
});

const LINEAGE: Lineage = Lineage { deployment_id: [1; 16], incarnation: 2, incarnation_id: [3; 16] };

const MANIFEST: &str = r#"{
    "Packages": {"app": {"Debug": true}},
    "Marbles": {"web": {"Package": "app"}},
    "Secrets": {"key": {"Type": "symmetric-key", "Size": 128, "Shared": true}}
}"#;

fn root_secret(fill: u8) -> RootSecret {
    RootSecret(Zeroizing::new(vec![fill; 32]))
}

fn fresh() -> State {
    State::new(Phase::AcceptingManifest, LINEAGE, Arc::clone(&AUTHORITIES[0]), root_secret(4))
}

fn secret(fill: u8) -> Option<Arc<Secret>> {
    let value = Some(Zeroizing::new(vec![fill; 16]));
    Some(Arc::new(Secret {
        kind: SecretKind::SymmetricKey,
        size: 128,
        shared: true,
        user_defined: false,
        valid_for: 0,
        certificate: None,
        private: value.clone(),
        public: value,
    }))
}

fn manifest() -> Change {
    Change::Manifest { raw: MANIFEST.into(), signature: vec![5; 70] }
}

fn running() -> State {
    let mut state = fresh();
    let package = Change::Package("app".to_owned(), Some(Arc::new(Package { debug: true, ..Package::default() })));
    for change in [manifest(), package, Change::Secret("key".to_owned(), secret(6))] {
        state.apply(&change).unwrap();
    }
    state
}

fn entry(epoch: u8) -> Arc<RecoveryEntry> {
    let party =
        Party { name: "alice".to_owned(), public_key: vec![1], commitment: Some([2; 32]), encrypted_secret: vec![] };
    let set = RecoverySet {
        scheme: Scheme::Single,
        threshold: 1,
        epoch: [epoch; 16],
        parties: vec![party],
        unassigned_commitments: vec![],
    };
    Arc::new(RecoveryEntry { set, root: RecoveryRoot::new(Zeroizing::new(vec![7; 32])) })
}

fn retired_root(until_ms: i64) -> RetiredRoot {
    let certificate = AUTHORITIES[1].marble_root_certificate.clone();
    RetiredRoot { certificate, until_ms, excluded: ["old".to_owned()].into() }
}

fn retired(until_ms: i64) -> Arc<RetiredRoot> {
    Arc::new(retired_root(until_ms))
}

/// What two states have in common if they are equal.
fn content(state: &State) -> Vec<Vec<u8>> {
    state.to_changes().map(|change| change.encode().to_vec()).collect()
}

fn reloaded(state: &State) -> Result<State, ChangeError> {
    let mut loader = Loader::new();
    state.to_changes().try_for_each(|change| loader.apply(&Change::decode(&change.encode())?))?;
    loader.finish()
}

fn marks(marks: &[(&str, u64)]) -> Change {
    Change::CollateralMarks(marks.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect())
}

fn counter(name: &str) -> CounterKey {
    CounterKey { marble_type: "web".to_owned(), uuid: [9; 16], name: name.to_owned() }
}

#[test]
fn a_manifest_makes_the_state_running() {
    let mut state = fresh();
    assert_eq!(state.phase(), Phase::AcceptingManifest);
    state.apply(&manifest()).unwrap();
    assert_eq!(state.phase(), Phase::AcceptingMarbles);
    assert_eq!(state.manifest().unwrap().raw, MANIFEST);

    let mut recovering = State::new(Phase::Recovery, LINEAGE, Arc::clone(&AUTHORITIES[0]), root_secret(4));
    recovering.apply(&manifest()).unwrap();
    assert_eq!(recovering.phase(), Phase::AcceptingMarbles);
}

#[test]
fn a_draft_leaves_the_published_state_alone() {
    let published = Arc::new(running());
    let before = content(&published);
    let mut draft = Draft::new(&published);
    draft.record(Change::Secret("key".to_owned(), secret(8))).unwrap();
    draft.record(Change::Counter(counter("c"), 3)).unwrap();
    draft.record(Change::Log(vec!["line".to_owned()])).unwrap();
    draft.record(Change::Package("app".to_owned(), None)).unwrap();
    assert_eq!(content(&published), before);
    assert_eq!(draft.state().counter(&counter("c")), 3);

    let (state, changes) = draft.into_parts();
    let mut replayed = State::clone(&published);
    changes.iter().for_each(|change| replayed.apply(change).unwrap());
    assert_eq!(content(&replayed), content(&state), "what was recorded is what was done");
}

#[test]
fn a_refused_change_leaves_no_trace() {
    let mut state = running();
    state.apply(&Change::Counter(counter("c"), 3)).unwrap();
    let published = Arc::new(state);
    let mut draft = Draft::new(&published);
    let lines = |line: &str| vec!["fine".to_owned(), line.to_owned()];
    let huge = crate::PendingUpdate {
        raw: vec![0; crate::MAX_CHANGE].into(),
        required_users: [].into(),
        missing_acknowledgments: 0,
    };
    for change in [
        Change::Counter(counter("c"), 2),
        Change::Log(lines("two\nlines")),
        Change::Manifest { raw: "{".into(), signature: vec![] },
        Change::PreviousIsCurrent("absent".to_owned()),
        Change::Recovery(vec![entry(1), entry(1)]),
        Change::Recovery(vec![entry(1), entry(2), entry(3)]),
        Change::PendingUpdate(Some(Arc::new(huge))),
        Change::RetiredRoots((0..9).map(retired).collect()),
        Change::RetiredRoots(vec![Arc::new(RetiredRoot { certificate: vec![1, 2, 3], ..retired_root(0) })]),
        Change::RetiredRoots(vec![Arc::new(RetiredRoot {
            excluded: (0..=RetiredRoot::MAX_EXCLUDED).map(|n| n.to_string()).collect(),
            ..retired_root(0)
        })]),
        Change::RetiredRoots(vec![Arc::new(RetiredRoot {
            excluded: ["x".repeat(RetiredRoot::MAX_EXCLUDED_BYTES + 1)].into(),
            ..retired_root(0)
        })]),
        Change::CollateralMarks((0..=Change::MAX_COLLATERAL_MARKS).map(|n| (n.to_string(), 1)).collect()),
        marks(&[("fine", 1), ("", 1)]),
        marks(&[("no text\n", 1)]),
        marks(&[(&"x".repeat(Change::MAX_MARK_NAME + 1), 1)]),
    ] {
        assert!(draft.record(change.clone()).is_err(), "{change:?}");
    }
    assert!(draft.changes().is_empty());
    assert_eq!(content(draft.state()), content(&published));
}

#[test]
fn no_mark_of_collateral_falls_and_what_stands_is_never_pushed_out() {
    let mut state = running();
    let without = content(&state).len();
    state.apply(&marks(&[("a", 5), ("b", 5)])).unwrap();
    state.apply(&marks(&[("a", 4), ("b", 6), ("c", 0)])).unwrap();
    let expected: BTreeMap<String, u64> = [("a", 5), ("b", 6), ("c", 0)].map(|(n, v)| (n.to_owned(), v)).into();
    assert_eq!(**state.collateral_marks(), expected);
    let mut read = reloaded(&state).unwrap();
    assert_eq!(**read.collateral_marks(), expected);
    assert_eq!(content(&state).len(), without + 1, "in one change");
    read.share_with(&state);
    assert!(Arc::ptr_eq(read.collateral_marks(), state.collateral_marks()));

    let room = Change::MAX_COLLATERAL_MARKS - expected.len();
    state.apply(&Change::CollateralMarks((0..room).map(|n| (n.to_string(), 1)).collect())).unwrap();
    assert!(state.apply(&marks(&[("d", 9)])).unwrap_err().to_string().contains("too many"));
    state.apply(&marks(&[("a", 9)])).unwrap();
    assert_eq!(state.collateral_marks()["a"], 9);
}

#[test]
fn a_monotonic_counter_may_stay_but_never_goes_back() {
    let mut state = fresh();
    assert_eq!(state.counter(&counter("c")), 0);
    for value in [0, 5, 5, u64::MAX] {
        state.apply(&Change::Counter(counter("c"), value)).unwrap();
        assert_eq!(state.counter(&counter("c")), value);
    }
    assert!(state.apply(&Change::Counter(counter("c"), 0)).unwrap_err().to_string().contains("cannot go from"));
}

#[test]
fn counters_are_told_apart_by_type_instance_and_name() {
    let mut state = fresh();
    let others = [
        CounterKey { marble_type: "we".to_owned(), ..counter("b") },
        CounterKey { marble_type: "webb".to_owned(), ..counter("b") },
        CounterKey { uuid: [8; 16], ..counter("b") },
        CounterKey { uuid: [10; 16], ..counter("b") },
    ];
    for key in others.iter().cloned().chain(["", "a", "b"].map(counter)) {
        state.apply(&Change::Counter(key, 1)).unwrap();
    }
    assert_eq!(state.counters_of("web", &[9; 16]), 3);
    assert_eq!(state.counters_of("web", &[7; 16]), 0);
    assert_eq!(state.counters_of("we", &[9; 16]), 1);
}

#[test]
fn a_removed_value_is_gone() {
    let mut state = running();
    state.apply(&Change::PreviousIsCurrent("key".to_owned())).unwrap();
    for change in [
        Change::Secret("key".to_owned(), None),
        Change::PreviousSecret("key".to_owned(), None),
        Change::Package("app".to_owned(), None),
        Change::Package("never".to_owned(), None),
        Change::PendingUpdate(None),
        Change::Extra("x".to_owned(), None),
    ] {
        state.apply(&change).unwrap();
    }
    assert!(state.secret("key").is_none() && state.previous_secret("key").is_none() && state.package("app").is_none());
}

#[test]
fn the_update_log_grows_and_begins_anew() {
    let mut state = fresh();
    let log = |lines: &[&str]| Change::Log(lines.iter().map(|line| (*line).to_owned()).collect());
    for change in [log(&["a", "b"]), log(&["c"])] {
        state.apply(&change).unwrap();
    }
    assert_eq!(state.update_log().collect::<Vec<_>>(), ["a", "b", "c"]);
    state.apply(&Change::LogReset).unwrap();
    state.apply(&log(&["d"])).unwrap();
    assert_eq!(state.update_log().collect::<Vec<_>>(), ["d"]);
}

#[test]
fn a_previous_secret_follows_or_stays() {
    let mut state = running();
    state.apply(&Change::PreviousIsCurrent("key".to_owned())).unwrap();
    state.apply(&Change::Secret("key".to_owned(), secret(8))).unwrap();
    assert_eq!(state.previous_secret("key"), secret(6).as_ref(), "what was current then");
    assert_eq!(state.secret("key"), secret(8).as_ref());
}

#[test]
fn an_equal_previous_secret_is_stored_and_held_once() {
    let mut state = running();
    let encoded = |state: &State| content(state).iter().map(Vec::len).sum::<usize>();
    let once = encoded(&state);
    state.apply(&Change::PreviousSecret("key".to_owned(), secret(6))).unwrap();
    assert!(encoded(&state) < once + 12);
    let read = reloaded(&state).unwrap();
    assert!(Arc::ptr_eq(read.secret("key").unwrap(), read.previous_secret("key").unwrap()));
}

#[test]
fn previous_root_secret_is_the_current_one_until_it_is_rotated() {
    let mut state = fresh();
    assert_eq!(state.previous_root_secret(), &root_secret(4));
    state.apply(&Change::RootSecret { current: root_secret(5), previous: Some(root_secret(4)) }).unwrap();
    let read = reloaded(&state).unwrap();
    assert_eq!((read.root_secret(), read.previous_root_secret()), (&root_secret(5), &root_secret(4)));
}

#[test]
fn replaced_marble_roots_are_remembered_in_their_order_until_they_are_replaced() {
    let mut state = running();
    state.apply(&Change::RetiredRoots((0..8).map(retired).collect())).unwrap();
    let read = reloaded(&state).unwrap();
    assert_eq!(read.retired_roots().iter().map(|root| root.until_ms).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert_eq!(read.retired_roots(), state.retired_roots());
    state.apply(&Change::RetiredRoots(vec![])).unwrap();
    assert!(reloaded(&state).unwrap().retired_roots().is_empty());
}

#[test]
fn a_long_log_is_written_in_small_changes() {
    let mut state = fresh();
    state
        .apply(&Change::Log((0..5000).map(|n| format!("{{\"line\":{n},\"text\":\"{}\"}}", "x".repeat(80))).collect()))
        .unwrap();
    let logs: Vec<usize> =
        state.to_changes().filter(|c| matches!(c, Change::Log(_))).map(|change| change.encode().len()).collect();
    assert!(logs.len() > 5 && logs.iter().all(|size| *size < 100_000), "{logs:?}");
    assert_eq!(reloaded(&state).unwrap().update_log().count(), 5000);
}

#[test]
fn a_snapshot_must_begin_with_what_every_state_has() {
    let changes: Vec<Change> = running().to_changes().collect();
    for missing in 0..3 {
        let mut loader = Loader::new();
        let mut rest = changes.iter().enumerate().filter(|(index, _)| *index != missing);
        assert!(rest.any(|(_, change)| loader.apply(change).is_err()), "without {:?}", changes[missing]);
    }
    let mut cut_short = Loader::new();
    changes.iter().take(2).for_each(|change| cut_short.apply(change).unwrap());
    assert!(cut_short.finish().is_err());
    assert!(Loader::new().finish().is_err());
}

#[test]
fn what_does_not_fit_together_is_not_served() {
    let refused = |change: Change| {
        let mut state = running();
        state.apply(&change).unwrap();
        assert!(state.validate().is_err() && reloaded(&state).is_err(), "{change:?}");
    };
    running().validate().unwrap();
    refused(Change::Package("app".to_owned(), None));
    refused(Change::Secret("key".to_owned(), None));
    let plain = Secret { kind: SecretKind::Plain, ..Secret::clone(secret(1).as_ref().unwrap()) };
    refused(Change::Secret("key".to_owned(), Some(Arc::new(plain))));
    let [one, other] = &*AUTHORITIES;
    for mixed in [
        Authority { root_key: other.root_key.clone(), ..Authority::clone(one) },
        Authority { intermediate_key: other.intermediate_key.clone(), ..Authority::clone(one) },
        Authority { marble_root_certificate: other.marble_root_certificate.clone(), ..Authority::clone(one) },
        Authority { root_certificate: vec![1, 2, 3], ..Authority::clone(one) },
    ] {
        refused(Change::Authority(Arc::new(mixed)));
    }
}

#[test]
fn debug_shows_no_value() {
    let mut state = running();
    let extra = Change::Extra("x".to_owned(), Some(Zeroizing::new(b"hunter2".to_vec())));
    state.apply(&extra).unwrap();
    let changes: Vec<Change> = state.to_changes().collect();
    let shown = format!("{state:?} {changes:?} {:?}", Draft::new(&Arc::new(state.clone())));
    for hidden in ["hunter2", "104, 117, 110", "6, 6, 6, 6", "4, 4, 4, 4"] {
        assert!(!shown.contains(hidden), "{hidden} in {shown}");
    }
}

/// Changes that a running Coordinator makes, over few names so that they meet.
fn change() -> impl Strategy<Value = Change> {
    let name = || prop_oneof![Just("key"), Just("a"), Just("b:c"), Just("")].prop_map(str::to_owned);
    let package = |version| Package { security_version: version, ..Package::default() };
    prop_oneof![
        (name(), any::<u8>()).prop_map(|(name, fill)| Change::Secret(name, secret(fill))),
        (name(), proptest::option::of(any::<u8>()))
            .prop_map(|(name, fill)| Change::PreviousSecret(name, fill.and_then(secret))),
        Just(Change::PreviousIsCurrent("key".to_owned())),
        any::<Option<u64>>().prop_map(move |v| Change::Package("app".to_owned(), Some(Arc::new(package(v))))),
        (name(), any::<u64>()).prop_map(|(name, count)| Change::Activations(name, count)),
        (name(), 0u64..9).prop_map(|(name, value)| Change::Counter(counter(&name), value)),
        proptest::collection::vec("[a-z\n]{0,9}", 0..3).prop_map(Change::Log),
        Just(Change::LogReset),
        Just(manifest()),
        (0u8..3).prop_map(|count| Change::Recovery((0..count).map(entry).collect())),
        (name(), proptest::option::of(any::<[u8; 3]>()))
            .prop_map(|(name, value)| Change::Extra(name, value.map(|v| Zeroizing::new(v.to_vec())))),
        (0i64..10).prop_map(|count| Change::RetiredRoots((0..count).map(retired).collect())),
        ("[abc]", 0..4u64).prop_map(|(name, value)| marks(&[(&name, value)])),
        (1u64..4).prop_map(|sequence| {
            let entry = crate::AuditEntry::new(crate::AuditEvent::Backup, 0, "a", "b");
            Change::Audit(crate::AuditKind::Changes, vec![crate::AuditEntry { sequence, ..entry }])
        }),
        any::<bool>().prop_map(|which| Change::Authority(Arc::clone(&AUTHORITIES[usize::from(which)]))),
    ]
}

proptest! {
    #[test]
    fn whatever_happened_a_snapshot_brings_the_same_state_back(changes in proptest::collection::vec(change(), 0..40)) {
        let mut state = running();
        for change in &changes {
            let before = content(&state);
            if state.apply(change).is_err() {
                prop_assert_eq!(content(&state), before);
            }
        }
        let read = reloaded(&state).unwrap();
        prop_assert_eq!(content(&read), content(&state));
        prop_assert_eq!(read.phase(), state.phase());
        prop_assert_eq!(read.lineage(), state.lineage());
    }
}

#[test]
fn a_shared_state_keeps_the_newest_of_its_logs_and_ones_own_keeps_all() {
    let mut own = fresh();
    let mut shared = own.clone();
    shared.apply(&Change::Home(crate::Home::default())).unwrap();
    for number in 0..5000 {
        let line = Change::Log(vec![format!("line {number:>60}")]);
        own.apply(&line).unwrap();
        shared.apply(&line).unwrap();
    }
    assert_eq!(own.update_log().count(), 5000);
    let kept: Vec<&str> = shared.update_log().collect();
    assert!(kept.len() > 400 && kept.len() < 1100, "{}", kept.len());
    assert!(kept.last().unwrap().ends_with("4999"));
    // What is read from a snapshot is the same.
    let mut loader = Loader::new();
    shared.to_changes().for_each(|change| loader.apply(&change).unwrap());
    assert_eq!(loader.finish().unwrap().update_log().count(), kept.len());
}
