//! Upstream's files become ours, and stay what they were beside them.

use marblerun_recovery::RecoveryRoot;
use marblerun_state::{AuditEvent, AuditKind, State};
use zeroize::Zeroizing;

use marblerun_sealing::SlotKind;

use super::rig::Rig;
use crate::backend::Backend;
use crate::device::Device;
use crate::format::upstream;
use crate::testing::{count, manifest};
use crate::{RecoverError, StoreMode};

const SINGLE: [&[u8]; 2] = [
    include_bytes!("../../../tests/fixtures/upstream-state/single/sealed_data"),
    include_bytes!("../../../tests/fixtures/upstream-state/single/sealed_key"),
];
const LEGACY: [&[u8]; 2] = [
    include_bytes!("../../../tests/fixtures/upstream-state/legacy-16byte-key/sealed_data"),
    include_bytes!("../../../tests/fixtures/upstream-state/legacy-16byte-key/sealed_key"),
];
/// SHA-256 of the root certificate of both.
const ROOT: &str = "ec3df9309d58e76bb645b66ea297545e46ff5bd45686f65b6108b6620c2576a6";

fn with([data, key]: [&[u8]; 2]) -> Rig {
    let rig = Rig::new();
    rig.disk.overwrite("sealed_data", data);
    rig.disk.overwrite("sealed_key", key);
    rig
}

fn fingerprint(certificate: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate))
}

/// What the audit trail tells.
fn told(state: &State) -> Vec<AuditEvent> {
    state.audit(AuditKind::Changes).after(0).map(|entry| entry.event).collect()
}

fn root(key: &[u8]) -> RecoveryRoot {
    RecoveryRoot::new(Zeroizing::new(key.to_vec()))
}

#[test]
fn upstreams_files_are_taken_over_and_kept() {
    for files in [SINGLE, LEGACY] {
        let rig = with(files);
        let mut session = rig.open();
        assert_eq!(session.mode(), StoreMode::Durable);
        assert_eq!(fingerprint(&session.state.authority().root_certificate), ROOT);
        assert_eq!(rig.disk.peek("sealed_data.0.imported").unwrap(), files[0]);
        assert_eq!(rig.disk.peek("sealed_key.0.imported").unwrap(), files[1]);
        assert!(rig.disk.peek("sealed_data").unwrap().starts_with(b"MRSEAL\r\n"));
        assert_eq!(told(&session.state), [AuditEvent::Imported]);
        session.commit([count(5)]).unwrap();
        session.close();

        let rig = rig.after_kill();
        let session = rig.open();
        assert_eq!((session.mode(), session.warnings()), (StoreMode::Durable, String::new()));
        drop(session);

        // What the holders have is still the key.
        rig.disk.delete("sealed_key");
        let mut session = rig.open();
        assert!(session.room.opens(files[1]));
        session.recover(&root(files[1])).unwrap();
        assert_eq!(fingerprint(&session.state.authority().root_certificate), ROOT);
    }
}

#[test]
fn without_its_key_upstreams_file_is_recovered_and_then_taken_over() {
    let rig = with(SINGLE);
    rig.disk.delete("sealed_key");
    let mut session = rig.open();
    assert_eq!(session.code(), "no_key");
    assert!(session.room.opens(SINGLE[1]) && !session.room.opens(&[3; 32]));
    assert!(matches!(session.recover(&root(&[3; 32])), Err(RecoverError::CannotOpen(_))));
    let refused = session.backend.recover(&root(SINGLE[1]), Box::new(|_| Err("no".to_owned())));
    assert!(matches!(refused, Err(RecoverError::Refused(_))));
    assert_eq!(rig.disk.names(), ["sealed_data"]);
    session.recover(&root(SINGLE[1])).unwrap();
    assert_eq!(session.mode(), StoreMode::Durable);
    assert_eq!(rig.disk.peek("sealed_data.0.imported").unwrap(), SINGLE[0]);
    session.close();
    let session = rig.after_kill().open();
    assert_eq!(session.mode(), StoreMode::Durable);
    assert_eq!(told(&session.state), [AuditEvent::Imported, AuditEvent::Recovery]);
}

#[test]
fn the_wrong_key_damage_and_a_key_sealed_elsewhere_are_told() {
    let rig = with([SINGLE[0], &[5; 32]]);
    assert_eq!(rig.open().code(), "wrong_key");
    let rig = with([SINGLE[0], b"HSM_SEALED and so on"]);
    assert_eq!(rig.open().code(), "no_key");
    let rig = with([&SINGLE[0][..3], SINGLE[1]]);
    assert_eq!(rig.open().code(), "damaged");
    // It opens, and is no state.
    let rig = with([&upstream::seal(b"null", b"[]", SINGLE[1]).unwrap(), SINGLE[1]]);
    assert_eq!(rig.open().code(), "not_imported");
}

#[test]
fn a_key_in_an_hsms_envelope_opens_with_that_hsm_and_is_taken_over() {
    let files: [&[u8]; 2] = [
        include_bytes!("../../../../sealing/tests/fixtures/upstream-hsm-fake/sealed_data"),
        include_bytes!("../../../../sealing/tests/fixtures/upstream-hsm-fake/sealed_key"),
    ];
    // Without one it is told which would help.
    let session = with(files).open();
    let StoreMode::Recovery { code: "no_key", message } = session.mode() else { panic!("{:?}", session.mode()) };
    assert!(message.contains("MARBLERUN_SEAL=azure-hsm"), "{message}");
    drop(session);
    let hsm = Device::new(SlotKind::Kms, "hsm");
    hsm.plug(None);
    let rig = with(files).with_sealers(vec![hsm.sealer()]);
    assert_eq!(rig.open().code(), "no_key");
    hsm.plug(Some(1));
    let session = rig.after_kill().open();
    assert_eq!(session.mode(), StoreMode::Durable);
    assert_eq!(rig.disk.peek("sealed_key.0.imported").unwrap(), files[1]);
    session.close();
    assert_eq!(rig.after_kill().open().mode(), StoreMode::Durable, "by a slot of the HSM");
}

#[test]
fn upstreams_file_put_back_over_ours_is_an_older_copy() {
    let rig = with(SINGLE);
    rig.open().close();
    rig.disk.overwrite("sealed_data", SINGLE[0]);
    let rig = rig.after_kill();
    let mut session = rig.open();
    assert_eq!(session.code(), "older_than_witness");
    session.recover(&root(SINGLE[1])).unwrap();
    assert_eq!(session.mode(), StoreMode::Durable);
}

#[test]
fn a_frozen_state_of_upstreams_stays_frozen_until_sealing_is_enabled() {
    let rig = with(SINGLE);
    let session = rig.open();
    let mut state = (*session.state).clone();
    drop(session);
    state.apply(&manifest("Disabled")).unwrap();
    let plaintext = marblerun_state::upstream::export(&state, &|name, _| Err(format!("{name} has no value"))).unwrap();
    let frozen = upstream::seal(b"null", &plaintext, SINGLE[1]).unwrap();
    let rig = with([&frozen, SINGLE[1]]);
    let mut session = rig.open();
    assert_eq!(session.mode(), StoreMode::Volatile);
    assert!(session.warnings().contains("Disabled"));
    session.commit([count(3)]).unwrap();
    assert_eq!(rig.disk.names(), ["sealed_data", "sealed_key"]);
    assert_eq!(rig.disk.peek("sealed_data").unwrap(), frozen);

    session.commit([manifest("ProductKey")]).unwrap();
    assert_eq!(session.mode(), StoreMode::Durable);
    assert!(rig.disk.names().iter().any(|name| name.ends_with(".imported")));
    session.close();
    assert_eq!(rig.after_kill().open().mode(), StoreMode::Durable);
}

#[test]
fn no_fault_in_an_import_loses_upstreams_state() {
    super::faults::for_every_fault(
        || (with(SINGLE), ()),
        |rig, ()| {
            if let Ok(session) = rig.try_open(&crate::testing::make_another) {
                session.close();
            }
        },
        |rig, (), context| {
            for after in [rig.after_power_loss(super::faults::seed(rig)), rig.after_kill()] {
                let session = after.try_open(&crate::testing::make_another).unwrap();
                assert_eq!(session.mode(), StoreMode::Durable, "{context}");
                assert_eq!(fingerprint(&session.state.authority().root_certificate), ROOT, "{context}");
                let names = after.disk.names();
                let kept = |base: &str, content: &[u8]| {
                    let mut archives = names.iter().filter(|name| name.starts_with(base) && name.contains(".imported"));
                    archives.any(|name| after.disk.peek(name).unwrap() == content)
                };
                assert!(kept("sealed_data.", SINGLE[0]) && kept("sealed_key.", SINGLE[1]), "{context}: {names:?}");
            }
        },
    );
}
