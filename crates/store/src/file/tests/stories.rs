//! The life of a directory.

use super::rig::Rig;
use crate::StoreMode;
use crate::backend::Backend;
use crate::testing::{count, counted, manifest, recovery, secret};
use marblerun_state::Phase;

#[test]
fn nothing_is_written_before_a_manifest_is_set() {
    let rig = Rig::new();
    let mut session = rig.open();
    assert_eq!(session.state.phase(), Phase::AcceptingManifest);
    assert_eq!(session.mode(), StoreMode::Volatile);
    session.commit([count(1)]).unwrap();
    session.close();
    assert_eq!(rig.disk.names(), Vec::<String>::new());
}

#[test]
fn a_state_outlives_its_process_and_the_power() {
    let rig = Rig::new();
    let mut session = rig.open();
    session.commit([manifest(""), recovery("alice")]).unwrap();
    assert_eq!(session.mode(), StoreMode::Durable);
    for value in 1..=5 {
        session.count(value);
    }
    for seed in 0..10 {
        let after = rig.after_power_loss(seed).open();
        assert_eq!(after.mode(), StoreMode::Durable, "{}", after.warnings());
        assert_eq!(counted(&after.state), 5);
        assert_eq!(after.backend.facts().sequence, 6);
        assert_eq!(after.state.authority().root_certificate, session.state.authority().root_certificate);
    }
    let after = rig.after_kill().open();
    assert_eq!((counted(&after.state), after.backend.facts().warnings), (5, Vec::new()));
}

#[test]
fn a_long_file_is_compacted_while_commits_go_on() {
    let rig = Rig::new();
    let mut session = rig.open();
    session.commit([manifest("")]).unwrap();
    session.commit([secret("large", 30_000)]).unwrap();
    let before = session.backend.facts().file_bytes;
    session.commit([secret("large", 30_000)]).unwrap();
    session.count(1);
    assert!(session.background.work(), "a compaction was begun");
    session.count(2);
    assert_eq!(session.backend.counters.compactions.load(std::sync::atomic::Ordering::Relaxed), 1);
    session.count(3);
    assert!(session.backend.facts().file_bytes < before + 40_000);
    for seed in 0..10 {
        let after = rig.after_power_loss(seed).open();
        assert_eq!((after.mode(), counted(&after.state)), (StoreMode::Durable, 3));
    }
}
