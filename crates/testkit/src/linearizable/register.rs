//! A register: it holds the value that was written last. A user's secret is one.

use std::collections::{BTreeMap, BTreeSet};

use super::search::{describe, search};
use super::{Model, Operation};

/// A register that holds 0 at first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Register;

/// What is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterCall {
    /// Hold this. If every value is written once at most, and never 0, long histories are checked in no time.
    Write(u64),
    /// What does it hold?
    Read,
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterAnswer {
    /// It holds what was written.
    Written,
    /// It holds this.
    Value(u64),
}

type RegisterOperation = Operation<RegisterCall, RegisterAnswer>;

impl Model for Register {
    type Call = RegisterCall;
    type Answer = RegisterAnswer;
    type State = u64;

    fn initial(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, call: &RegisterCall, answer: Option<&RegisterAnswer>) -> Option<u64> {
        match (call, answer) {
            (RegisterCall::Write(value), None | Some(RegisterAnswer::Written)) => Some(*value),
            (RegisterCall::Read, None) => Some(*state),
            (RegisterCall::Read, Some(RegisterAnswer::Value(value))) => (value == state).then_some(*state),
            _ => None,
        }
    }

    fn only_observes(&self, call: &RegisterCall, _answer: &RegisterAnswer) -> bool {
        *call == RegisterCall::Read
    }

    /// A write that nobody has read may as well not have happened.
    fn matters(&self, open: &RegisterCall, others: &[RegisterOperation]) -> bool {
        let RegisterCall::Write(value) = open else { return false };
        others.iter().any(|other| other.answer == Some(RegisterAnswer::Value(*value)))
    }

    fn decide(&self, operations: &[RegisterOperation]) -> Result<(), String> {
        let mut values = BTreeSet::from([0]);
        let all_differ = operations.iter().all(|operation| match operation.call {
            RegisterCall::Write(value) => values.insert(value),
            RegisterCall::Read => true,
        });
        if all_differ { by_zones(operations) } else { search(self, operations) }
    }
}

/// A value's life: its write and the reads of it. Where every value is written once, a register's history has an order if
/// and only if (Gibbons and Korach, "Testing shared memories", SIAM Journal on Computing, 1997) no read precedes its write,
/// and of the zones of the values no two forward ones overlap and no backward one lies in a forward one.
struct Zone {
    /// The first answer of its life.
    first_answer: u64,
    /// The last call of its life.
    last_call: u64,
    value: u64,
}

impl Zone {
    /// From the first answer to the last call, the register certainly held the value.
    const fn is_forward(&self) -> bool {
        self.first_answer < self.last_call
    }
}

fn by_zones(operations: &[RegisterOperation]) -> Result<(), String> {
    // The initial value is written before everything.
    let mut zones = BTreeMap::from([(0, Zone { first_answer: 0, last_call: 0, value: 0 })]);
    let mut writes = BTreeMap::new();
    for operation in operations {
        if let RegisterCall::Write(value) = operation.call {
            let zone = Zone { first_answer: operation.answered, last_call: operation.called, value };
            zones.insert(value, zone);
            writes.insert(value, operation);
        }
    }
    for operation in operations {
        let Some(RegisterAnswer::Value(value)) = operation.answer else { continue };
        let zone = zones.get_mut(&value).ok_or_else(|| format!("nobody wrote\n{}", describe(operation)))?;
        zone.first_answer = zone.first_answer.min(operation.answered);
        zone.last_call = zone.last_call.max(operation.called);
        if let Some(write) = writes.get(&value).filter(|write| operation.answered < write.called) {
            return Err(format!("a value is read before it is written:\n{}\n{}", describe(operation), describe(write)));
        }
    }
    let (mut forward, backward): (Vec<&Zone>, Vec<&Zone>) = zones.values().partition(|zone| zone.is_forward());
    forward.sort_by_key(|zone| zone.first_answer);
    let clash = |held: &Zone, other: &Zone, how: &str| {
        let lives = operations.iter().filter(|operation| match (operation.call, operation.answer) {
            (RegisterCall::Write(value), _) | (_, Some(RegisterAnswer::Value(value))) => {
                value == held.value || value == other.value
            }
            _ => false,
        });
        let (value, first, last) = (held.value, held.first_answer, held.last_call);
        let head = format!("it held {value} from {first} to {last}, but {} {how}:", other.value);
        Err(std::iter::once(head).chain(lives.map(describe)).collect::<Vec<_>>().join("\n"))
    };
    for (zone, next) in forward.iter().zip(forward.iter().skip(1)) {
        if next.first_answer < zone.last_call {
            return clash(zone, next, "as well before that ended");
        }
    }
    for zone in backward {
        let before = forward.partition_point(|held| held.first_answer < zone.last_call);
        let around = before.checked_sub(1).and_then(|at| forward.get(at));
        if let Some(held) = around.filter(|held| zone.first_answer < held.last_call) {
            return clash(held, zone, "was written meanwhile");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::simulation::{arbitrary, by_permutation};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn zones_and_search_decide_as_the_trial_of_all_orders_does(choices in arbitrary(6)) {
            let mut written = 0;
            let operations: Vec<RegisterOperation> = choices.timed(|choice, answered| {
                if choice % 2 == 0 {
                    written += 1;
                    (RegisterCall::Write(written), answered.then_some(RegisterAnswer::Written))
                } else {
                    (RegisterCall::Read, answered.then_some(RegisterAnswer::Value(u64::from(choice / 2 % 4))))
                }
            });
            let truth = by_permutation(&Register, &operations);
            prop_assert_eq!(search(&Register, &operations).is_ok(), truth, "search: {:?}", operations);
            prop_assert_eq!(by_zones(&operations).is_ok(), truth, "zones: {:?}", operations);
        }

        #[test]
        fn values_that_are_written_twice_are_searched_rightly(choices in arbitrary(6)) {
            let operations: Vec<RegisterOperation> = choices.timed(|choice, answered| {
                let value = u64::from(choice / 2 % 3);
                if choice % 2 == 0 {
                    (RegisterCall::Write(value), answered.then_some(RegisterAnswer::Written))
                } else {
                    (RegisterCall::Read, answered.then_some(RegisterAnswer::Value(value)))
                }
            });
            let truth = by_permutation(&Register, &operations);
            prop_assert_eq!(Register.decide(&operations).is_ok(), truth, "{:?}", operations);
        }
    }
}
