//! Every call of every story fails once in every way, and the power goes after each. Whatever happens, the
//! reopened directory has everything that was acknowledged and nothing that was refused, opens by itself,
//! and never begins a fresh identity.

use marblerun_state::Change;
use std::collections::BTreeSet;

use super::rig::{Rig, Session};
use crate::backend::Failure;
use crate::disk::hostile::{Class, Fault};
use crate::testing::{count, counted, manifest, recovery, root, secret};
use crate::{RollbackPolicy, StoreMode};

/// What a caller was told about each value it counted to.
#[derive(Debug, Default, Clone)]
pub(super) struct Told {
    last: u64,
    acknowledged: u64,
    unknown: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// Some state was acknowledged, so that a fresh identity would be a loss.
    established: bool,
    /// Nothing needs to be on disk any more.
    disabled: bool,
    /// Perhaps so.
    maybe_disabled: bool,
}

impl Told {
    /// Counts one further, together with other changes.
    pub(super) fn count(&mut self, session: &mut Session, with: &[Change]) -> bool {
        self.last += 1;
        let result = session.commit(with.iter().cloned().chain([count(self.last)]));
        match &result {
            Ok(()) if session.mode() == StoreMode::Volatile => (self.disabled, self.maybe_disabled) = (true, false),
            Ok(()) => {
                self.acknowledged = self.last;
                self.established = true;
                (self.disabled, self.maybe_disabled) = (false, false);
            }
            Err(Failure::Unknown(_)) => {
                self.unknown.insert(self.last);
                self.maybe_disabled |= with.iter().any(|change| matches!(change, Change::Manifest { .. }));
            }
            Err(_) => {
                self.refused.insert(self.last);
            }
        }
        result.is_ok()
    }

    /// Counts one further, trying again as a client would.
    pub(super) fn insist(&mut self, session: &mut Session, with: &[Change]) {
        for _ in 0..3 {
            if self.count(session, with) {
                return;
            }
            // Long enough for the next attempt to write a new file.
            session.pass(std::time::Duration::from_secs(3));
        }
    }

    /// What a new start has read is what holds from now on.
    pub(super) fn settle(&mut self, session: &Session) {
        self.acknowledged = counted(&session.state);
        self.unknown.clear();
    }

    pub(super) fn check(&self, session: &Session, context: &str) {
        let value = counted(&session.state);
        match session.mode() {
            StoreMode::Volatile if self.disabled || self.maybe_disabled || !self.established => return,
            StoreMode::Durable => {}
            other => panic!("{context}: {other:?} {}\n{self:?}", session.warnings()),
        }
        assert!(value >= self.acknowledged, "{context}: {value} was read\n{self:?}");
        assert!(!self.refused.contains(&value), "{context}: {value} was refused\n{self:?}");
        let allowed = value == self.acknowledged || self.unknown.contains(&value) || value == self.last;
        assert!(allowed, "{context}: {value} was read\n{self:?}");
    }
}

/// Something that happens to a directory.
struct Story {
    /// The directory before it.
    before: fn() -> (Rig, Told),
    /// What happens; must not panic whatever fails.
    run: fn(&Rig, &mut Told),
}

/// Lets every call of `run` go wrong in every way, each time on a directory of its own.
pub(super) fn for_every_fault<T>(
    before: impl Fn() -> (Rig, T),
    run: impl Fn(&Rig, &mut T),
    judge: impl Fn(&Rig, &T, &str),
) {
    let (rig, mut told) = before();
    let begun = Class::ALL.map(|class| rig.disk.calls(class));
    run(&rig, &mut told);
    let calls = Class::ALL.map(|class| rig.disk.calls(class) - begun[class as usize]);
    judge(&rig, &told, "without any fault");
    for class in Class::ALL {
        assert!(calls[class as usize] > 0);
        for &fault in class.faults() {
            for call in 0..calls[class as usize] {
                let (rig, mut told) = before();
                rig.disk.plan(class, call, fault);
                run(&rig, &mut told);
                let what = rig.disk.what_failed();
                judge(&rig, &told, &format!("{class:?} {call} of {calls:?}, {what}"));
            }
        }
    }
}

/// One possible past for each fault, and another for each call.
pub(super) fn seed(rig: &Rig) -> u64 {
    Class::ALL.into_iter().map(|class| rig.disk.calls(class)).fold(7, |seed, calls| seed * 31 + calls)
}

impl Story {
    fn play(&self) {
        for_every_fault(self.before, self.run, |rig, told, context| {
            let seed = seed(rig);
            self.judge_directory(&rig.after_power_loss(seed), told, &format!("{context}, power loss {seed}"));
            // Last, since it ends the life of the process.
            self.judge_directory(&rig.after_kill(), told, &format!("{context}, killed"));
        });
    }

    fn judge_directory(&self, rig: &Rig, told: &Told, context: &str) {
        let mut session = rig.open();
        told.check(&session, context);
        // It goes on from there, and the next start agrees.
        let value = told.last.max(counted(&session.state)) + 1;
        let mut changes = vec![count(value)];
        if session.state.manifest().is_none() {
            changes.push(manifest(""));
        }
        session.commit(changes).unwrap_or_else(|error| panic!("{context}: {error:?}"));
        let durable = session.mode() == StoreMode::Durable;
        session.close();
        let after = rig.after_kill().open();
        if durable {
            assert_eq!((after.mode(), counted(&after.state)), (StoreMode::Durable, value), "{context}");
        }
    }
}

/// A directory with a state in it.
fn with_state() -> (Rig, Told) {
    let rig = Rig::new();
    let mut told = Told::default();
    let mut session = rig.open();
    assert!(told.count(&mut session, &[manifest(""), recovery("alice"), secret("large", 9000)]));
    for _ in 0..3 {
        assert!(told.count(&mut session, &[]));
    }
    session.close();
    (rig.on(rig.disk.restart()), told)
}

#[test]
fn no_fault_in_a_life_loses_what_was_acknowledged() {
    let story = Story {
        before: || (Rig::new(), Told::default()),
        run: |rig, told| {
            let Ok(mut session) = rig.try_open(&crate::testing::make) else { return };
            told.insist(&mut session, &[manifest(""), recovery("alice")]);
            for _ in 0..3 {
                told.insist(&mut session, &[]);
            }
            told.insist(&mut session, &[secret("large", 30_000)]);
            told.insist(&mut session, &[]);
            session.close();
        },
    };
    story.play();
}

#[test]
fn no_fault_in_a_compaction_loses_what_was_acknowledged() {
    let story = Story {
        before: with_state,
        run: |rig, told| {
            let Ok(mut session) = rig.try_open(&crate::testing::make) else { return };
            told.insist(&mut session, &[secret("large", 9000)]);
            told.insist(&mut session, &[secret("large", 9000)]);
            told.insist(&mut session, &[secret("large", 9000)]);
            session.background.work();
            // Both of these go into the old file; the second is followed by the change of files.
            told.insist(&mut session, &[]);
            told.insist(&mut session, &[]);
            session.close();
        },
    };
    story.play();
}

#[test]
fn no_fault_in_a_rotation_loses_what_was_acknowledged() {
    let story = Story {
        before: with_state,
        run: |rig, told| {
            let Ok(mut session) = rig.try_open(&crate::testing::make) else { return };
            told.insist(&mut session, &[recovery("bob")]);
            told.insist(&mut session, &[manifest("UniqueKey")]);
            told.insist(&mut session, &[]);
            session.close();
        },
    };
    story.play();
}

#[test]
fn no_fault_at_the_end_of_persistence_or_its_return_loses_what_was_acknowledged() {
    let story = Story {
        before: with_state,
        run: |rig, told| {
            let Ok(mut session) = rig.try_open(&crate::testing::make) else { return };
            told.insist(&mut session, &[recovery("bob")]);
            told.insist(&mut session, &[manifest("Disabled")]);
            told.insist(&mut session, &[]);
            told.insist(&mut session, &[manifest("ProductKey")]);
            told.insist(&mut session, &[]);
            session.close();
        },
    };
    story.play();
}

#[test]
fn no_fault_at_a_start_after_a_crash_loses_what_was_acknowledged() {
    let story = Story {
        before: || {
            let (rig, told) = with_state();
            let mut bytes = rig.disk.peek("sealed_data").unwrap();
            bytes.extend_from_slice(b"MRR1 and half of a record");
            rig.disk.overwrite("sealed_data", &bytes);
            (rig, told)
        },
        run: |rig, told| {
            let Ok(mut session) = rig.try_open(&crate::testing::make) else { return };
            told.insist(&mut session, &[]);
            session.close();
        },
    };
    story.play();
}

#[test]
fn no_fault_in_a_recovery_changes_what_is_recovered() {
    let before = || {
        let (rig, told) = with_state();
        rig.disk.delete("sealed_key");
        (rig, told)
    };
    let run = |rig: &Rig, told: &mut Told| {
        let Ok(mut session) = rig.try_open(&crate::testing::make) else { return };
        for _ in 0..2 {
            if session.recover(&root("alice")).is_ok() {
                told.insist(&mut session, &[]);
                return session.close();
            }
        }
    };
    for_every_fault(before, run, |rig, told, context| {
        for after in [rig.after_power_loss(seed(rig)), rig.after_kill()] {
            let mut session = after.open();
            // Whoever did not recover before still must, and still can.
            if let StoreMode::Recovery { code, .. } = session.mode() {
                assert_eq!(code, "no_key", "{context}");
                session.recover(&root("alice")).unwrap_or_else(|error| panic!("{context}: {error}"));
            }
            told.check(&session, context);
        }
    });
}

#[test]
fn no_fault_in_a_reset_loses_both_the_old_state_and_the_new() {
    let before = || {
        let (rig, _) = with_state();
        rig.disk.delete("sealed_key");
        (rig, Told { last: 100, ..Told::default() })
    };
    let run = |rig: &Rig, told: &mut Told| {
        let Ok(mut session) = rig.try_open(&crate::testing::make_another) else { return };
        told.insist(&mut session, &[manifest(""), recovery("bob")]);
        session.close();
    };
    for_every_fault(before, run, |rig, told, context| {
        for after in [rig.after_power_loss(seed(rig)), rig.after_kill()] {
            let mut session = after.open();
            if told.established {
                told.check(&session, context);
            } else if let StoreMode::Recovery { code, .. } = session.mode() {
                assert_eq!(code, "no_key", "{context}");
                session.recover(&root("alice")).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(counted(&session.state), 4, "{context}");
            } else {
                assert_eq!(session.mode(), StoreMode::Durable, "{context}");
                assert!(counted(&session.state) > 100, "{context}");
            }
            // What was replaced is kept.
            if counted(&session.state) > 100 {
                let names = after.disk.names();
                let kept = names.iter().any(|name| name.starts_with("sealed_data.") && name.contains(".reset"));
                assert!(kept, "{context}: {names:?}");
            }
        }
    });
}

#[test]
fn no_fault_while_a_loss_is_accepted_loses_more_than_that() {
    let story = Story {
        before: || {
            let (mut rig, mut told) = with_state();
            let mut bytes = rig.disk.peek("sealed_data").unwrap();
            let last = bytes.len() - 30;
            bytes[last] ^= 1;
            rig.disk.overwrite("sealed_data", &bytes);
            rig.config.accept_loss_after = Some(3);
            told.acknowledged = 3;
            (rig, told)
        },
        run: |rig, told| {
            let Ok(mut session) = rig.try_open(&crate::testing::make) else { return };
            told.insist(&mut session, &[]);
            session.close();
        },
    };
    story.play();
}

#[test]
fn the_witness_is_right_after_every_fault_also_where_it_decides() {
    let story = Story {
        before: || {
            let (rig, told) = with_state();
            (rig.refusing_rollback(), told)
        },
        run: |rig, told| {
            assert_eq!(rig.config.rollback, RollbackPolicy::Refuse);
            let Ok(mut session) = rig.try_open(&crate::testing::make) else { return };
            told.insist(&mut session, &[secret("large", 20_000)]);
            told.insist(&mut session, &[manifest("")]);
            session.background.work();
            told.insist(&mut session, &[]);
            told.insist(&mut session, &[recovery("bob")]);
            session.pass(std::time::Duration::from_secs(100));
            told.insist(&mut session, &[]);
            session.close();
        },
    };
    story.play();
}

/// A rename that was done and could not be made sure of, and then the power goes: both files are possible.
#[test]
fn no_loss_of_power_after_a_directory_that_could_not_be_synced_loses_what_was_acknowledged() {
    let stories: [fn(&mut Session, &mut Told); 3] = [
        |session, told| {
            told.count(session, &[recovery("bob")]);
        },
        |session, told| {
            told.count(session, &[manifest("UniqueKey")]);
        },
        |session, told| {
            assert!(session.background.work(), "a compaction was begun");
            told.count(session, &[]);
            told.count(session, &[]);
        },
    ];
    for (number, story) in stories.iter().enumerate() {
        let begin = || {
            let (rig, mut told) = with_state();
            let rig = rig.refusing_rollback();
            let mut session = rig.open();
            told.count(&mut session, &[secret("large", 15_000)]);
            told.count(&mut session, &[secret("large", 15_000)]);
            (rig, told, session)
        };
        let (rig, mut told, mut session) = begin();
        let before = rig.disk.calls(Class::Change);
        story(&mut session, &mut told);
        let calls = rig.disk.calls(Class::Change) - before;
        for call in 0..calls {
            for fault in [Fault::Fails(std::io::ErrorKind::Other), Fault::FailsAfterwards] {
                // The repair is under way when the power goes, here or there.
                for then in 0..8 {
                    let (rig, mut told, mut session) = begin();
                    rig.disk.plan(Class::Change, call, fault);
                    rig.disk.plan(Class::Change, call + 1 + then, Fault::PowerGoes);
                    story(&mut session, &mut told);
                    drop(session);
                    for seed in [call, call + 100, call + 200] {
                        let after = rig.after_power_loss(seed * 8 + then).open();
                        let context = format!("story {number}, power loss {seed}, {}", rig.disk.what_failed());
                        told.check(&after, &context);
                    }
                }
            }
        }
    }
}

#[test]
fn what_a_start_has_shown_is_never_lost_although_the_process_before_it_was_killed_in_the_middle() {
    let mut shown_unanswered = 0;
    // The sync of the record is the first call of a commit that matters here.
    for call in 0..3 {
        let (rig, _) = with_state();
        let mut session = rig.open();
        rig.disk.plan(Class::Change, call, Fault::PowerGoes);
        let answered = session.commit([count(50)]).is_ok();
        drop(session);
        let rig = rig.after_kill();
        let shown = counted(&rig.open().state);
        shown_unanswered += u64::from(shown == 50 && !answered);
        for seed in 0..20 {
            let after = rig.after_power_loss(seed).open();
            assert!(counted(&after.state) >= shown, "call {call}, power loss {seed}");
        }
    }
    assert!(shown_unanswered > 0, "there was such a case");
}
