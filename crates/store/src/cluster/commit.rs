//! What the engine has stored, by what the instance is doing.

use std::sync::Arc;

use marblerun_sealing::SealMode;
use marblerun_state::{Cause, Change, Relation, State};

use super::backend::{ClusterBackend, Live, Mode, seal_mode};
use super::keys::KeySet;
use super::life;
use super::opened::OpenedObject;
use super::write::{NotSent, Resolved, Sent};
use super::{ArchiveReason, Kek, Version};
use crate::backend::{Failure, Group};

impl ClusterBackend {
    pub(super) fn store_group(&mut self, group: &Group) -> Result<Arc<State>, Failure> {
        if let Some(newest) = self.settle_doubt().map_err(Failure::Unavailable)? {
            return Err(Failure::Stale(newest));
        }
        match &self.mode {
            Mode::Serving(live) if live.missing => Err(Failure::Unavailable(self.missing_message())),
            Mode::Serving(live) if live.strange.is_some() => Err(Failure::Unavailable(
                "the shared state was written under a key that this Coordinator lacks; the others are asked for it"
                    .to_owned(),
            )),
            Mode::Serving(_) => self.commit(group),
            Mode::Diverged { divergence, .. } => Err(Failure::Unavailable(divergence.reason.clone())),
            Mode::Waiting(_) => self.reset(group),
            Mode::Down { reason } => Err(Failure::Unavailable(reason.clone())),
            Mode::Closed => Err(Failure::Unavailable("the store is closed".to_owned())),
        }
    }

    fn commit(&mut self, group: &Group) -> Result<Arc<State>, Failure> {
        self.let_a_snapshot_be_written()?;
        let Mode::Serving(live) = &self.mode else { return Err(Failure::Unavailable("nothing is open".to_owned())) };
        let (live, before) = (live.clone(), Arc::clone(&self.state));
        let first_manifest = before.manifest().is_none() && group.next.manifest().is_some();
        if first_manifest && self.confirm_entry().is_none() {
            return Err(Failure::Unavailable(
                "this Coordinator's own copy of the key encryption key cannot be stored yet, so that a restart could not \
                 open the state; see the log"
                    .to_owned(),
            ));
        }
        let stricter = seal_mode(&before) == SealMode::ProductKey && seal_mode(&group.next) != SealMode::ProductKey;
        let keys = if stricter && before.manifest().is_some() {
            // Who could open it by the looser mode must not open what comes.
            let kek = Kek::generate().map_err(|error| Failure::NotStored(error.to_string()))?;
            self.write_copies(&kek, &group.next, true, true).map_err(Failure::Unavailable)?;
            let keys = KeySet::generate(&[&kek]).map_err(|error| Failure::NotStored(error.to_string()))?;
            self.take_kek(kek);
            KeySet { portable: live.keys.portable.clone(), ..keys }
        } else if group.changes.iter().any(|change| matches!(change, Change::Recovery(_))) {
            self.fresh_dek(&live).map_err(Failure::NotStored)?
        } else {
            live.keys.clone()
        };
        self.write_on(State::clone(&group.next), keys, Some(&group.changes))
    }

    /// A new data encryption key under the keys of the slots that are at hand.
    pub(super) fn fresh_dek(&self, live: &Live) -> Result<KeySet, String> {
        let keks: Vec<&Kek> = self.keks.iter().filter(|kek| live.keys.opens_with(kek)).collect();
        if keks.is_empty() {
            return Err("no key encryption key of the shared state is at hand".to_owned());
        }
        let keys = KeySet::generate(&keks).map_err(|error| error.to_string())?;
        Ok(KeySet { portable: live.keys.portable.clone(), ..keys })
    }

    /// Writes the next commit on top of the open state. `changes`: what it takes to get there, if known.
    pub(super) fn write_on(
        &mut self,
        mut next: State,
        keys: KeySet,
        changes: Option<&[Change]>,
    ) -> Result<Arc<State>, Failure> {
        let Some(live) = self.live().cloned() else { return Err(Failure::Unavailable("nothing is open".to_owned())) };
        if let Some(life) = &live.next_life {
            life::begin(&mut next, Cause::Restore, life, Self::now_ms()).map_err(Failure::NotStored)?;
        }
        let appended = changes.and_then(|changes| self.append(&next, &keys, &live, changes));
        let attempt = match appended {
            Some(attempt) => attempt,
            None => self
                .attempt(next, keys, Some(live.version.clone()), live.sequence, live.head)
                .map_err(|why| Failure::NotStored(format!("the state cannot be sealed: {why}")))?,
        };
        match self.send(attempt) {
            Ok(sent) => Ok(self.take_sent(sent)),
            Err(NotSent::Lost) => match self.catch_up() {
                Ok(newest) => Err(Failure::Stale(newest.unwrap_or_else(|| Arc::clone(&self.state)))),
                Err(why) => Err(Failure::Unavailable(why)),
            },
            Err(NotSent::Refused(why)) => Err(Failure::NotStored(why)),
            Err(NotSent::Unavailable(why)) => Err(Failure::Unavailable(why)),
            Err(NotSent::Missing) => {
                self.became_missing();
                Err(Failure::Unknown(self.missing_message()))
            }
            Err(NotSent::Unknown(attempt, why)) => {
                self.doubt = Some(*attempt);
                Err(Failure::Unknown(why))
            }
        }
    }

    /// Publishes a write that is in force.
    pub(super) fn take_sent(&mut self, sent: Sent) -> Arc<State> {
        let Sent { attempt, version, newer } = sent;
        let bytes = attempt.content.sealed_data.len()
            + attempt.content.sealed_key.as_ref().map_or(0, Vec::len)
            + self.foreign_bytes;
        let at = (attempt.sequence, attempt.head);
        let live = Live { split: attempt.split, ..Live::new(version.clone(), attempt.keys, at, bytes) };
        let live = live.after(self.live());
        self.state = attempt.state;
        self.serve(live);
        if let Some((opened, bytes)) = newer {
            self.adopt(*opened, version, bytes);
        }
        Arc::clone(&self.state)
    }

    /// An open state is served from now on.
    pub(super) fn serve(&mut self, live: Live) {
        self.mode = Mode::Serving(live);
        self.cell.set(None);
        self.alone_since = None;
        self.retire_keks();
        self.upkeep_at = std::time::Instant::now();
    }

    /// Takes what somebody else wrote as the published state.
    pub(super) fn adopt(&mut self, opened: OpenedObject, version: Version, bytes: usize) {
        let now = std::time::Instant::now();
        for mark in opened.state.writers().iter().filter(|mark| mark.boot != self.boot) {
            if self.state.writers().last(mark.boot) != Some((mark.sequence, mark.commit)) {
                self.pace.others.insert(mark.boot, now);
            }
        }
        if opened.header_altered {
            self.note("the readable header of the shared state was altered; the next commit repairs it".to_owned());
        }
        let OpenedObject { mut state, sequence, head, keys, split, .. } = opened;
        state.share_with(&self.state);
        let live = Live { split, ..Live::new(version, keys, (sequence, head), bytes) }.after(self.live());
        self.state = Arc::new(state);
        self.serve(live);
    }

    /// Resolves a write of unknown outcome. `Some`: the published state changed.
    pub(super) fn settle_doubt(&mut self) -> Result<Option<Arc<State>>, String> {
        let Some(attempt) = self.doubt.take() else { return Ok(None) };
        match self.resolve(&attempt) {
            Resolved::Applied { version, newer } => Ok(Some(self.take_sent(Sent { attempt, version, newer }))),
            Resolved::Lost => {
                self.lost.push(attempt.commit);
                self.catch_up()
            }
            Resolved::Missing => {
                self.became_missing();
                Ok(None)
            }
            // Not in force, and nobody waits for it any more. Should it land late, the next write on the same base finds
            // out, for only one of the two can be in force.
            Resolved::Pending => Ok(None),
            Resolved::Unknown(why) => {
                self.doubt = Some(attempt);
                Err(format!("an earlier write is not known to be in force or not: {why}"))
            }
        }
    }

    pub(super) fn became_missing(&mut self) {
        let message = self.missing_message();
        if let Some(live) = self.live_mut().filter(|live| !live.missing) {
            live.missing = true;
            tracing::error!("{message}");
            self.place.report(super::Severity::Warning, "StateMissing", &message);
        }
    }

    /// A new manifest over a state that cannot be opened, or is lost.
    fn reset(&mut self, group: &Group) -> Result<Arc<State>, Failure> {
        let Mode::Waiting(waiting) = &self.mode else { return Err(Failure::Unavailable("nothing waits".to_owned())) };
        let unavailable = |why: String| Err(Failure::Unavailable(why));
        if group.next.manifest().is_none() {
            return unavailable(waiting.message.clone());
        }
        if waiting.newer {
            return unavailable(format!("{} It is never overwritten by this version.", waiting.message));
        }
        if self.config.deny_reset {
            return unavailable(
                "a shared state exists that cannot be opened, and replacing it is forbidden (MARBLERUN_RECOVERY_RESET=deny). \
                 Recover it, or allow its replacement"
                    .to_owned(),
            );
        }
        if waiting.contradicted {
            return unavailable(waiting.message.clone());
        }
        if let Some(why) = self.why_not_alone() {
            return unavailable(format!("a manifest cannot be set over the shared state: {why}"));
        }
        let object = waiting.object.clone();
        let base = object.as_ref().map(|object| object.version.clone());
        if let Some(object) = &object {
            self.archive(object, ArchiveReason::Reset).map_err(Failure::NotStored)?;
        }
        self.found(State::clone(&group.next), base, Cause::Genesis).map_err(|not_sent| match not_sent {
            NotSent::Refused(why) => Failure::NotStored(why),
            NotSent::Unavailable(why) => Failure::Unavailable(why),
            NotSent::Lost | NotSent::Missing => {
                self.look_at = std::time::Instant::now();
                Failure::Unavailable("the shared state changed meanwhile; look at the status and try again".to_owned())
            }
            NotSent::Unknown(attempt, why) => {
                self.doubt = Some(*attempt);
                Failure::Unknown(why)
            }
        })
    }

    /// How what lies there relates to what is published.
    pub(super) fn relation(&self, opened: &OpenedObject) -> Relation {
        match self.live() {
            Some(live) => live.standing(&self.state).relation(&opened.standing()),
            None => Relation::Successor,
        }
    }
}
