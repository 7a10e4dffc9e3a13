//! Disks that are full or broken for a while.

use std::io::ErrorKind;
use std::time::Duration;

use super::rig::{Rig, Session};
use crate::StoreMode;
use crate::backend::Failure;
use crate::disk::hostile::{Class, Fault};
use crate::testing::{count, counted, manifest, recovery, secret};

const EIO: Fault = Fault::Fails(ErrorKind::Other);

fn begun(rig: &Rig) -> Session {
    let mut session = rig.open();
    session.commit([manifest(""), recovery("alice")]).unwrap();
    session.count(1);
    session
}

fn value_after_power_loss(rig: &Rig) -> u64 {
    let session = rig.after_power_loss(11).open();
    assert_eq!(session.mode(), StoreMode::Durable, "{}", session.warnings());
    counted(&session.state)
}

#[test]
fn on_a_full_disk_nothing_is_stored_and_with_room_it_goes_on() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    rig.disk.plan(Class::Write, 0, Fault::Full);
    for value in 2..5 {
        let refused = session.commit([count(value)]);
        assert!(matches!(refused, Err(Failure::NotStored(why)) if why.contains("full")));
    }
    assert_eq!(session.mode(), StoreMode::Durable, "reads go on, and nothing is in doubt");
    assert!(session.warnings().contains("full"), "{}", session.warnings());
    assert_eq!(value_after_power_loss(&rig), 1);
    rig.disk.heal();
    session.count(9);
    assert_eq!(session.warnings(), "");
    assert_eq!(value_after_power_loss(&rig), 9);
    assert!(session.commit([recovery("bob")]).is_ok());
}

#[test]
fn on_a_full_disk_a_rotation_leaves_the_old_keys() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    rig.disk.plan(Class::Write, 0, Fault::Full);
    assert!(matches!(session.commit([recovery("bob")]), Err(Failure::NotStored(_))));
    rig.disk.heal();
    assert!(!rig.disk.names().iter().any(|name| name.contains("rotated") || name.contains(".new")));
    session.count(2);
    assert_eq!(value_after_power_loss(&rig), 2);
    assert_eq!(session.state.recovery()[0].set.parties[0].name, "alice");
}

#[test]
fn after_a_failed_sync_the_file_is_never_trusted_again() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    let before = rig.disk.peek("sealed_data").unwrap()[16..48].to_vec();
    rig.disk.plan(Class::Change, 0, EIO);
    assert!(matches!(session.commit([count(2)]), Err(Failure::NotStored(_))));
    assert_ne!(rig.disk.peek("sealed_data").unwrap()[16..48], before, "a new file is in place");
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 1));
    session.count(3);
    assert_eq!(value_after_power_loss(&rig), 3);
    assert_eq!(session.backend.counters.sync_errors.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn while_nothing_can_be_written_the_store_is_read_only_and_heals_by_itself() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    // The sync fails, and then there is no room for a new file.
    rig.disk.plan(Class::Change, 0, EIO);
    assert!(rig.disk.calls(Class::Write) > 0);
    let refused = {
        rig.disk.fill();
        rig.disk.plan(Class::Change, 0, EIO);
        session.commit([count(2)])
    };
    // With a full disk the write itself fails, and truncating is what goes wrong.
    assert!(matches!(refused, Err(Failure::Unknown(_))), "{refused:?}");
    assert!(matches!(session.mode(), StoreMode::ReadOnly { .. }));
    assert_eq!(counted(&session.state), 1);
    let refused = session.commit([count(3)]);
    assert!(matches!(refused, Err(Failure::Unavailable(_))), "{refused:?}");
    session.pass(Duration::from_secs(2));
    assert!(matches!(session.mode(), StoreMode::ReadOnly { .. }));
    rig.disk.heal();
    session.pass(Duration::from_secs(61));
    assert_eq!(session.mode(), StoreMode::Durable);
    session.count(4);
    assert_eq!(value_after_power_loss(&rig), 4);
}

#[test]
fn a_compaction_that_fails_is_told_and_tried_again() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    session.commit([secret("large", 30_000)]).unwrap();
    session.count(2);
    rig.disk.plan(Class::Write, 1, EIO);
    assert!(session.background.work());
    session.pass(Duration::ZERO);
    assert!(session.warnings().contains("could not be compacted"), "{}", session.warnings());
    assert!(!rig.disk.names().contains(&"sealed_data.new".to_owned()));
    session.count(3);
    assert!(!session.background.work(), "not at once");
    session.pass(Duration::from_secs(61));
    assert!(session.background.work());
    session.pass(Duration::ZERO);
    assert_eq!(session.warnings(), "");
    assert_eq!(value_after_power_loss(&rig), 3);
}

#[test]
fn a_compaction_under_way_gives_way_to_a_rotation_and_to_the_stop() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    session.commit([secret("large", 30_000)]).unwrap();
    session.commit([recovery("bob"), count(2)]).unwrap();
    session.background.work();
    session.count(3);
    assert_eq!(value_after_power_loss(&rig), 3);
    session.commit([secret("large", 60_000)]).unwrap();
    let background = session.background.clone();
    session.close();
    let (data, names) = (rig.disk.peek("sealed_data"), rig.disk.names());
    background.work();
    assert_eq!((rig.disk.peek("sealed_data"), rig.disk.names()), (data, names), "work that was not begun never is");
}

#[test]
fn a_file_that_cannot_be_looked_at_is_not_written_to() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    for look in 0..3 {
        rig.disk.plan(Class::Look, look, EIO);
        let writes = rig.disk.calls(Class::Write);
        assert!(matches!(session.commit([count(5)]), Err(Failure::NotStored(_))), "look {look}");
        assert_eq!(rig.disk.calls(Class::Write), writes);
    }
    rig.disk.heal();
    session.count(2);
    assert_eq!(value_after_power_loss(&rig), 2);
}
