//! Both files put back together, as they were before: only a counter that the host cannot put back tells.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use marblerun_sealing::{CounterDevice, CounterError, MonotonicCounter};
use zeroize::Zeroizing;

use super::rig::{Rig, Session};
use crate::StoreMode;
use crate::disk::hostile::{Class, Fault, Hostile};
use crate::format::{CounterMark, KeyFile, SealedKey};
use crate::testing::{count, counted, make, make_another, manifest, recovery, root};

/// A device with room for one counter, as a TPM at one index.
#[derive(Debug, Default, Clone)]
struct Device(Arc<Mutex<Chip>>);

#[derive(Debug, Default)]
struct Chip {
    id: u8,
    /// Key and value.
    counter: Option<([u8; 32], u64)>,
    /// No counter begins below it.
    top: u64,
    away: bool,
    /// Answers no increment that is asked for.
    refuses_to_count: bool,
    /// Counts once more than the caller hears of.
    loses_an_answer: bool,
    increments: u64,
}

struct Counter {
    device: Device,
    key: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

fn unavailable(reason: &str) -> CounterError {
    CounterError::Unavailable { backend: "tpm", reason: reason.to_owned() }
}

impl Device {
    fn chip(&self) -> MutexGuard<'_, Chip> {
        self.0.lock().unwrap()
    }

    fn value(&self) -> u64 {
        self.chip().counter.unwrap().1
    }
}

impl CounterDevice for Device {
    fn name(&self) -> &'static str {
        "tpm"
    }

    fn counter(&self, key: Zeroizing<[u8; 32]>) -> Result<Box<dyn MonotonicCounter>, CounterError> {
        Ok(Box::new(Counter { device: self.clone(), key }))
    }
}

impl MonotonicCounter for Counter {
    fn name(&self) -> &'static str {
        "tpm"
    }

    fn ensure(&self) -> Result<u64, CounterError> {
        match self.read() {
            Err(CounterError::Missing(_)) => {
                let mut chip = self.device.chip();
                chip.top += 1;
                chip.counter = Some((*self.key, chip.top));
                Ok(chip.top)
            }
            other => other,
        }
    }

    fn id(&self) -> Result<[u8; 16], CounterError> {
        self.read()?;
        Ok([self.device.chip().id; 16])
    }

    fn read(&self) -> Result<u64, CounterError> {
        let chip = self.device.chip();
        match chip.counter {
            _ if chip.away => Err(unavailable("no device")),
            None => Err(CounterError::Missing("it was removed".to_owned())),
            Some((key, _)) if key != *self.key => Err(CounterError::Foreign("it has another key".to_owned())),
            Some((_, value)) => Ok(value),
        }
    }

    fn increment(&self) -> Result<u64, CounterError> {
        let value = self.read()? + 1;
        let mut chip = self.device.chip();
        if chip.refuses_to_count {
            return Err(unavailable("it is worn out"));
        }
        chip.counter = Some((*self.key, value));
        chip.top = chip.top.max(value);
        chip.increments += 1;
        if std::mem::take(&mut chip.loses_an_answer) { Err(unavailable("no answer")) } else { Ok(value) }
    }
}

fn rig() -> (Rig, Device) {
    let device = Device::default();
    (with(&Rig::new().refusing_rollback(), &device), device)
}

fn with(rig: &Rig, device: &Device) -> Rig {
    let mut rig = rig.clone();
    rig.config.counter = Some(Arc::new(device.clone()));
    rig
}

fn begun(rig: &Rig) -> Session {
    let mut session = rig.open();
    session.commit([manifest(""), recovery("alice")]).unwrap();
    session.count(1);
    session
}

/// Copies of both files.
fn files(disk: &Hostile) -> [(&'static str, Vec<u8>); 2] {
    ["sealed_data", "sealed_key"].map(|name| (name, disk.peek(name).unwrap()))
}

fn put(disk: &Hostile, files: &[(&str, Vec<u8>)]) {
    files.iter().for_each(|(name, bytes)| disk.replace(name, bytes));
}

fn mark(disk: &Hostile) -> Option<CounterMark> {
    let KeyFile::Ours(SealedKey { entries }) = KeyFile::decode(&disk.peek("sealed_key").unwrap()).unwrap() else {
        panic!("not ours")
    };
    entries[0].witness.as_ref().unwrap().claim.counter
}

fn message(session: &Session) -> String {
    match session.mode() {
        StoreMode::Recovery { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_files_put_back_are_refused_until_the_holders_consent() {
    let (rig, device) = rig();
    begun(&rig).close();
    let old = files(&rig.disk);
    let mut session = rig.after_kill().open();
    assert_eq!((session.mode(), session.warnings().as_str()), (StoreMode::Durable, ""));
    session.count(2);
    session.close();
    put(&rig.disk, &old);

    let mut session = rig.after_kill().open();
    assert_eq!(session.code(), "older_than_counter");
    assert!(message(&session).contains("counter of tpm"), "{}", message(&session));
    assert!(message(&session).contains("Recover with the recovery keys"), "{}", message(&session));
    session.recover(&root("alice")).unwrap();
    assert_eq!((counted(&session.state), session.state.lineage().incarnation), (1, 2));
    assert_eq!(mark(&rig.disk).unwrap().value, device.value());
    session.count(10);
    session.close();
    let session = rig.after_kill().open();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 10));
    drop(session);

    // Once refused, an old pair stays refused.
    put(&rig.disk, &old);
    assert_eq!(rig.after_kill().open().code(), "older_than_counter");
}

#[test]
fn where_it_is_allowed_an_old_pair_is_served_as_another_life_with_a_warning() {
    let (rig, device) = rig();
    begun(&rig).close();
    let old = files(&rig.disk);
    let mut session = rig.after_kill().open();
    session.count(2);
    session.close();
    put(&rig.disk, &old);
    let lenient = with(&Rig::new().on(rig.disk.restart()), &device);
    let session = lenient.open();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 1));
    assert!(session.warnings().contains("counter of tpm"), "{}", session.warnings());
    assert_eq!(session.state.lineage().incarnation, 2);
    session.close();
    assert_eq!(lenient.after_kill().open().warnings(), "", "once is enough");
}

#[test]
fn it_counts_at_events_and_not_with_each_witness() {
    let (rig, device) = rig();
    let mut session = begun(&rig);
    let increments = || device.chip().increments;
    let begin = increments();
    for value in 2..20 {
        session.count(value);
        session.pass(Duration::from_secs(61));
    }
    assert_eq!(increments(), begin, "ordinary commits and their witnesses");
    session.commit([manifest("")]).unwrap();
    assert_eq!(increments(), begin + 1, "a change of the manifest");
    session.commit([recovery("bob")]).unwrap();
    assert_eq!(increments(), begin + 2, "other recovery keys");
    session.count(20);
    session.close();
    assert_eq!(increments(), begin + 3, "a stop");
    let session = rig.after_kill().open();
    assert_eq!(increments(), begin + 4, "a start");
    session.close();
    assert_eq!(increments(), begin + 4, "no stop before which nothing was stored");
    assert_eq!(mark(&rig.disk).unwrap(), CounterMark { id: [0; 16], value: device.value() });
}

#[test]
fn a_crash_between_the_witness_and_the_count_is_made_good_and_lets_no_older_pair_in() {
    let (rig, device) = rig();
    let mut session = begun(&rig);
    let before = files(&rig.disk);
    device.chip().refuses_to_count = true;
    session.commit([manifest(""), count(2)]).unwrap();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 2), "the commit stands");
    assert!(session.warnings().contains("worn out"), "{}", session.warnings());
    assert_eq!(mark(&rig.disk).unwrap().value, device.value() + 1);
    let between = files(&rig.disk);
    drop(session);
    device.chip().refuses_to_count = false;
    let rig = rig.after_power_loss(1);
    let session = rig.open();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 2));
    assert_eq!(session.warnings(), "");
    drop(session);
    for old in [before, between] {
        put(&rig.disk, &old);
        assert_eq!(rig.after_kill().open().code(), "older_than_counter");
    }
}

#[test]
fn an_increment_whose_answer_was_lost_is_not_taken_for_a_restore() {
    let (rig, device) = rig();
    let mut session = begun(&rig);
    device.chip().loses_an_answer = true;
    session.commit([manifest(""), count(2)]).unwrap();
    assert!(session.warnings().contains("no answer"), "{}", session.warnings());
    let crashed = with(&Rig::new().refusing_rollback().on(Hostile::new()), &device);
    put(&crashed.disk, &files(&rig.disk));
    session.pass(Duration::from_secs(61));
    assert_eq!(session.warnings(), "");
    session.close();
    assert_eq!(rig.after_kill().open().mode(), StoreMode::Durable);
    assert_eq!(crashed.open().code(), "older_than_counter", "a copy of then is old by now");
}

#[test]
fn wherever_the_power_goes_the_newest_pair_opens_and_the_one_before_does_not() {
    for class in [Class::Write, Class::Change] {
        for call in 0.. {
            let (rig, device) = rig();
            let mut session = begun(&rig);
            let old = files(&rig.disk);
            session.commit([manifest(""), count(2)]).unwrap();
            rig.disk.plan(class, call, Fault::PowerGoes);
            let told = session.commit([manifest(""), recovery("bob"), count(3)]).is_ok();
            session.pass(Duration::from_secs(61));
            let went = !rig.disk.what_failed().is_empty();
            drop(session);
            let rig = rig.after_power_loss(call);
            let context = format!("{class:?} {call}");
            let session = rig.open();
            assert_eq!(session.mode(), StoreMode::Durable, "{context}");
            assert!(counted(&session.state) == 3 || !told && counted(&session.state) == 2, "{context}");
            drop(session);
            put(&rig.disk, &old);
            assert_eq!(with(&rig.after_kill(), &device).open().code(), "older_than_counter", "{context}");
            if !went {
                assert!(call > 3, "{context}: nothing was tried");
                break;
            }
        }
    }
}

#[test]
fn a_device_that_is_away_holds_up_no_commit_and_is_tried_again() {
    let (rig, device) = rig();
    let mut session = begun(&rig);
    device.chip().away = true;
    session.commit([manifest(""), count(2)]).unwrap();
    session.count(3);
    assert!(session.warnings().contains("no device") && session.warnings().contains("each minute"));
    device.chip().away = false;
    let before = device.value();
    session.pass(Duration::from_secs(61));
    assert_eq!((device.value(), session.warnings().as_str()), (before + 1, ""));

    // Away again, and back just before the stop.
    device.chip().away = true;
    session.commit([manifest("")]).unwrap();
    device.chip().away = false;
    session.close();
    assert_eq!(device.value(), before + 2);
    assert_eq!(rig.after_kill().open().mode(), StoreMode::Durable);
}

#[test]
fn what_the_counter_cannot_tell_is_asked_of_the_holders() {
    let (rig, device) = rig();
    begun(&rig).close();

    device.chip().away = true;
    let session = rig.after_kill().open();
    assert_eq!(session.code(), "no_counter");
    assert!(message(&session).contains("no device"), "{}", message(&session));
    drop(session);
    device.chip().away = false;
    assert_eq!(rig.after_kill().open().mode(), StoreMode::Durable, "once it is back");

    let mut without = rig.after_kill();
    without.config.counter = None;
    let session = without.open();
    assert_eq!(session.code(), "no_counter");
    assert!(message(&session).contains("MARBLERUN_SEAL"), "{}", message(&session));
    drop(session);

    type Change = fn(&mut Chip);
    let changes: [(Change, &str); 4] = [
        (|chip| chip.counter = None, "removed"),
        (|chip| chip.id = 9, "another TPM"),
        (|chip| chip.counter = Some(([0; 32], 100)), "another key"),
        (|chip| chip.counter.as_mut().unwrap().1 = 1, "never had the value"),
    ];
    for (change, why) in changes {
        let (rig, device) = self::rig();
        begun(&rig).close();
        change(&mut device.chip());
        let mut session = rig.after_kill().open();
        assert_eq!(session.code(), "wrong_counter", "{why}");
        assert!(message(&session).contains(why), "{}", message(&session));
        session.recover(&root("alice")).unwrap();
        let foreign = why == "another key";
        assert_eq!(session.warnings().contains(why), foreign, "{}", session.warnings());
        session.close();
        let session = rig.after_kill().open();
        assert_eq!(session.mode(), StoreMode::Durable, "{why}: the holders have consented");
    }
}

#[test]
fn a_state_takes_a_counter_into_use_and_is_not_served_as_it_was_before() {
    let plain = Rig::new().refusing_rollback();
    begun(&plain).close();
    let before = files(&plain.disk);
    assert_eq!(mark(&plain.disk), None);
    let device = Device::default();

    // Nothing is in use yet, so nothing is missed.
    device.chip().away = true;
    let session = with(&plain.after_kill(), &device).open();
    assert_eq!(session.mode(), StoreMode::Durable);
    assert!(session.warnings().contains("no device"), "{}", session.warnings());
    drop(session);

    device.chip().away = false;
    let rig = with(&plain.after_kill(), &device);
    let session = rig.open();
    assert_eq!((session.mode(), session.warnings().as_str()), (StoreMode::Durable, ""));
    session.close();
    assert_eq!(mark(&rig.disk).unwrap().value, device.value());
    put(&rig.disk, &before);
    let session = rig.after_kill().open();
    assert_eq!(session.code(), "older_than_counter");
    assert!(message(&session).contains("names no value"), "{}", message(&session));
}

#[test]
fn a_counter_of_another_state_is_left_alone() {
    let (rig, device) = rig();
    begun(&rig).close();
    let value = device.value();
    let beside = rig.on(Hostile::new());
    let mut session = beside.try_open(&make_another).unwrap();
    session.commit([manifest("")]).unwrap();
    assert_eq!(session.mode(), StoreMode::Durable);
    assert!(session.warnings().contains("another key"), "{}", session.warnings());
    session.close();
    assert_eq!(beside.after_kill().try_open(&make).unwrap().mode(), StoreMode::Durable, "it has no counter");
    assert_eq!(device.value(), value);
    assert_eq!(rig.after_kill().open().mode(), StoreMode::Durable);
}

#[test]
fn a_counter_that_is_removed_in_use_is_made_anew_and_told() {
    let (rig, device) = rig();
    let mut session = begun(&rig);
    device.chip().counter = None;
    session.commit([manifest(""), count(2)]).unwrap();
    assert!(session.warnings().contains("removed"), "{}", session.warnings());
    session.close();
    let session = rig.after_kill().open();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 2));
}
