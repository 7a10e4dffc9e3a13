//! Files that are not as they were written: each kind of damage has its own answer, and none of them is an exit,
//! a silent loss, or a fresh identity.

use super::rig::{Rig, Session};
use crate::StoreMode;
use crate::backend::Backend;
use crate::testing::{count, counted, make_another, manifest, recovery, root};

/// A state at sequence 6: the counter is 5.
fn with_state() -> Rig {
    let rig = Rig::new();
    let mut session = rig.open();
    session.commit([manifest(""), recovery("alice")]).unwrap();
    for value in 1..=5 {
        session.count(value);
    }
    session.close();
    rig.on(rig.disk.restart())
}

/// Changes the bytes of a file.
fn change(rig: &Rig, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = rig.disk.peek(name).unwrap();
    change(&mut bytes);
    rig.disk.overwrite(name, &bytes);
}

/// All files but the lock.
fn files(rig: &Rig) -> Vec<(String, Vec<u8>)> {
    let names = rig.disk.names();
    names.into_iter().map(|name| (name.clone(), rig.disk.peek(&name).unwrap())).collect()
}

/// Opens in recovery mode with that code, and sees that nothing was changed.
fn refused(rig: &Rig, code: &str) -> Session {
    let before = files(rig);
    let session = rig.try_open(&make_another).unwrap();
    assert_eq!(session.code(), code);
    assert_eq!(files(rig), before, "a start in recovery mode changes nothing");
    session
}

#[test]
fn a_change_in_a_durable_record_is_damage_and_the_loss_of_its_end_can_be_accepted() {
    let mut rig = with_state();
    change(&rig, "sealed_data", |bytes| {
        let middle_of_last = bytes.len() - 30;
        bytes[middle_of_last] ^= 1;
    });
    let session = refused(&rig, "damaged");
    let StoreMode::Recovery { message, .. } = session.mode() else { unreachable!() };
    assert!(message.contains("--accept-loss-after 5"), "{message}");

    // Not further than there is something.
    rig.config.accept_loss_after = Some(6);
    refused(&rig, "damaged");

    rig.config.accept_loss_after = Some(5);
    let session = rig.open();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 4));
    assert_eq!(session.state.lineage().incarnation, 2);
    assert!(session.warnings().contains("continued from sequence 5"), "{}", session.warnings());
    assert!(rig.disk.names().contains(&"sealed_data.5.damaged".to_owned()));
    session.close();

    // The setting may stay: a whole file is not shortened.
    let mut session = rig.after_kill().open();
    session.count(50);
    session.close();
    let session = rig.after_kill().open();
    assert_eq!((counted(&session.state), session.state.lineage().incarnation), (50, 2));
}

#[test]
fn a_copy_that_was_cut_short_is_known_as_one() {
    let mut rig = with_state();
    change(&rig, "sealed_data", |bytes| bytes.truncate(bytes.len() - 200));
    refused(&rig, "cut_short");
    rig.config.accept_loss_after = Some(4);
    let session = rig.open();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 3));
}

#[test]
fn a_loss_that_was_accepted_still_needs_the_holders_where_the_witness_decides() {
    let mut rig = with_state().refusing_rollback();
    change(&rig, "sealed_data", |bytes| bytes.truncate(bytes.len() - 200));
    rig.config.accept_loss_after = Some(4);
    let mut session = refused(&rig, "older_than_witness");
    session.recover(&root("alice")).unwrap();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 3));
    assert!(rig.disk.names().iter().any(|name| name.ends_with(".damaged")));
}

#[test]
fn bytes_that_were_never_durable_are_dropped_kept_and_told() {
    for tail in [&b"MRR1 half"[..], &[0; 5000], &[0xA5; 3]] {
        let rig = with_state();
        change(&rig, "sealed_data", |bytes| bytes.extend_from_slice(tail));
        let mut session = rig.open();
        assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 5));
        assert!(session.warnings().contains("dropped"), "{}", session.warnings());
        assert_eq!(rig.disk.peek("sealed_data.6.torn").unwrap(), tail);
        assert_eq!(session.state.lineage().incarnation, 1, "nothing was lost, so life goes on");
        session.count(6);
        session.close();
        let session = rig.after_kill().open();
        assert_eq!((counted(&session.state), session.warnings()), (6, String::new()));
    }
}

#[test]
fn of_torn_tails_the_newest_three_are_kept() {
    let rig = with_state();
    for round in 0..5 {
        change(&rig, "sealed_data", |bytes| bytes.extend_from_slice(b"torn"));
        let mut session = rig.after_kill().open();
        session.count(10 + round);
        session.close();
    }
    let torn: Vec<_> = rig.disk.names().into_iter().filter(|name| name.contains("torn")).collect();
    assert_eq!(torn, ["sealed_data.10.torn", "sealed_data.8.torn", "sealed_data.9.torn"]);
}

#[test]
fn what_was_just_kept_stays_although_its_sequence_is_lower_or_the_same() {
    let rig = with_state();
    let early = rig.disk.peek("sealed_data").unwrap();
    for round in 0..4 {
        change(&rig, "sealed_data", |bytes| bytes.extend_from_slice(b"late"));
        let mut session = rig.after_kill().open();
        session.count(10 + round);
        session.close();
    }
    // An older copy is put back, with a torn tail; then that happens to the same state again and again.
    rig.disk.overwrite("sealed_data", &early);
    for round in 0_u8..7 {
        change(&rig, "sealed_data", |bytes| bytes.extend_from_slice(&[round; 9]));
        rig.after_kill().open().close();
        let kept: Vec<_> = rig.disk.names().into_iter().filter(|name| name.contains("torn")).collect();
        assert_eq!(kept.len(), 3);
        assert!(kept.iter().any(|name| rig.disk.peek(name).unwrap() == [round; 9]), "round {round}: {kept:?}");
    }
}

#[test]
fn an_altered_header_decides_nothing_and_is_repaired() {
    let rig = with_state();
    change(&rig, "sealed_data", |bytes| {
        // The name of the writer stands in the header; its checksum is made right again.
        let at = bytes.windows(6).position(|window| window == b"test 1").unwrap();
        bytes[at] = b'T';
        let header = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..252]), &bytes[256..256 + header]);
        bytes[252..256].copy_from_slice(&crc.to_le_bytes());
    });
    let session = rig.open();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 5));
    assert!(session.warnings().contains("header"), "{}", session.warnings());
    let repaired = rig.disk.peek("sealed_data").unwrap();
    assert!(!repaired.windows(6).any(|window| window == b"Test 1"));
    session.close();
    assert_eq!(rig.after_kill().open().warnings(), "");
}

#[test]
fn a_newer_format_is_not_damage() {
    let rig = with_state();
    change(&rig, "sealed_data", |bytes| bytes[8] = 2);
    refused(&rig, "newer_format");
}

#[test]
fn an_empty_or_foreign_file_is_damage() {
    for content in [&b""[..], b"MRSEAL\r\n", b"something else that is no state at all"] {
        let rig = with_state();
        rig.disk.overwrite("sealed_data", content);
        refused(&rig, "damaged");
    }
}

#[test]
fn without_a_key_the_recovery_keys_are_asked_for() {
    let rig = with_state();
    rig.disk.delete("sealed_key");
    refused(&rig, "no_key");
    rig.disk.overwrite("sealed_key", b"garbage");
    refused(&rig, "no_key");

    // Another deployment's.
    let other = with_state();
    rig.disk.overwrite("sealed_key", &other.disk.peek("sealed_key").unwrap());
    refused(&rig, "no_key");
}

#[test]
fn a_key_that_does_not_fit_is_called_wrong_not_damage() {
    let rig = with_state();
    // The file says that it has that key, and does not.
    change(&rig, "sealed_data", |bytes| {
        bytes[50] ^= 1;
        let header = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..252]), &bytes[256..256 + header]);
        bytes[252..256].copy_from_slice(&crc.to_le_bytes());
    });
    refused(&rig, "wrong_key");
}

#[test]
fn where_any_trace_exists_there_is_no_fresh_identity() {
    let traces = ["sealed_data.old", "sealed_data.tmp", "sealed_key", "sealed_data.3.torn", "sealed_key.0.imported"];
    for trace in traces {
        let rig = Rig::new();
        rig.disk.overwrite(trace, b"anything");
        let mut session = refused(&rig, "missing");
        assert!(session.commit([count(1)]).is_err());
        assert!(rig.disk.names() == [trace]);
    }
    let rig = with_state();
    rig.disk.delete("sealed_data");
    refused(&rig, "missing");
}

#[test]
fn what_was_put_aside_or_never_finished_is_no_trace() {
    let names = ["sealed_data.new", "sealed_key.new", "sealed_data.lock", "sealed_data.discarded", "notes.txt"];
    for name in names {
        let rig = Rig::new();
        rig.disk.overwrite(name, b"anything");
        assert_eq!(rig.open().mode(), StoreMode::Volatile, "{name}");
    }
}

#[test]
fn a_state_is_given_up_only_on_request_and_then_put_aside() {
    let mut rig = with_state();
    rig.disk.overwrite("sealed_data.old", b"upstream's");
    rig.disk.overwrite("sealed_data.2.reset", b"an archive");
    rig.config.discard_existing_state = true;
    let data = rig.disk.peek("sealed_data").unwrap();
    let session = rig.open();
    assert_eq!(session.mode(), StoreMode::Volatile);
    assert_eq!(rig.disk.peek("sealed_data.discarded").unwrap(), data);
    let names =
        ["sealed_data.2.reset.discarded", "sealed_data.discarded", "sealed_data.old.discarded", "sealed_key.discarded"];
    assert_eq!(rig.disk.names(), names);
    drop(session);
    // A second time, nothing put aside before is replaced.
    rig.disk.overwrite("sealed_data", b"another");
    rig.open();
    assert_eq!(rig.disk.peek("sealed_data.discarded").unwrap(), data);
    assert_eq!(rig.disk.peek("sealed_data.discarded.2").unwrap(), b"another");
}

#[test]
fn a_new_manifest_over_a_state_that_cannot_be_opened_keeps_the_old_files() {
    let rig = with_state();
    rig.disk.delete("sealed_key");
    rig.disk.overwrite("sealed_key", b"garbage");
    let old = rig.disk.peek("sealed_data").unwrap();
    let mut session = rig.try_open(&make_another).unwrap();
    assert!(session.commit([count(9)]).is_err(), "nothing but a manifest is taken");
    session.commit([manifest(""), recovery("bob"), count(9)]).unwrap();
    assert_eq!(session.mode(), StoreMode::Durable);
    assert_eq!(rig.disk.peek("sealed_data.6.reset").unwrap(), old);
    assert_eq!(rig.disk.peek("sealed_key.6.reset").unwrap(), b"garbage");
    session.close();
    assert_eq!(counted(&rig.after_kill().open().state), 9);

    // The old state can be put back, and its holders still open it.
    rig.disk.overwrite("sealed_data", &old);
    let mut session = rig.after_kill().open();
    session.recover(&root("alice")).unwrap();
    assert_eq!(counted(&session.state), 5);
}

#[test]
fn a_new_manifest_over_a_state_that_cannot_be_opened_can_be_forbidden() {
    let mut rig = with_state();
    rig.disk.delete("sealed_key");
    rig.config.deny_reset = true;
    let before = files(&rig);
    let mut session = rig.open();
    assert!(session.commit([manifest(""), recovery("bob")]).is_err());
    assert!(session.commit([manifest("Disabled")]).is_err());
    assert_eq!(files(&rig), before);
    session.recover(&root("alice")).unwrap();
    assert_eq!(counted(&session.state), 5);
}

#[test]
fn a_manifest_that_disables_sealing_puts_an_unopened_state_aside() {
    let rig = with_state();
    rig.disk.delete("sealed_key");
    let old = rig.disk.peek("sealed_data").unwrap();
    let mut session = rig.open();
    session.commit([manifest("Disabled")]).unwrap();
    assert_eq!(session.mode(), StoreMode::Volatile);
    assert_eq!(rig.disk.names(), ["sealed_data.discarded"]);
    assert_eq!(rig.disk.peek("sealed_data.discarded").unwrap(), old);
    assert_eq!(rig.after_kill().open().mode(), StoreMode::Volatile, "the next start is fresh, not in recovery");
}

#[test]
fn a_file_that_cannot_be_read_now_is_not_given_up() {
    let rig = with_state();
    let calls = rig.disk.calls(crate::disk::hostile::Class::Look);
    drop(rig.open());
    let looks = rig.disk.calls(crate::disk::hostile::Class::Look) - calls;
    let rig = rig.after_kill();
    for look in 0..looks {
        rig.disk.plan(
            crate::disk::hostile::Class::Look,
            look,
            crate::disk::hostile::Fault::Fails(std::io::ErrorKind::Other),
        );
        if let Ok(session) = rig.try_open(&make_another) {
            assert_ne!(session.mode(), StoreMode::Volatile, "look {look}");
            assert_eq!(session.backend.facts().mode, session.mode());
        }
        rig.disk.heal();
    }
    assert_eq!(counted(&rig.open().state), 5);
}
