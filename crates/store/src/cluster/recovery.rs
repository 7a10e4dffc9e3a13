//! Opening what waits with recovery keys, and taking over upstream's state.

use std::sync::Arc;

use marblerun_recovery::RecoveryRoot;
use marblerun_state::{Cause, State};
use zeroize::Zeroizing;

use super::backend::{ClusterBackend, Mode};
use super::keys::{KeySet, slots_of};
use super::life;
use super::waiting::Waiting;
use super::write::NotSent;
use super::{ArchiveReason, Kek, Object};
use crate::error::decide;
use crate::format::upstream::{self, UpstreamFront};
use crate::format::{Layout, Refusal, portable_slots, read_front};
use crate::upstream::NotImported;
use crate::{RecoverError, RecoveryCheck, lives};

impl ClusterBackend {
    /// Opens what waits, has it decided, proves it, and writes it as another life. Old slots stay: a host that has an
    /// old key still comes back by itself.
    pub(super) fn recover_waiting(
        &mut self,
        root: &RecoveryRoot,
        check: RecoveryCheck,
    ) -> Result<Arc<State>, RecoverError> {
        if !matches!(self.mode, Mode::Waiting(_)) {
            return Err(RecoverError::NotInRecovery);
        }
        // What lies there now counts, not what lay there when the ceremony began.
        let found = self.read_whole().map_err(|error| RecoverError::NotStored(error.to_string()))?;
        let (object, whole) =
            found.ok_or_else(|| RecoverError::CannotOpen("the shared state is missing".to_owned()))?;
        let whole = whole.ok_or_else(|| RecoverError::CannotOpen("the shared object holds no state".to_owned()))?;
        let cannot_open = |refusal: Refusal| RecoverError::CannotOpen(refusal.to_string());
        let front = match read_front(&whole).map_err(cannot_open)? {
            Layout::Sealed(front) => front,
            Layout::Upstream(front) => return self.recover_upstream(&front, &object, &whole.object, root, check),
        };
        let dek = front.dek_from_recovery_root(root.expose()).ok_or_else(|| {
            RecoverError::CannotOpen("these recovery secrets do not open the shared state".to_owned())
        })?;
        let opened = whole.open(&dek).map_err(cannot_open)?;
        let parties = decide(check, &opened.state)?;
        let not_stored = |why: String| RecoverError::NotStored(format!("the recovered state cannot be stored: {why}"));
        let next = life::recovered(opened.state, &parties, Self::now_ms()).map_err(not_stored)?;

        let kek = Kek::generate().map_err(|error| not_stored(error.to_string()))?;
        let entries = self.write_copies(&kek, &next, false, false).map_err(not_stored)?;
        let dek_id = opened.header.dek_id;
        let slots = slots_of(object.sealed_key.as_deref(), dek_id).slots;
        let keys = KeySet { dek, dek_id, slots, portable: portable_slots(&opened.header) };
        let keys = keys.with(&kek).map_err(|error| not_stored(error.to_string()))?;
        let (sequence, head) = (opened.tail.sequence, opened.tail.head);
        let attempt = self.attempt(next, keys, Some(object.version.clone()), sequence, head).map_err(not_stored)?;
        match self.send(attempt) {
            Ok(sent) => {
                self.take_kek(kek);
                let state = self.take_sent(sent);
                self.confirm_entry();
                self.note("the state was recovered with the recovery keys".to_owned());
                Ok(state)
            }
            Err(not_sent) => {
                if let NotSent::Unknown(attempt, why) = not_sent {
                    self.take_kek(kek);
                    self.doubt = Some(*attempt);
                    return Err(not_stored(format!("it is not known whether it is: {why}; look at the status")));
                }
                self.remove_entries(&entries);
                self.look_again_soon();
                Err(not_stored(why(not_sent)))
            }
        }
    }

    fn recover_upstream(
        &mut self,
        front: &UpstreamFront,
        object: &Object,
        data: &Vec<u8>,
        root: &RecoveryRoot,
        check: RecoveryCheck,
    ) -> Result<Arc<State>, RecoverError> {
        let state = crate::upstream::read(data, front, root.expose())
            .map_err(|error| RecoverError::CannotOpen(error.message))?;
        let parties = decide(check, &state)?;
        let now = Self::now_ms();
        let state = lives::imported(state, now).and_then(|state| lives::imported_by(state, &parties, now));
        let state = state.map_err(RecoverError::NotStored)?;
        self.import(state, object).map_err(RecoverError::NotStored)
    }

    /// Upstream's state lies there: it is taken over where this host has upstream's key, else it waits for recovery keys.
    pub(super) fn look_at_upstream(&mut self, front: &UpstreamFront, object: Object, data: &Vec<u8>) {
        let no_key = |reason: &str| NotImported::from(Refusal::NoKey { reason: reason.to_owned() });
        let state = self.upstream_dek(&object, data).map_err(|reason| no_key(&reason)).and_then(|dek| {
            let state = crate::upstream::read(data, front, &dek)?;
            lives::imported(state, Self::now_ms()).map_err(|message| NotImported { code: "not_imported", message })
        });
        match state {
            Ok(state) => match self.import(state, &object) {
                Ok(_) => self
                    .note("the state was imported from upstream's Coordinators; their object is archived".to_owned()),
                Err(why) => {
                    let message = format!("upstream's state opens, but cannot be written in our form: {why}");
                    self.wait(Waiting::new("not_imported", message, object, Vec::new()));
                }
            },
            Err(NotImported { code, message }) => self.wait(Waiting::new(code, message, object, Vec::new())),
        }
    }

    /// Archives upstream's object and writes the state in our form over it.
    fn import(&mut self, state: State, object: &Object) -> Result<Arc<State>, String> {
        if let Some(why) = self.why_not_alone() {
            return Err(format!("{why}: stop every other Coordinator before the upgrade"));
        }
        self.archive(object, ArchiveReason::Imported)?;
        self.found(state, Some(object.version.clone()), Cause::Import).map_err(why)
    }

    /// Upstream's data encryption key by its entry for this host. Only that of simulation can be opened here: its sealing
    /// key is all zeros. What hardware sealed for upstream's enclave opens for that enclave alone.
    fn upstream_dek(&mut self, object: &Object, data: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        if !self.config.sealers.in_simulation() {
            return Err("keys that upstream's enclave has sealed open for that enclave alone".to_owned());
        }
        let entries = self.place.entries().map_err(|error| error.to_string())?;
        let entry = entries
            .get(upstream::NO_HOST)
            .ok_or("there is no entry of upstream's simulation among the keys of the hosts")?;
        let sealed_key = object.sealed_key.as_deref().ok_or("there is no sealed_key beside it")?;
        upstream::open_to_no_host(data, sealed_key, entry)
            .ok_or_else(|| "upstream's entry does not open sealed_key".to_owned())
    }
}

fn why(not_sent: NotSent) -> String {
    match not_sent {
        NotSent::Lost | NotSent::Missing => "the shared state changed meanwhile".to_owned(),
        NotSent::Refused(why) | NotSent::Unavailable(why) | NotSent::Unknown(_, why) => why,
    }
}
