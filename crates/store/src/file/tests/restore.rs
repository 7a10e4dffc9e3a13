//! Files put in place by somebody else: restores under a running Coordinator, older copies, copies that go on
//! elsewhere, and what the witness says about them.

use std::time::Duration;

use super::rig::{Rig, Session};
use crate::StoreMode;
use crate::backend::Failure;
use crate::disk::hostile::{Class, Hostile};
use crate::format::{KeyFile, SealedKey};
use crate::testing::{count, counted, manifest, recovery, root, secret};

fn begun(rig: &Rig) -> Session {
    let mut session = rig.open();
    session.commit([manifest(""), recovery("alice")]).unwrap();
    session.count(1);
    session
}

fn witness(disk: &Hostile) -> u64 {
    let KeyFile::Ours(SealedKey { entries }) = KeyFile::decode(&disk.peek("sealed_key").unwrap()).unwrap() else {
        panic!("not ours")
    };
    entries[0].witness.as_ref().unwrap().claim.sequence
}

/// A directory with copies of all files.
fn copy(rig: &Rig) -> Rig {
    let copy = rig.on(Hostile::new());
    for name in rig.disk.names() {
        copy.disk.overwrite(&name, &rig.disk.peek(&name).unwrap());
    }
    copy
}

type Put = fn(&Hostile, &str, &[u8]);

#[test]
fn a_file_put_in_place_under_a_running_coordinator_is_left_alone_and_loaded_at_the_next_start() {
    let ways: [Put; 2] = [Hostile::overwrite, Hostile::replace];
    for put in ways {
        let rig = Rig::new();
        let mut session = begun(&rig);
        let backup = rig.disk.peek("sealed_data").unwrap();
        session.count(2);
        session.count(3);
        put(&rig.disk, "sealed_data", &backup);
        let key = rig.disk.peek("sealed_key");

        let refused = session.commit([count(4)]);
        assert!(matches!(refused, Err(Failure::Unavailable(why)) if why.contains("Restart")));
        assert_eq!(session.mode(), StoreMode::Superseded);
        assert_eq!(counted(&session.state), 3, "reads go on");
        session.pass(Duration::from_secs(1000));
        session.commit([recovery("bob")]).unwrap_err();
        session.close();
        assert_eq!(rig.disk.peek("sealed_data").unwrap(), backup, "nothing was written, not at stop either");
        assert_eq!(rig.disk.peek("sealed_key"), key);

        let session = rig.after_kill().open();
        assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 1));
    }
}

#[test]
fn a_file_put_in_place_is_noticed_without_any_commit() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    let backup = rig.disk.peek("sealed_data").unwrap();
    session.count(2);
    rig.disk.overwrite("sealed_data", &backup);
    session.pass(Duration::from_secs(6));
    assert_eq!(session.mode(), StoreMode::Superseded);
}

#[test]
fn a_file_put_in_place_is_not_replaced_by_a_rotation_or_a_compaction() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    let backup = rig.disk.peek("sealed_data").unwrap();
    session.commit([secret("large", 30_000)]).unwrap();
    session.count(2);
    assert!(session.background.work());
    rig.disk.overwrite("sealed_data", &backup);
    session.pass(Duration::ZERO);
    assert_eq!(session.mode(), StoreMode::Superseded);
    assert_eq!(rig.disk.peek("sealed_data").unwrap(), backup);
    drop(session);

    let rig = Rig::new();
    let mut session = begun(&rig);
    let backup = rig.disk.peek("sealed_data").unwrap();
    session.count(2);
    rig.disk.replace("sealed_data", &backup);
    assert!(session.commit([recovery("bob")]).is_err());
    assert_eq!(rig.disk.peek("sealed_data").unwrap(), backup);
    assert!(!rig.disk.names().iter().any(|name| name.contains("rotated")));
}

#[test]
fn a_removed_file_is_written_anew_from_memory() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    rig.disk.delete("sealed_data");
    rig.disk.delete("sealed_key");
    session.count(2);
    assert_eq!(session.mode(), StoreMode::Durable);
    let after = rig.on(rig.disk.power_loss(3)).open();
    assert_eq!((after.mode(), counted(&after.state)), (StoreMode::Durable, 2));

    // Also where nothing is committed.
    rig.disk.delete("sealed_data");
    session.pass(Duration::from_secs(6));
    assert_eq!(counted(&rig.on(rig.disk.power_loss(4)).open().state), 2);
}

#[test]
fn a_copy_with_the_same_bytes_is_gone_on_with() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    let data = rig.disk.peek("sealed_data").unwrap();
    rig.disk.replace("sealed_data", &data);
    session.count(2);
    assert_eq!(session.mode(), StoreMode::Durable);
    assert_eq!(counted(&rig.on(rig.disk.power_loss(5)).open().state), 2);
}

#[test]
fn a_genesis_does_not_bury_a_file_that_has_appeared() {
    let (rig, other) = (Rig::new(), Rig::new());
    let backup = {
        begun(&other).close();
        other.disk.peek("sealed_data").unwrap()
    };
    let mut session = rig.open();
    rig.disk.overwrite("sealed_data", &backup);
    assert!(matches!(session.commit([manifest("")]), Err(Failure::NotStored(_))));
    assert_eq!(rig.disk.peek("sealed_data").unwrap(), backup);
    session.close();
    let mut session = rig.after_kill().open();
    session.recover(&root("alice")).unwrap();
    assert_eq!(counted(&session.state), 1);
}

#[test]
fn an_older_copy_is_refused_or_served_with_a_warning_as_configured() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    let backup = rig.disk.peek("sealed_data").unwrap();
    session.count(2);
    session.count(3);
    session.close();
    rig.disk.overwrite("sealed_data", &backup);

    let strict = copy(&rig).refusing_rollback();
    let mut session = strict.open();
    assert_eq!(session.code(), "older_than_witness");
    session.recover(&root("alice")).unwrap();
    assert_eq!((counted(&session.state), session.state.lineage().incarnation), (1, 2));
    session.count(10);
    session.close();
    let session = strict.after_kill().open();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 10), "the holders have consented");

    let session = rig.after_kill().open();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 1));
    assert!(session.warnings().contains("older"), "{}", session.warnings());
    assert_eq!(session.state.lineage().incarnation, 2, "two lives are told apart");
    session.close();
    assert_eq!(rig.after_kill().open().warnings(), "", "once is enough");
}

#[test]
fn copies_that_go_on_separately_are_told_apart() {
    let rig = Rig::new();
    begun(&rig).close();
    let (left, right) = (copy(&rig).refusing_rollback(), copy(&rig).refusing_rollback());
    for (side, value) in [(&left, 20), (&right, 30)] {
        let mut session = side.open();
        session.count(value);
        session.count(value + 1);
        session.close();
    }
    let (one, other) = (left.disk.peek("sealed_data").unwrap(), right.disk.peek("sealed_data").unwrap());
    let common = one.iter().zip(&other).skip(8192).take_while(|(a, b)| a == b).count() + 8192;
    let nonce = |bytes: &[u8]| bytes[common..].to_vec();
    assert_ne!(nonce(&one), nonce(&other), "what they write is never the same");
    for side in [&left, &right] {
        assert_eq!(side.after_kill().open().mode(), StoreMode::Durable);
    }
    left.disk.overwrite("sealed_data", &other);
    assert_eq!(left.after_kill().open().code(), "forked");
}

#[test]
fn a_witness_that_was_removed_or_forged_is_not_none() {
    let rig = Rig::new();
    begun(&rig).close();
    let spoils: [fn(&mut SealedKey); 3] = [
        |key| key.entries[0].witness = None,
        |key| key.entries[0].witness.as_mut().unwrap().mac[0] ^= 1,
        |key| key.entries[0].witness.as_mut().unwrap().claim.sequence = 1,
    ];
    for spoil in spoils {
        let copy = copy(&rig).refusing_rollback();
        let KeyFile::Ours(mut key) = KeyFile::decode(&copy.disk.peek("sealed_key").unwrap()).unwrap() else {
            panic!("not ours")
        };
        spoil(&mut key);
        copy.disk.overwrite("sealed_key", &key.encode().unwrap());
        assert_eq!(copy.open().code(), "no_witness");
    }
}

#[test]
fn the_witness_follows_at_once_where_it_matters_and_else_once_a_minute() {
    let rig = Rig::new();
    let mut session = begun(&rig);
    let writes = || rig.disk.calls(Class::Write);
    session.pass(Duration::from_secs(61));
    assert_eq!(witness(&rig.disk), 2);
    let per_commit = {
        let before = writes();
        session.count(2);
        writes() - before
    };
    assert_eq!((per_commit, witness(&rig.disk)), (2, 2), "a record and a mark");
    session.pass(Duration::from_secs(61));
    assert_eq!(witness(&rig.disk), 3);
    let before = writes();
    session.pass(Duration::from_secs(600));
    assert_eq!(writes(), before, "where nothing is new, nothing is written");
    session.commit([manifest("")]).unwrap();
    assert_eq!(witness(&rig.disk), 4, "a change of the manifest is vouched for at once");
    session.count(3);
    session.close();
    assert_eq!(witness(&rig.disk), 5, "and so is the state at a clean stop");
}

#[test]
fn a_copy_of_the_directory_opens_by_itself_wherever_it_was_taken() {
    let rig = Rig::new().refusing_rollback();
    let mut session = begun(&rig);
    for value in 2..40 {
        session.commit([count(value), secret("large", 3000)]).unwrap();
        if value % 7 == 0 {
            session.background.work();
            session.pass(Duration::ZERO);
        }
        let copy = copy(&rig).open();
        assert_eq!((copy.mode(), counted(&copy.state)), (StoreMode::Durable, value));
    }
}
