//! What operators decide about a restore: it is taken or undone.

use marblerun_state::{AuditEvent, BootId, Cause, Relation, State};

use super::backend::{ClusterBackend, Mode, NextLife};
use super::handle::Decision;
use super::life;
use super::opened::Unopened;
use super::parts::PartIndex;
use super::write::{NotSent, size};
use super::{ArchiveReason, Content, DecisionError, Object, Version};
use crate::format::random_name;

impl ClusterBackend {
    pub(super) fn decide(&mut self, decision: Decision) -> Result<(), DecisionError> {
        self.settle_doubt().map_err(DecisionError::NotStored)?;
        match decision {
            Decision::Accept { by } => self.accept(&by),
            Decision::Reject { by } => self.reject(&by),
            Decision::Rotate { by, revoke } => self.rotate(&by, revoke),
        }
    }

    /// What lies there replaces what is held here; that is archived first.
    fn accept(&mut self, by: &str) -> Result<(), DecisionError> {
        let Mode::Diverged { live, .. } = &self.mode else {
            return Err(DecisionError::NotNow(
                "nothing waits for this decision: what lies in the shared place is what this Coordinator serves"
                    .to_owned(),
            ));
        };
        let live = live.clone();
        let found = self.read_whole().map_err(|error| DecisionError::NotStored(error.to_string()))?;
        let (object, whole) = found.ok_or_else(|| DecisionError::NotNow(self.missing_message()))?;
        let whole = whole.ok_or_else(|| {
            DecisionError::NotNow(format!("{} holds no state; put one there, or reject", self.place.name()))
        })?;
        let opened = match self.open_from(&live, &whole, &object) {
            Ok(opened) => opened,
            Err(Unopened::NoKey { reason, .. }) => {
                return Err(DecisionError::NotNow(format!(
                    "what lies there cannot be opened here: {reason}. Stop all Coordinators and recover it with its recovery keys"
                )));
            }
            Err(Unopened::Refused(refusal)) => return Err(DecisionError::NotNow(refusal.to_string())),
            Err(Unopened::Upstream(_)) => {
                return Err(DecisionError::NotNow(
                    "a state of the Go Coordinator lies there; stop all Coordinators to have it imported at the next start"
                        .to_owned(),
                ));
            }
        };
        let relation = self.relation(&opened);
        if matches!(relation, Relation::Equal | Relation::Successor) {
            self.adopt(opened, object.version.clone(), size(&object));
            return Ok(());
        }
        let mine = self.sealed_now(&live.version).map_err(DecisionError::NotStored)?;
        self.archive(&mine, ArchiveReason::Restored).map_err(DecisionError::NotStored)?;
        // The life that begins is younger than both.
        let newest = opened.state.lineage().incarnation.max(self.state.lineage().incarnation);
        let cut_off = Some((live.sequence, live.head));
        self.boot = BootId(random_name().map_err(DecisionError::NotStored)?);
        let mut next = opened.state;
        let mut lineage = *next.lineage();
        lineage.incarnation = newest;
        next.apply(&marblerun_state::Change::Lineage(lineage))
            .map_err(|error| DecisionError::NotStored(error.to_string()))?;
        let begun = NextLife { reason: "operator".to_owned(), confirmed_by: by.to_owned(), cut_off };
        life::begin(&mut next, Cause::Restore, &begun, Self::now_ms()).map_err(DecisionError::NotStored)?;
        // Sequences go on behind both, so that neither is mistaken for the newer one.
        let sequence = opened.sequence.max(live.sequence);
        let attempt = self
            .attempt(next, opened.keys, Some(object.version.clone()), sequence, opened.head)
            .map_err(DecisionError::NotStored)?;
        self.send_decision(attempt)?;
        self.note(format!("a restored state was accepted by {by}"));
        Ok(())
    }

    /// What is held here is written back; what lies there is archived first.
    fn reject(&mut self, by: &str) -> Result<(), DecisionError> {
        let live = match &self.mode {
            Mode::Diverged { live, .. } => live.clone(),
            Mode::Serving(live) if live.missing => live.clone(),
            _ => {
                return Err(DecisionError::NotNow(
                    "nothing waits for this decision: what lies in the shared place is what this Coordinator serves"
                        .to_owned(),
                ));
            }
        };
        let found = self.read_whole().map_err(|error| DecisionError::NotStored(error.to_string()))?;
        let object = found.map(|(object, _)| object);
        if let Some(object) = object.as_ref().filter(|object| object.sealed_data.is_some()) {
            self.archive(object, ArchiveReason::Restored).map_err(DecisionError::NotStored)?;
        }
        let base = object.map(|object| object.version);
        let mut next = State::clone(&self.state);
        life::tell(&mut next, AuditEvent::RestoreRejected, by, "operator", Self::now_ms())
            .map_err(DecisionError::NotStored)?;
        let attempt =
            self.attempt(next, live.keys, base, live.sequence, live.head).map_err(DecisionError::NotStored)?;
        self.send_decision(attempt)?;
        self.note(format!("a restored state was rejected by {by}; what was served before was written back"));
        Ok(())
    }

    fn send_decision(&mut self, attempt: super::write::Attempt) -> Result<(), DecisionError> {
        match self.send(attempt) {
            Ok(sent) => {
                self.take_sent(sent);
                self.write_seen();
                Ok(())
            }
            Err(NotSent::Lost | NotSent::Missing) => Err(DecisionError::NotNow(
                "what lies in the shared place changed meanwhile; look at it and decide again".to_owned(),
            )),
            Err(NotSent::Refused(why) | NotSent::Unavailable(why)) => Err(DecisionError::NotStored(why)),
            Err(NotSent::Unknown(attempt, why)) => {
                self.doubt = Some(*attempt);
                Err(DecisionError::NotStored(format!(
                    "it is not known whether it is stored: {why}; look at the status"
                )))
            }
        }
    }

    /// What is held here, as an object for the archive.
    fn sealed_now(&mut self, version: &Version) -> Result<Object, String> {
        let Some(live) = self.live().cloned() else { return Err("nothing is open".to_owned()) };
        let content = match &live.split {
            None => {
                self.attempt(State::clone(&self.state), live.keys, Some(version.clone()), live.sequence, live.head)?
                    .content
            }
            Some(split) => {
                self.gathered = None;
                if let Err(why) = self.gather(&split.list).map_err(|error| error.to_string())? {
                    return Err(format!(
                        "what this Coordinator holds cannot be archived, since its snapshot no longer lies in the parts beside \
                         the object ({why}): restore them from a backup first"
                    ));
                }
                let parts = PartIndex { snapshot: Some(split.list.clone()), reserved: None }.bytes();
                let sealed_key = live.keys.sealed_key().map_err(|error| error.to_string())?;
                Content { sealed_data: split.object.clone(), sealed_key: Some(sealed_key), parts, ..Content::default() }
            }
        };
        Ok(Object {
            version: version.clone(),
            sealed_data: Some(content.sealed_data),
            sealed_key: content.sealed_key,
            parts: content.parts,
            foreign_bytes: 0,
            immutable: false,
            last_writer: String::new(),
        })
    }
}
