//! A Marble type with a bound: it is activated so many times, and then no more.

use super::Model;

/// Activations of a type, up to its `MaxActivations`.
#[derive(Debug, Clone, Copy)]
pub struct Activations {
    /// How many there can be.
    pub max: u64,
}

/// Activate one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activate;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationAnswer {
    /// It is one of those allowed.
    Activated,
    /// There were as many as are allowed before.
    Exhausted,
}

impl Model for Activations {
    type Call = Activate;
    type Answer = ActivationAnswer;
    type State = u64;

    fn initial(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, _call: &Activate, answer: Option<&ActivationAnswer>) -> Option<u64> {
        let is_exhausted = *state >= self.max;
        match answer {
            Some(ActivationAnswer::Activated) => (!is_exhausted).then_some(state + 1),
            Some(ActivationAnswer::Exhausted) => is_exhausted.then_some(*state),
            None => Some((state + 1).min(self.max)),
        }
    }

    fn only_observes(&self, _call: &Activate, answer: &ActivationAnswer) -> bool {
        *answer == ActivationAnswer::Exhausted
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
        fn activations_are_decided_as_the_trial_of_all_orders_does(choices in arbitrary(7), max in 0..5_u64) {
            let operations = choices.timed(|choice, answered| {
                let answer =
                    if choice % 3 == 0 { ActivationAnswer::Exhausted } else { ActivationAnswer::Activated };
                (Activate, answered.then_some(answer))
            });
            let model = Activations { max };
            let truth = by_permutation(&model, &operations);
            let history = History { operations };
            prop_assert_eq!(check(&model, &history).is_ok(), truth, "{:?}", history);
        }
    }
}
