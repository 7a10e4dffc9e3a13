//! Random lives: commits, compactions, rotations, faults, kills and power losses in any order, against an oracle
//! of what was answered.

use std::time::Duration;

use proptest::prelude::*;

use super::faults::Told;
use super::rig::Rig;
use crate::StoreMode;
use crate::disk::hostile::{Class, Fault};
use crate::testing::{make, manifest, recovery, secret};

#[derive(Debug, Clone)]
enum Step {
    Count,
    Grow(usize),
    Background,
    Rotate(u8),
    SealMode(bool),
    Pass(u64),
    Fault(u8, u64, usize),
    Heal,
    Kill,
    PowerLoss(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Count),
        2 => (100_usize..20_000).prop_map(Step::Grow),
        2 => Just(Step::Background),
        1 => any::<u8>().prop_map(Step::Rotate),
        1 => any::<bool>().prop_map(Step::SealMode),
        1 => (0_u64..100).prop_map(Step::Pass),
        3 => (0_u8..3, 0_u64..12, any::<usize>()).prop_map(|(class, call, fault)| Step::Fault(class, call, fault)),
        2 => Just(Step::Heal),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::PowerLoss),
        1 => Just(Step::Restart),
    ]
}

fn live(steps: &[Step]) {
    let mut rig = Rig::new().refusing_rollback();
    let mut told = Told::default();
    let mut session = rig.open();
    told.insist(&mut session, &[manifest(""), recovery("alice")]);
    for (number, step) in steps.iter().enumerate() {
        let context = format!("step {number}: {step:?}");
        let next = match step {
            Step::Count => {
                told.count(&mut session, &[]);
                continue;
            }
            Step::Grow(size) => {
                told.count(&mut session, &[secret("large", *size)]);
                continue;
            }
            Step::Background => {
                session.background.work();
                continue;
            }
            Step::Rotate(name) => {
                told.count(&mut session, &[recovery(&format!("party {name}"))]);
                continue;
            }
            Step::SealMode(unique) => {
                told.count(&mut session, &[manifest(if *unique { "UniqueKey" } else { "ProductKey" })]);
                continue;
            }
            Step::Pass(seconds) => {
                session.pass(Duration::from_secs(*seconds));
                continue;
            }
            Step::Fault(class, call, fault) => {
                let class = Class::ALL[*class as usize];
                let faults: Vec<_> = class.faults().iter().filter(|fault| **fault != Fault::PowerGoes).collect();
                rig.disk.plan(class, *call, *faults[fault % faults.len()]);
                continue;
            }
            Step::Heal => {
                rig.disk.heal();
                continue;
            }
            Step::Kill => rig.after_kill(),
            Step::PowerLoss(seed) => rig.after_power_loss(*seed),
            Step::Restart => {
                session.close();
                rig.after_kill()
            }
        };
        rig = next;
        session = rig.try_open(&make).unwrap();
        told.check(&session, &context);
        if session.mode() == StoreMode::Volatile {
            told.insist(&mut session, &[manifest(""), recovery("alice")]);
        } else {
            told.settle(&session);
        }
    }
    drop(session);
    told.check(&rig.after_power_loss(1).open(), "at the end, power loss");
    told.check(&rig.after_kill().open(), "at the end, killed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_what_was_acknowledged_is_there_and_what_was_refused_is_not(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        live(&steps);
    }
}

/// A sync fails, and so does writing a new file; the process ends. The next one finds the record in the page cache.
#[test]
fn what_a_failed_sync_left_in_memory_alone_is_stored_before_it_is_vouched_for() {
    let (fails, look) = (Step::Fault(Class::Change as u8, 0, 0), Step::Fault(Class::Look as u8, 5, 0));
    live(&[fails, look, Step::Count, Step::Restart, Step::Pass(0)]);
}
