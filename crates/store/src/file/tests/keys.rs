//! Keys: losing the host, recovering, rotating, and what each old file opens with.

use marblerun_sealing::HostKeyFile;
use marblerun_state::{Change, Draft};

use super::rig::Rig;
use crate::backend::Backend;
use crate::disk::hostile::Hostile;
use crate::format::{KeyFile, Layout, SealedKey, read_front};
use crate::testing::{count, counted, manifest, recovery, root, secret};
use crate::{RecoverError, StoreMode};

fn with_state(rig: Rig) -> Rig {
    let mut session = rig.open();
    session.commit([manifest(""), recovery("alice")]).unwrap();
    for value in 1..=3 {
        session.count(value);
    }
    session.close();
    rig.after_kill()
}

fn key_file(disk: &Hostile) -> SealedKey {
    match KeyFile::decode(&disk.peek("sealed_key").unwrap()).unwrap() {
        KeyFile::Ours(key) => key,
        other => panic!("{other:?}"),
    }
}

fn opens_with(bytes: &Vec<u8>, name: &str) -> bool {
    let Layout::Sealed(front) = read_front(bytes).unwrap() else { panic!("not ours") };
    front.dek_from_recovery_root(root(name).expose()).is_some()
}

#[test]
fn who_loses_the_host_key_recovers_with_the_recovery_keys_and_begins_a_new_life() {
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("host");
    let rig = with_state(Rig::new().with_sealer(HostKeyFile::new(&host)));
    assert_eq!(rig.open().mode(), StoreMode::Durable, "with the host's key it opens by itself");
    let before = rig.open();
    std::fs::remove_file(&host).unwrap();

    let rig = rig.after_kill();
    let mut session = rig.open();
    assert_eq!(session.code(), "no_key");
    assert!(session.room.opens(root("alice").expose()));
    assert!(!session.room.opens(root("mallory").expose()));
    assert_eq!(session.room.material().sets[0].parties[0].name, "alice");
    assert!(matches!(session.recover(&root("mallory")), Err(RecoverError::CannotOpen(_))));
    session.recover(&root("alice")).unwrap();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 3));
    let (old, new) = (before.state.lineage(), session.state.lineage());
    assert_eq!((old.deployment_id, old.incarnation + 1), (new.deployment_id, new.incarnation));
    assert_ne!(old.incarnation_id, new.incarnation_id);
    assert!(matches!(session.recover(&root("alice")), Err(RecoverError::NotInRecovery)));
    session.count(4);
    session.close();

    let after = rig.after_kill().open();
    assert_eq!((after.mode(), counted(&after.state)), (StoreMode::Durable, 4));
    assert_eq!(after.state.authority().root_certificate, before.state.authority().root_certificate);
}

#[test]
fn where_there_are_no_recovery_keys_nobody_is_asked_for_them() {
    let rig = Rig::new();
    let mut session = rig.open();
    session.commit([manifest(""), count(1)]).unwrap();
    session.close();
    let rig = rig.after_kill();
    let key = rig.disk.peek("sealed_key").unwrap();
    rig.disk.delete("sealed_key");
    let session = rig.open();
    let StoreMode::Recovery { code: "no_key", message } = session.mode() else { panic!("{:?}", session.mode()) };
    assert!(message.contains("no recovery keys") && !message.contains("Recover with"), "{message}");
    let refusal = session.room.material().refusal.unwrap();
    assert!(refusal.contains("no secret opens it"), "{refusal}");
    drop(session);

    rig.disk.overwrite("sealed_key", &key);
    assert_eq!(counted(&rig.after_kill().open().state), 1, "with the key of its host it opens");
}

#[test]
fn a_refused_recovery_changes_nothing() {
    let rig = with_state(Rig::new());
    rig.disk.delete("sealed_key");
    let before = (rig.disk.names(), rig.disk.peek("sealed_data"));
    let mut session = rig.open();
    let refused = session.backend.recover(&root("alice"), Box::new(|_| Err("crossed signatures".to_owned())));
    assert!(matches!(refused, Err(RecoverError::Refused(why)) if why == "crossed signatures"));
    let panicked = session.backend.recover(&root("alice"), Box::new(|_| panic!("this message is expected")));
    assert!(matches!(panicked, Err(RecoverError::Refused(_))));
    assert_eq!(session.code(), "no_key");
    assert_eq!((rig.disk.names(), rig.disk.peek("sealed_data")), before);
}

#[test]
fn another_file_put_in_place_during_a_ceremony_is_noticed() {
    let (rig, other) = (with_state(Rig::new()), with_state(Rig::new()));
    rig.disk.delete("sealed_key");
    let session = rig.open();
    let first = session.room.material().file_id;
    assert_eq!(session.room.material().file_id, first);
    rig.disk.overwrite("sealed_data", &other.disk.peek("sealed_data").unwrap());
    assert_ne!(session.room.material().file_id, first);
    rig.disk.delete("sealed_data");
    assert!(session.room.material().sets.is_empty());
    assert!(!session.room.opens(root("alice").expose()));
}

#[test]
fn after_new_recovery_keys_only_they_open_the_state_and_the_old_file_is_kept() {
    let rig = with_state(Rig::new());
    let mut session = rig.open();
    let old_entry = key_file(&rig.disk).entries[0].dek_id;
    session.commit([recovery("bob"), count(4)]).unwrap();
    let data = rig.disk.peek("sealed_data").unwrap();
    assert!(opens_with(&data, "bob") && !opens_with(&data, "alice"));
    let archived = rig.disk.peek("sealed_data.4.rotated").unwrap();
    assert!(opens_with(&archived, "alice") && !opens_with(&archived, "bob"));
    assert!(rig.disk.names().contains(&"sealed_key.4.rotated".to_owned()));
    let entries = key_file(&rig.disk).entries;
    assert_eq!(entries.len(), 1, "the old key is gone");
    assert_ne!(entries[0].dek_id, old_entry);
    session.count(5);
    session.close();

    let rig = rig.after_kill();
    assert_eq!(counted(&rig.open().state), 5);
    rig.disk.delete("sealed_key");
    let mut session = rig.open();
    assert!(matches!(session.recover(&root("alice")), Err(RecoverError::CannotOpen(_))));
    session.recover(&root("bob")).unwrap();
    assert_eq!(counted(&session.state), 5);
    let rotated = rig.disk.names().into_iter().find(|name| name.contains("rotated"));
    assert_eq!(rotated, None, "the new keys have proved that they work");
}

#[test]
fn a_rotation_in_two_steps_keeps_the_old_way_in_until_the_new_one_is_confirmed() {
    let rig = with_state(Rig::new());
    let mut session = rig.open();
    let mut both = session.state.recovery().to_vec();
    let Change::Recovery(new) = recovery("bob") else { unreachable!() };
    both.extend(new.clone());
    session.commit([Change::Recovery(both)]).unwrap();
    let data = rig.disk.peek("sealed_data").unwrap();
    assert!(opens_with(&data, "alice") && opens_with(&data, "bob"));
    assert!(rig.disk.names().iter().any(|name| name.contains("rotated")));
    session.commit([Change::Recovery(new)]).unwrap();
    let data = rig.disk.peek("sealed_data").unwrap();
    assert!(!opens_with(&data, "alice") && opens_with(&data, "bob"));
    assert!(!rig.disk.names().iter().any(|name| name.contains("rotated")), "confirmed");
}

#[test]
fn another_seal_mode_is_in_force_at_once_with_a_new_key() {
    let rig = with_state(Rig::new());
    let mut session = rig.open();
    let before = key_file(&rig.disk).entries[0].dek_id;
    session.commit([manifest("UniqueKey")]).unwrap();
    let entries = key_file(&rig.disk).entries;
    assert_eq!(entries.len(), 1);
    assert_ne!(entries[0].dek_id, before);
    assert_eq!(session.mode(), StoreMode::Durable);
    session.close();
    assert_eq!(counted(&rig.after_kill().open().state), 3);
}

#[test]
fn disabling_sealing_leaves_nothing_to_load_and_enabling_it_stores_the_state_again() {
    let rig = with_state(Rig::new());
    let mut session = rig.open();
    session.commit([recovery("bob")]).unwrap();
    session.commit([manifest("Disabled")]).unwrap();
    assert_eq!(session.mode(), StoreMode::Volatile);
    assert!(rig.disk.names().iter().all(|name| name.contains("discarded")), "{:?}", rig.disk.names());
    session.count(7);
    assert_eq!(rig.on(rig.disk.power_loss(1)).open().mode(), StoreMode::Volatile);

    let lineage = *session.state.lineage();
    session.commit([manifest("ProductKey")]).unwrap();
    assert_eq!(session.mode(), StoreMode::Durable);
    session.count(8);
    session.close();
    let session = rig.after_kill().open();
    assert_eq!((counted(&session.state), *session.state.lineage()), (8, lineage));
}

#[test]
fn a_backup_never_carries_what_opens_it_by_itself_on_this_host() {
    let dir = tempfile::tempdir().unwrap();
    let rig = with_state(Rig::new().with_sealer(HostKeyFile::new(&dir.path().join("host"))));
    let data = rig.disk.peek("sealed_data").unwrap();
    let Layout::Sealed(front) = read_front(&data).unwrap() else { panic!("not ours") };
    let kinds: Vec<_> = front.header.slots.iter().map(|slot| slot.kind).collect();
    assert_eq!(kinds, [1]);
    let slots = rig.open().backend.facts().slots;
    assert_eq!(slots, ["platform: host-key-file", "recovery: alice"]);
    // A copy of it alone asks for recovery; the whole directory opens by itself.
    let (alone, whole) = (rig.on(Hostile::new()), rig.on(Hostile::new()));
    alone.disk.overwrite("sealed_data", &data);
    assert_eq!(alone.open().code(), "no_key");
    for name in rig.disk.names() {
        whole.disk.overwrite(&name, &rig.disk.peek(&name).unwrap());
    }
    assert_eq!(whole.open().mode(), StoreMode::Durable);
}

#[test]
fn no_file_shows_a_secret() {
    let rig = with_state(Rig::new());
    let mut session = rig.open();
    let mut draft = Draft::new(&session.state);
    draft.record(secret("planted", 64)).unwrap();
    let value = draft.state().secret("planted").unwrap().private.clone().unwrap();
    let (_, changes) = draft.into_parts();
    session.commit(changes).unwrap();
    session.commit([recovery("bob")]).unwrap();
    session.close();
    for name in rig.disk.names() {
        let bytes = rig.disk.peek(&name).unwrap();
        for planted in [&value[..], root("bob").expose(), root("alice").expose(), &[7; 32]] {
            assert!(!bytes.windows(planted.len()).any(|window| window == planted), "{name}");
        }
    }
}

#[test]
fn the_parties_encrypted_secrets_can_be_left_out_of_the_header() {
    for kept in [true, false] {
        let mut rig = Rig::new();
        rig.config.recovery_in_header = kept;
        let rig = with_state(rig);
        let data = rig.disk.peek("sealed_data").unwrap();
        assert_eq!(data.windows(9).any(|window| window == b"encrypted"), kept);
    }
}

#[test]
fn a_simulated_host_with_another_sealer_opens_a_plain_slot_and_makes_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let rig = with_state(Rig::new());
    let rig = rig.with_sealer(HostKeyFile::new(&dir.path().join("host")));
    let session = rig.open();
    assert_eq!(session.mode(), StoreMode::Durable);
    assert_eq!(key_file(&rig.disk).entries[0].slots[0].kind, 2);
    session.close();
    assert_eq!(rig.after_kill().open().mode(), StoreMode::Durable);
}
