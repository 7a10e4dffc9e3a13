//! A monotonic counter: it is set to a value, unless it holds a higher one, and tells what it held before.

use super::{Model, Operation};

/// A counter that holds 0 at first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counter;

/// Hold this, if it is more than before. 0 only asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set(pub u64);

/// What it held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before(pub u64);

impl Model for Counter {
    type Call = Set;
    type Answer = Before;
    type State = u64;

    fn initial(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, call: &Set, answer: Option<&Before>) -> Option<u64> {
        answer.is_none_or(|before| before.0 == *state).then(|| call.0.max(*state))
    }

    fn only_observes(&self, call: &Set, answer: &Before) -> bool {
        call.0 <= answer.0
    }

    /// Nobody was told of a value that it set: another one came at once, or none.
    fn matters(&self, open: &Set, others: &[Operation<Set, Before>]) -> bool {
        open.0 > 0 && others.iter().any(|other| other.answer == Some(Before(open.0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::simulation::{arbitrary, by_permutation};
    use super::super::{History, check};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn counters_are_decided_as_the_trial_of_all_orders_does(choices in arbitrary(6)) {
            let operations = choices.timed(|choice, answered| {
                (Set(u64::from(choice % 4)), answered.then_some(Before(u64::from(choice / 4 % 4))))
            });
            let truth = by_permutation(&Counter, &operations);
            let history = History { operations };
            prop_assert_eq!(check(&Counter, &history).is_ok(), truth, "{:?}", history);
        }
    }
}
