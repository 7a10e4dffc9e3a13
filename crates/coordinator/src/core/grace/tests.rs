use marblerun_state::Phase;
use serde_json::{Value, json};

use super::*;
use crate::core::Clock;

const UUID: [u8; 16] = [7; 16];

fn hour(hours: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hours * 3600).unwrap()
}

/// A deployment over its updates.
struct Life {
    grace: Grace,
    state: Arc<State>,
}

impl Life {
    fn new(period: SignedDuration, manifest: &Value) -> Self {
        let clock = Clock::from_fn(|| hour(0));
        let state = crate::start::temporary_state(Phase::AcceptingManifest, "localhost", &clock).unwrap();
        let mut life = Self { grace: Grace::new(period), state: Arc::new(state) };
        life.install(0, manifest, false);
        life
    }

    /// Returns the root that the update replaced.
    fn update(&mut self, at: i64, manifest: &Value) -> RootName {
        let root = self.root();
        self.install(at, manifest, true);
        assert_ne!(self.root(), root);
        root
    }

    fn install(&mut self, at: i64, manifest: &Value, rotate: bool) {
        let mut draft = Draft::new(&self.state);
        let raw = manifest.to_string();
        let decoded = marblerun_manifest::Manifest::decode(raw.as_bytes()).unwrap();
        let grace = self.grace.clone();
        let installed: Result<(), ChangeError> = grace.over(&mut draft, hour(at), |draft| {
            if rotate {
                let authority = draft.state().authority().rotate_intermediate(hour(at)).unwrap();
                draft.record(Change::Authority(Arc::new(authority)))?;
            }
            draft.record(Change::Manifest { raw: raw.clone().into(), signature: vec![] })?;
            for (name, package) in decoded.packages {
                draft.record(Change::Package(name, Some(Arc::new(package))))?;
            }
            Ok(())
        });
        installed.unwrap();
        self.state = Arc::new(draft.into_parts().0);
    }

    fn root(&self) -> RootName {
        root_name(&self.state.authority().marble_root_certificate)
    }

    fn stands(&self, at: i64, root: &RootName, marble: &str) -> bool {
        self.grace.stands(&self.state, root, marble, &UUID, hour(at))
    }

    fn activate(&self, at: i64, marble: &str) {
        self.grace.activated(&self.state, marble, &UUID, hour(at));
    }
}

fn day() -> SignedDuration {
    SignedDuration::from_hours(24)
}

fn manifest() -> Value {
    json!({
        "Packages": {"app": {"SignerID": "AB", "ProductID": 1, "SecurityVersion": 1}, "other": {"UniqueID": "cd"}},
        "Marbles": {"web": {"Package": "app"}, "db": {"Package": "other"}},
    })
}

#[test]
fn a_marble_that_stays_up_stands_until_the_deadline() {
    let mut life = Life::new(day(), &manifest());
    let first = life.root();
    assert!(life.stands(0, &first, "web") && life.stands(9999, &first, "web"), "while its root is in force");
    assert_eq!(life.update(1, &manifest()), first);
    assert!(life.stands(1, &first, "web") && life.stands(24, &first, "db"));
    assert!(!life.stands(25, &first, "web"));
    assert!(life.stands(25, &life.root(), "web"));
    assert!(!life.stands(1, &[0; 32], "web"), "a root that never was gives nothing");
}

#[test]
fn who_activates_again_gives_up_what_he_had_before_and_nobody_else_does() {
    let mut life = Life::new(day(), &manifest());
    let first = life.update(1, &manifest());
    life.activate(2, "web");
    assert!(!life.stands(2, &first, "web"));
    assert!(life.stands(2, &first, "db"), "another type");
    assert!(life.grace.stands(&life.state, &first, "web", &[8; 16], hour(2)), "another instance");
    let second = life.update(3, &manifest());
    assert!(!life.stands(3, &first, "web"), "also after the next update");
    assert!(life.stands(3, &second, "web") && life.stands(3, &life.root(), "web"));
    life.activate(4, "web");
    assert!(!life.stands(4, &second, "web"));
    assert!(life.stands(4, &second, "db") && life.stands(4, &first, "db"));
}

#[test]
fn a_marble_type_that_was_removed_has_nothing_left_also_when_it_comes_back() {
    let mut life = Life::new(day(), &manifest());
    let mut without = manifest();
    without["Marbles"].as_object_mut().unwrap().remove("web");
    let first = life.update(1, &without);
    assert!(!life.stands(1, &first, "web") && life.stands(1, &first, "db"));
    life.update(2, &manifest());
    assert!(!life.stands(2, &first, "web") && life.stands(2, &first, "db"));
}

#[test]
fn a_marble_type_that_becomes_another_program_has_nothing_left() {
    for (pointer, value, keeps) in [
        ("/Packages/app/SecurityVersion", json!(9), true),
        ("/Packages/app/SignerID", json!("ab"), true),
        ("/Packages/app/AcceptedTCBStatuses", json!(["OutOfDate"]), true),
        ("/Packages/app/Debug", json!(true), true),
        ("/Packages/app/SignerID", json!("ac"), false),
        ("/Packages/app/ProductID", json!(2), false),
        ("/Packages/app", json!({"UniqueID": "ee"}), false),
        ("/Marbles/web/Package", json!("other"), false),
        ("/Marbles/web/MaxActivations", json!(1), true),
    ] {
        let mut life = Life::new(day(), &manifest());
        let mut changed = manifest();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[key] = value.clone();
        let first = life.update(1, &changed);
        assert_eq!(life.stands(1, &first, "web"), keeps, "{pointer} = {value}");
        assert!(life.stands(1, &first, "db"));
    }
    let mut debug = manifest();
    debug["Packages"]["app"]["Debug"] = json!(true);
    let mut life = Life::new(day(), &debug);
    let first = life.update(1, &manifest());
    assert!(!life.stands(1, &first, "web"), "who could be read from outside has nothing left once that is over");
}

#[test]
fn only_the_newest_eight_and_only_those_that_still_count_are_kept() {
    let mut life = Life::new(day(), &manifest());
    let roots: Vec<RootName> = (1..=10).map(|hour| life.update(hour, &manifest())).collect();
    assert_eq!(life.state.retired_roots().len(), 8);
    let standing: Vec<bool> = roots.iter().map(|root| life.stands(10, root, "web")).collect();
    assert_eq!(standing, [vec![false; 2], vec![true; 8]].concat());
    life.update(30, &manifest());
    assert_eq!(life.state.retired_roots().len(), 5, "those of hours 6 and before are over");
}

#[test]
fn without_a_grace_an_update_ends_all_standing_and_forgets_what_there_was() {
    let mut life = Life::new(day(), &manifest());
    let first = life.update(1, &manifest());
    life.grace = Grace::new(SignedDuration::ZERO);
    assert!(!life.stands(1, &first, "web"), "what an earlier setting left does not count either");
    let second = life.update(2, &manifest());
    assert!(life.state.retired_roots().is_empty());
    assert!(!life.stands(2, &second, "web") && life.stands(2, &life.root(), "web"));
}

#[test]
fn where_it_cannot_be_kept_who_is_excluded_nobody_is_let_in() {
    let mut many = manifest();
    for number in 0..=RetiredRoot::MAX_EXCLUDED {
        many["Marbles"][format!("m{number}")] = json!({"Package": "app"});
    }
    let mut life = Life::new(day(), &many);
    let first = life.update(1, &manifest());
    assert!(!life.stands(1, &first, "web") && life.state.retired_roots().is_empty());
}

#[test]
fn what_does_not_replace_the_root_retires_nothing() {
    let mut life = Life::new(day(), &manifest());
    life.install(1, &manifest(), false);
    assert!(life.state.retired_roots().is_empty());
}

#[test]
fn instances_are_remembered_up_to_a_number() {
    let mut life = Life::new(day(), &manifest());
    life.activate(0, "web");
    assert!(life.grace.lock().is_empty(), "there is nothing to end");
    let first = life.update(1, &manifest());
    for number in 0..MAX_INSTANCES as u128 + 5 {
        life.grace.activated(&life.state, "db", &number.to_le_bytes(), hour(1));
    }
    assert_eq!(life.grace.lock().len(), MAX_INSTANCES);
    life.activate(1, "web");
    assert!(life.stands(1, &first, "web"), "beyond it the deadline alone counts");
    // Two days later none of these entries says anything any more.
    life.update(48, &manifest());
    life.update(80, &manifest());
    let before = life.update(81, &manifest());
    life.activate(82, "web");
    assert!(!life.stands(82, &before, "web"));
    assert_eq!(life.grace.lock().len(), 1);
}
