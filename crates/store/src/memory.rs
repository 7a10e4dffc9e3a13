//! A backend that keeps nothing: the state lives as long as the process.

use std::sync::Arc;

use marblerun_recovery::RecoveryRoot;
use marblerun_state::{Change, State};

use crate::backend::{Backend, Failure, Group, Tended};
use crate::facts::Facts;
use crate::{RecoverError, RecoveryCheck, StoreMode};

/// Memory alone.
#[derive(Debug, Default)]
pub(crate) struct MemoryBackend {
    sequence: u64,
}

impl Backend for MemoryBackend {
    fn store(&mut self, group: &Group) -> Result<Arc<State>, Failure> {
        self.sequence += 1;
        Ok(Arc::clone(&group.next))
    }

    fn ends_group(&self, _before: &State, _after: &State, _changes: &[Change]) -> bool {
        false
    }

    fn tend(&mut self) -> Tended {
        Tended::default()
    }

    fn recover(&mut self, _root: &RecoveryRoot, _check: RecoveryCheck) -> Result<Arc<State>, RecoverError> {
        Err(RecoverError::NotInRecovery)
    }

    fn close(&mut self) {}

    fn facts(&self) -> Facts {
        Facts {
            mode: StoreMode::Volatile,
            sequence: self.sequence,
            head: None,
            file_bytes: 0,
            slots: Vec::new(),
            warnings: Vec::new(),
        }
    }
}
