//! Recovery: the holders' secrets have been combined, now the waiting state is opened, proved, and written as
//! a new incarnation under a new key. Until that is in place, nothing on disk has changed.

use std::sync::Arc;

use marblerun_recovery::RecoveryRoot;
use marblerun_sealing::SealMode;
use marblerun_state::State;

use super::archive::{Archived, prune};
use super::establish::Foundation;
use super::footprint::Footprint;
use super::names::Reason;
use super::new_file::NotPlaced;
use super::{FileBackend, Mode, seal_mode, upstream};
use crate::disk::{Access, Readable};
use crate::error::decide;
use crate::format::{self, Dek, Layout, OpenOptions, Opened, Refusal, SEALED_DATA, Source, read_front};
use crate::lives;
use crate::{RecoverError, RecoveryCheck};

impl FileBackend {
    pub(super) fn recover_waiting(
        &mut self,
        root: &RecoveryRoot,
        check: RecoveryCheck,
    ) -> Result<Arc<State>, RecoverError> {
        let Mode::Recovery(waiting) = &self.mode else { return Err(RecoverError::NotInRecovery) };
        let old_sequence = waiting.sequence;
        let cannot_open = |why: String| RecoverError::CannotOpen(why);
        let file = self.ports.fs.open(SEALED_DATA, Access::Read).map_err(|error| cannot_open(unreadable(error)))?;
        let footprint = Footprint::of_file(&*file).map_err(|error| cannot_open(unreadable(error)))?;
        let source = Readable::new(&*file).map_err(|error| cannot_open(unreadable(error)))?;
        let front = match read_front(&source).map_err(|refusal| cannot_open(refusal.to_string()))? {
            Layout::Sealed(front) => front,
            Layout::Upstream(front) => {
                let state =
                    upstream::read(&*file, &front, root.expose()).map_err(|error| cannot_open(error.message))?;
                let parties = decide(check, &state)?;
                let now_ms = self.ports.clock.now_ms();
                let state = lives::imported(state, now_ms)
                    .and_then(|state| lives::imported_by(state, &parties, now_ms))
                    .map_err(RecoverError::NotStored)?;
                self.import(Arc::new(state), &*file).map_err(|error| RecoverError::NotStored(error.message))?;
                return Ok(Arc::clone(&self.state));
            }
        };
        let Some(dek) = front.dek_from_recovery_root(root.expose()) else {
            return Err(cannot_open("these recovery secrets do not open the sealed state".to_owned()));
        };
        let (opened, loss_accepted) = open_allowed(&source, &dek, self.config.accept_loss_after, None)
            .map_err(|refusal| cannot_open(refusal.to_string()))?;
        let parties = decide(check, &opened.state)?;
        let state =
            lives::recovered(opened.state, &parties, self.ports.clock.now_ms()).map_err(RecoverError::NotStored)?;
        let (reason, from) = match opened.torn {
            _ if loss_accepted => (Some(Reason::Damaged), 0),
            Some(torn) => (Some(Reason::Torn), torn.offset),
            None => (None, 0),
        };
        let foundation = Foundation {
            replaces: Some(footprint),
            reason,
            from,
            old_key: Some(front.header.dek_id),
            old_sequence,
            previous_head: opened.tail.head,
            sequence: opened.tail.sequence,
            time_ms: opened.time_ms,
        };
        let state = Arc::new(state);
        if seal_mode(&state) == SealMode::Disabled {
            // Cannot come from us; were it there all the same, it is served, and nothing is replaced.
            self.mode = Mode::Volatile { beneath: foundation.replaces };
            self.accept(&state, foundation.sequence, foundation.time_ms);
            return Ok(state);
        }
        self.found(&state, &foundation).map_err(|not_placed| match not_placed {
            NotPlaced::Failed(why) => RecoverError::NotStored(format!("the recovered state cannot be stored: {why}")),
            NotPlaced::Superseded => RecoverError::NotStored(
                "another sealed_data was put in place during the recovery; begin anew".to_owned(),
            ),
            NotPlaced::Uncertain(why) => RecoverError::NotStored(format!(
                "it is not known whether the recovered state is stored: {why}; try again"
            )),
        })?;
        self.notes.push("the state was recovered with the recovery keys".to_owned());
        if state.recovery().len() == 1 {
            // The keys in force have just proved that they work.
            prune(&*self.ports.fs, Reason::Rotated, &Archived::default());
        }
        Ok(state)
    }
}

/// Opens the newest state; of a damaged file, the one up to which the operator has accepted the loss of its end
/// (told by the second part of the result). Also tells the head at a sequence.
pub(super) fn open_allowed(
    source: &(impl Source + ?Sized),
    dek: &Dek,
    accept_loss_after: Option<u64>,
    head_at: Option<u64>,
) -> Result<(Opened, bool), Refusal> {
    let refusal = match format::open(source, dek, OpenOptions { head_at, stop_after: None }) {
        Ok(opened) => return Ok((opened, false)),
        Err(refusal) => refusal,
    };
    // Only a damaged file is shortened: the setting may stay in force when the file is whole again.
    match (&refusal, accept_loss_after) {
        (Refusal::Damaged { .. } | Refusal::CutShort { .. }, Some(_)) => {
            let options = OpenOptions { head_at, stop_after: accept_loss_after };
            format::open(source, dek, options).map(|opened| (opened, true)).map_err(|_| refusal)
        }
        _ => Err(refusal),
    }
}

fn unreadable(error: std::io::Error) -> String {
    Refusal::from(error).to_string()
}
