//! A state being changed by a transaction: every change is applied and recorded.

use std::sync::Arc;

use crate::{Change, ChangeError, MAX_CHANGE, State};

/// A state plus the changes made to it. Dropping it drops them.
#[derive(Debug, Clone)]
pub struct Draft {
    state: State,
    changes: Vec<Change>,
}

impl Draft {
    /// Starts from a published state.
    #[must_use]
    pub fn new(base: &Arc<State>) -> Self {
        Self { state: State::clone(base), changes: Vec::new() }
    }

    /// The state with the changes so far.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The changes so far.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Applies and records one change.
    ///
    /// # Errors
    /// [`ChangeError`] if it does not fit the state, or is too large to be read back; the draft is then unchanged.
    pub fn record(&mut self, change: Change) -> Result<(), ChangeError> {
        if change.size_bound() > MAX_CHANGE {
            return Err(ChangeError(format!("a single change cannot exceed {MAX_CHANGE} bytes")));
        }
        self.state.apply(&change)?;
        self.changes.push(change);
        Ok(())
    }

    /// The result.
    #[must_use]
    pub fn into_parts(self) -> (State, Vec<Change>) {
        (self.state, self.changes)
    }
}
