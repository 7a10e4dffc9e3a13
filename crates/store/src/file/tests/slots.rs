//! Several key slots at once: which one opens, what is told of those that do not, and changing them while the state is
//! served.

use marblerun_sealing::{HostKeyFile, KeySealer, Plain};
use marblerun_state::{AuditKind, Change};

use super::faults::{for_every_fault, seed};
use super::rig::{Rig, Session};
use crate::StoreMode;
use crate::backend::Backend;
use crate::device::Device;
use crate::disk::hostile::Hostile;
use crate::format::{KeyFile, Layout, SealedKey, read_front};
use crate::slots::{SlotError, SlotPlan};
use crate::testing::{counted, manifest, recovery, root};

fn add(backend: &str) -> SlotPlan {
    SlotPlan::Add { backend: backend.to_owned() }
}

fn remove(label: &str, force: bool) -> SlotPlan {
    SlotPlan::Remove { label: label.to_owned(), force }
}

fn rotate(label: Option<&str>) -> SlotPlan {
    SlotPlan::Rotate { label: label.map(str::to_owned), force: false }
}

/// A chip and a token, and a state sealed to both.
fn with_both(changes: &[Change]) -> (Rig, Device, Device) {
    let (chip, token) = (Device::chip(), Device::token());
    let rig = Rig::new().with_sealers(vec![chip.sealer(), token.sealer()]);
    let mut session = rig.open();
    session.commit([manifest("")].into_iter().chain(changes.iter().cloned())).unwrap();
    session.count(1);
    session.close();
    (rig.after_kill(), chip, token)
}

fn key_file(disk: &Hostile) -> SealedKey {
    match KeyFile::decode(&disk.peek("sealed_key").unwrap()).unwrap() {
        KeyFile::Ours(key) => key,
        other => panic!("{other:?}"),
    }
}

/// Labels in `sealed_key` and in the header.
fn labels(disk: &Hostile) -> (Vec<String>, Vec<String>) {
    let label = |slot: &crate::format::Slot| slot.label.clone();
    let key = key_file(disk);
    assert_eq!(key.entries.len(), 1);
    let Layout::Sealed(front) = read_front(&disk.peek("sealed_data").unwrap()).unwrap() else { panic!("not ours") };
    let header = front.header.slots.iter().filter(|slot| slot.kind != 1);
    (key.entries[0].slots.iter().map(label).collect(), header.map(label).collect())
}

fn opened(rig: &Rig) -> Session {
    let session = rig.after_kill().open();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 1), "{}", session.warnings());
    session
}

/// Subjects of the audit trail's entries about slots.
fn told(session: &Session) -> Vec<String> {
    let lines = session.state.audit(AuditKind::Changes).lines(0).1;
    lines.filter(|line| line.contains("seal_slot")).collect()
}

#[test]
fn every_sealer_gets_a_slot_and_either_opens_the_state() {
    let (rig, chip, token) = with_both(&[]);
    assert_eq!(labels(&rig.disk), (vec!["chip".to_owned()], vec!["token".to_owned()]));
    assert_eq!(opened(&rig).warnings(), "");
    token.plug(None);
    assert_eq!(opened(&rig).warnings(), "", "the first slot opened, so the token was not asked");
    token.plug(Some(1));
    chip.plug(None);
    let session = opened(&rig);
    let why = "the key slot TPM: chip does not open: sealing backend chip is not available: it is not plugged in";
    assert_eq!(session.warnings(), why);
    token.plug(None);
    let session = rig.after_kill().open();
    let StoreMode::Recovery { code: "no_key", message } = session.mode() else { panic!("{:?}", session.mode()) };
    for cause in [why, "PKCS#11: token does not open: sealing backend token is not available"] {
        assert!(message.contains(cause), "{message}");
    }
}

#[test]
fn slots_are_tried_in_the_order_of_the_configuration() {
    let (rig, chip, token) = with_both(&[]);
    chip.plug(Some(2));
    let rig = rig.with_sealers(vec![token.sealer(), chip.sealer()]);
    assert_eq!(opened(&rig).warnings(), "");
}

#[test]
fn a_sealer_that_is_away_at_genesis_is_told_and_gets_its_slot_at_the_next_start() {
    let (chip, token) = (Device::chip(), Device::token());
    chip.plug(None);
    let rig = Rig::new().with_sealers(vec![chip.sealer(), token.sealer()]);
    let mut session = rig.open();
    session.commit([manifest("")]).unwrap();
    session.count(1);
    assert!(session.warnings().contains("the sealing backend chip has no key slot"), "{}", session.warnings());
    session.close();
    assert_eq!(labels(&rig.disk).0, Vec::<String>::new());
    chip.plug(Some(1));
    let session = opened(&rig);
    assert!(session.warnings().contains("key slots were made that were not there yet: chip"), "{}", session.warnings());
    assert_eq!(told(&session).len(), 1);
    session.close();
    token.plug(None);
    let session = opened(&rig);
    assert_eq!(session.warnings(), "");
}

#[test]
fn where_every_sealer_is_away_nothing_is_stored_and_the_reasons_are_told() {
    let (chip, token) = (Device::chip(), Device::token());
    chip.plug(None);
    token.plug(None);
    let rig = Rig::new().with_sealers(vec![chip.sealer(), token.sealer()]);
    let mut session = rig.open();
    let refused = session.commit([manifest("")]).unwrap_err();
    let text = format!("{refused:?}");
    assert!(text.contains("backend chip has no key slot") && text.contains("backend token has no key slot"), "{text}");
    assert!(rig.disk.peek("sealed_data").is_none());
    chip.plug(Some(1));
    session.commit([manifest("")]).unwrap();
}

#[test]
fn a_token_takes_the_place_of_a_chip_while_the_state_is_served() {
    let (chip, token) = (Device::chip(), Device::token());
    token.plug(None);
    let rig = Rig::new().with_sealers(vec![chip.sealer(), token.sealer()]);
    let mut session = rig.open();
    session.commit([manifest("")]).unwrap();
    session.count(1);
    assert!(matches!(session.slots(&add("token")), Err(SlotError::Failed { name, .. }) if name == "token"));
    assert!(matches!(session.slots(&add("tpm")), Err(SlotError::NoBackend { .. })));
    assert!(matches!(session.slots(&add("chip")), Err(SlotError::Exists(why)) if why.contains("it opens")));
    token.plug(Some(1));
    session.slots(&add("token")).unwrap();
    assert_eq!(session.warnings(), "");
    assert_eq!(labels(&rig.disk), (vec!["chip".to_owned()], vec!["token".to_owned()]));
    let before = key_file(&rig.disk).entries[0].dek_id;
    let old = (rig.disk.peek("sealed_key").unwrap(), rig.disk.peek("sealed_data").unwrap());
    session.slots(&remove("chip", false)).unwrap();
    assert_eq!(labels(&rig.disk), (vec![], vec!["token".to_owned()]));
    assert_ne!(key_file(&rig.disk).entries[0].dek_id, before, "what the chip opened is another key");
    assert_eq!(told(&session).len(), 2);
    assert!(
        matches!(session.slots(&remove("chip", false)), Err(SlotError::NoSlot { present, .. }) if present == "token")
    );
    session.count(1);
    // What comes after does not bring it back, until a start that is configured so.
    session.commit([recovery("alice")]).unwrap();
    assert_eq!(labels(&rig.disk), (vec![], vec!["token".to_owned()]));
    session.close();

    chip.plug(None);
    drop(opened(&rig.clone().with_sealers(vec![token.sealer()])));
    // An old copy of the slot does not open what came after.
    let grafted = rig.on(Hostile::new());
    grafted.disk.overwrite("sealed_key", &old.0);
    grafted.disk.overwrite("sealed_data", &rig.disk.peek("sealed_data").unwrap());
    chip.plug(Some(1));
    token.plug(None);
    assert_eq!(grafted.open().code(), "no_key");
    grafted.disk.overwrite("sealed_data", &old.1);
    assert_eq!(grafted.after_kill().open().mode(), StoreMode::Durable, "but what it was made for");
}

#[test]
fn a_rotation_replaces_key_and_slots_and_loses_none() {
    let (rig, chip, token) = with_both(&[]);
    let mut session = rig.open();
    let before = key_file(&rig.disk).entries[0].clone();
    token.plug(None);
    let Err(SlotError::WouldLose(why)) = session.slots(&rotate(None)) else { panic!("it was not refused") };
    assert!(why.contains("token") && why.contains("not plugged in"), "{why}");
    assert_eq!(key_file(&rig.disk).entries[0].slots, before.slots);
    // The chip was replaced: its slot is dead, and the other one opened.
    token.plug(Some(1));
    chip.plug(Some(2));
    session.close();
    let rig = rig.after_kill();
    let mut session = rig.open();
    assert!(session.warnings().contains("sealed by another device"), "{}", session.warnings());
    let dead = session.slots(&add("chip")).unwrap_err().to_string();
    assert!(dead.contains("does not open") && dead.contains("slot rotate chip"), "{dead}");
    session.slots(&rotate(Some("chip"))).unwrap();
    assert_eq!(session.warnings(), "");
    assert_ne!(key_file(&rig.disk).entries[0].dek_id, before.dek_id);
    let tested = session.backend.keyring().unwrap().test(None).unwrap();
    assert!(tested.iter().all(|slot| slot.opens == Some(Ok(()))), "{tested:?}");
    session.close();
    token.plug(None);
    assert_eq!(opened(&rig).warnings(), "");
}

#[test]
fn a_test_tells_which_slots_open_and_why_the_others_do_not() {
    let (rig, _, token) = with_both(&[]);
    let mut session = rig.open();
    token.plug(Some(7));
    let keyring = session.backend.keyring().unwrap();
    let tested = keyring.test(None).unwrap();
    assert_eq!(tested[0].opens, Some(Ok(())));
    assert!(matches!(&tested[1].opens, Some(Err(why)) if why.contains("another device")), "{tested:?}");
    assert_eq!((tested[0].in_backups, tested[1].in_backups), (false, true));
    assert_eq!(keyring.test(Some("token")).unwrap().len(), 1);
    assert!(matches!(keyring.test(Some("x")), Err(SlotError::NoSlot { .. })));
    assert!(keyring.slots().iter().all(|slot| slot.opens.is_none()));
}

#[test]
fn the_last_slot_goes_only_by_force_and_only_if_there_are_recovery_keys() {
    let token = Device::token();
    let rig = Rig::new().with_sealers(vec![token.sealer()]);
    let mut session = rig.open();
    session.commit([manifest("")]).unwrap();
    for force in [false, true] {
        assert!(matches!(session.slots(&remove("token", force)), Err(SlotError::Last(_))), "{force}");
    }
    session.commit([recovery("alice")]).unwrap();
    session.count(1);
    assert!(matches!(session.slots(&remove("token", false)), Err(SlotError::Last(_))));
    session.slots(&remove("token", true)).unwrap();
    assert_eq!(session.backend.keyring().unwrap().slots(), []);
    session.count(1);
    session.commit([recovery("bob")]).unwrap();
    session.close();
    let rig = rig.after_kill();
    let mut session = rig.open();
    assert_eq!(session.code(), "no_key");
    session.recover(&root("bob")).unwrap();
    assert_eq!(labels(&rig.disk).1, ["token"], "what is configured gets a slot of every new key");
    drop(session);
    opened(&rig);
}

#[test]
fn a_slot_of_a_sealer_that_is_not_configured_any_more_can_be_removed_and_is_not_lost_by_accident() {
    let (rig, chip, _) = with_both(&[]);
    let rig = rig.with_sealers(vec![chip.sealer()]);
    let mut session = rig.open();
    let Err(SlotError::WouldLose(why)) = session.slots(&rotate(None)) else { panic!("it was not refused") };
    assert!(why.contains("MARBLERUN_SEAL"), "{why}");
    session.slots(&remove("token", false)).unwrap();
    assert_eq!(labels(&rig.disk), (vec!["chip".to_owned()], vec![]));
}

#[test]
fn a_seal_directory_on_another_host_opens_by_what_travels_with_it() {
    let (rig, chip, token) = with_both(&[]);
    let elsewhere = rig.on(Hostile::new());
    for name in ["sealed_data", "sealed_key"] {
        elsewhere.disk.overwrite(name, &rig.disk.peek(name).unwrap());
    }
    chip.plug(Some(9));
    let mut session = elsewhere.open();
    assert_eq!((session.mode(), counted(&session.state)), (StoreMode::Durable, 1));
    session.slots(&rotate(Some("chip"))).unwrap();
    session.close();
    token.plug(None);
    opened(&elsewhere);
    // The backup alone opens by the token, but no host vouches for it.
    token.plug(Some(1));
    let backup = elsewhere.on(Hostile::new());
    backup.disk.overwrite("sealed_data", &elsewhere.disk.peek("sealed_data").unwrap());
    assert_eq!(backup.clone().refusing_rollback().open().code(), "no_witness");
    opened(&backup);
}

#[test]
fn a_way_in_that_stands_in_the_clear_is_closed_with_a_new_key() {
    let rig = Rig::new();
    let mut session = rig.open();
    session.commit([manifest("")]).unwrap();
    session.count(1);
    session.close();
    let plain = rig.disk.peek("sealed_key").unwrap();
    let token = Device::token();
    let rig = rig.with_sealers(vec![token.sealer()]);
    let session = opened(&rig);
    assert!(session.warnings().contains("with a new key"), "{}", session.warnings());
    assert_eq!(told(&session).len(), 2, "one was made, one removed");
    session.close();
    assert_eq!(labels(&rig.disk), (vec![], vec!["token".to_owned()]));
    assert_eq!(opened(&rig).warnings(), "");
    let grafted = rig.on(Hostile::new());
    grafted.disk.overwrite("sealed_data", &rig.disk.peek("sealed_data").unwrap());
    grafted.disk.overwrite("sealed_key", &plain);
    token.plug(None);
    assert_eq!(grafted.open().code(), "no_key");
    // Where a slot in the clear is wanted, it stays.
    token.plug(Some(1));
    let wanted =
        Rig::new().with_sealers(vec![std::sync::Arc::new(Plain) as std::sync::Arc<dyn KeySealer>, token.sealer()]);
    let mut session = wanted.open();
    session.commit([manifest("")]).unwrap();
    session.count(1);
    drop(session);
    assert_eq!(opened(&wanted).warnings(), "");
    assert_eq!(labels(&wanted.disk), (vec!["plain".to_owned()], vec!["token".to_owned()]));
}

#[test]
fn a_change_prepared_for_a_key_that_was_replaced_meanwhile_is_prepared_anew() {
    let (rig, _, _) = with_both(&[]);
    let mut session = rig.open();
    let entry = marblerun_state::AuditEntry::new(marblerun_state::AuditEvent::SlotsRotated, 0, "a", "b");
    let change = session.backend.keyring().unwrap().prepare(&rotate(None), entry).unwrap();
    session.commit([recovery("alice")]).unwrap();
    assert!(matches!(session.backend.change_slots(change), (None, Err(SlotError::Changed))));
    session.slots(&rotate(None)).unwrap();
}

#[test]
fn where_nothing_is_stored_there_are_no_slots_to_change() {
    let rig = Rig::new();
    let mut session = rig.open();
    assert!(matches!(session.slots(&rotate(None)), Err(SlotError::NotHere(_))));
    session.commit([manifest("Disabled")]).unwrap();
    assert!(matches!(session.slots(&add("plain")), Err(SlotError::NotHere(_))));
}

/// What a caller was told of changes of slots.
#[derive(Debug, Default)]
struct Told {
    removed: bool,
}

#[test]
fn no_fault_in_a_change_of_slots_leaves_a_state_that_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let host = HostKeyFile::new(&dir.path().join("host"));
    host.host_id().unwrap();
    let token = Device::token();
    let before = || {
        token.plug(None);
        let host: std::sync::Arc<dyn KeySealer> = std::sync::Arc::new(host.clone());
        let rig = Rig::new().with_sealers(vec![host, token.sealer()]);
        let mut session = rig.open();
        session.commit([manifest(""), recovery("alice")]).unwrap();
        session.count(1);
        session.close();
        // The start must not make the slot.
        (rig.on(rig.disk.restart()), Told::default())
    };
    let run = |rig: &Rig, told: &mut Told| {
        token.plug(None);
        let Ok(mut session) = rig.try_open(&crate::testing::make) else { return };
        token.plug(Some(1));
        let mut insist = |plan: &SlotPlan| {
            for _ in 0..3 {
                match session.slots(plan) {
                    Ok(()) | Err(SlotError::Exists(_)) => return true,
                    Err(_) => session.pass(std::time::Duration::from_secs(3)),
                }
            }
            false
        };
        let added = insist(&add("token"));
        told.removed = added && insist(&remove("host-key-file", false));
        session.close();
    };
    for_every_fault(before, run, |rig, told, context| {
        let open = |rig: &Rig, context: &str| {
            let session = rig.open();
            let found = (session.mode(), counted(&session.state));
            assert_eq!(found, (StoreMode::Durable, 1), "{context}: {}", session.warnings());
            session.close();
        };
        let seed = seed(rig);
        open(&rig.after_power_loss(seed), &format!("{context}, power loss {seed}"));
        let killed = rig.after_kill();
        if told.removed {
            // An entry of the key before may stay for a while; it opens nothing any more.
            let key = key_file(&killed.disk);
            let Layout::Sealed(front) = read_front(&killed.disk.peek("sealed_data").unwrap()).unwrap() else {
                panic!()
            };
            assert!(key.entry(front.header.dek_id).unwrap().slots.is_empty(), "{context}");
        }
        open(&killed, context);
    });
}
