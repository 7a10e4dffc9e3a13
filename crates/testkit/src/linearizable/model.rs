//! What an object is, and the check of a history against it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;

use super::search::search;
use super::{History, Operation};

/// An object that does one call after the other.
pub trait Model {
    /// What is asked.
    type Call: Clone + Eq + Debug;
    /// What is answered.
    type Answer: Clone + Eq + Debug;
    /// What it holds.
    type State: Clone + Eq + Hash + Debug;

    /// What it holds at first.
    fn initial(&self) -> Self::State;

    /// What it holds after a call with that answer; none if it does not give that answer. If the outcome is not known, any
    /// answer will do.
    fn step(&self, state: &Self::State, call: &Self::Call, answer: Option<&Self::Answer>) -> Option<Self::State>;

    /// Whether a call with that answer leaves every state as it is that gives this answer.
    fn only_observes(&self, call: &Self::Call, answer: &Self::Answer) -> bool;

    /// Whether answers to others may show that an open call happened. One that does not matter is left out: with it or
    /// without it, the rest of the history is right or wrong alike.
    fn matters(&self, open: &Self::Call, others: &[Operation<Self::Call, Self::Answer>]) -> bool {
        let _ = (open, others);
        true
    }

    /// Whether the calls of one key can be put in order. A search does it for any object; some objects have faster ways.
    ///
    /// # Errors
    /// Why not.
    fn decide(&self, operations: &[Operation<Self::Call, Self::Answer>]) -> Result<(), String>
    where
        Self: Sized,
    {
        search(self, operations)
    }
}

/// The calls of a model's object.
type Operations<M> = Vec<Operation<<M as Model>::Call, <M as Model>::Answer>>;

/// A key whose calls have no order in which one object gives those answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is not one object: {reason}")]
pub struct Violation {
    /// The object.
    pub key: String,
    /// Where it goes wrong.
    pub reason: String,
}

/// Checks each key of a history.
///
/// # Errors
/// The first key that is not one object.
pub fn check<M: Model>(model: &M, history: &History<M::Call, M::Answer>) -> Result<(), Violation> {
    let mut keys: BTreeMap<&str, Operations<M>> = BTreeMap::new();
    for operation in &history.operations {
        keys.entry(&operation.key).or_default().push(operation.clone());
    }
    for (key, operations) in keys {
        let matters = |operation: &&Operation<M::Call, M::Answer>| {
            operation.answer.is_some() || model.matters(&operation.call, &operations)
        };
        let mut relevant: Operations<M> = operations.iter().filter(matters).cloned().collect();
        relevant.sort_by_key(|operation| operation.called);
        model.decide(&relevant).map_err(|reason| Violation { key: key.to_owned(), reason })?;
    }
    Ok(())
}
