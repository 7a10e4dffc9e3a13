//! Building a state from the changes of a snapshot and of the deltas behind it.

use std::sync::Arc;

use marblerun_pki::Authority;

use crate::{Change, ChangeError, Lineage, Phase, State};

/// A state that is still being read. It becomes a [`State`] only when it has what every state has
/// (lineage, authority, root secret; a snapshot begins with them) and passes [`State::validate`].
#[derive(Debug, Default)]
pub struct Loader {
    lineage: Option<Lineage>,
    authority: Option<Arc<Authority>>,
    state: Option<State>,
}

impl Loader {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the next change.
    ///
    /// # Errors
    /// [`ChangeError`] if it does not fit what was read so far.
    pub fn apply(&mut self, change: &Change) -> Result<(), ChangeError> {
        if let Some(state) = &mut self.state {
            return state.apply(change);
        }
        match change {
            Change::Lineage(lineage) => self.lineage = Some(*lineage),
            Change::Authority(authority) => self.authority = Some(Arc::clone(authority)),
            Change::RootSecret { current, .. } => {
                let (Some(lineage), Some(authority)) = (self.lineage, &self.authority) else {
                    return Err(ChangeError("a snapshot begins with lineage and authority".to_owned()));
                };
                let phase = Phase::AcceptingManifest;
                let mut state = State::new(phase, lineage, Arc::clone(authority), current.clone());
                state.apply(change)?;
                self.state = Some(state);
            }
            _ => return Err(ChangeError("a snapshot begins with lineage, authority and root secret".to_owned())),
        }
        Ok(())
    }

    /// The state, proved servable.
    ///
    /// # Errors
    /// What is missing or does not fit ([`State::validate`]).
    pub fn finish(self) -> Result<State, ChangeError> {
        let state =
            self.state.ok_or_else(|| ChangeError("the snapshot ends before the state is complete".to_owned()))?;
        state.validate()?;
        Ok(state)
    }
}
