//! Founding: the first state of a deployment, a new one over what cannot be opened, an imported one. The key and this
//! host's copy of it come first, then the state, then the copy is confirmed; a crash in between leaves no trace or a
//! state that this host opens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use marblerun_state::{Cause, Phase, State};

use super::backend::{ClusterBackend, Mode};
use super::entry::EntryName;
use super::keys::KeySet;
use super::life;
use super::waiting::Waiting;
use super::write::NotSent;
use super::{Archive, ArchiveReason, Kek, Object, PeerAnswer, Version};

/// Places of archives, and after which time one may be used again.
const ARCHIVES: u8 = 5;
const ARCHIVE_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

impl ClusterBackend {
    /// Writes a state under new keys: as a new object, or over the one of that version.
    pub(super) fn found(
        &mut self,
        mut state: State,
        base: Option<Version>,
        cause: Cause,
    ) -> Result<Arc<State>, NotSent> {
        let refused = |why: String| NotSent::Refused(why);
        if state.incarnations().is_empty() {
            life::note(&mut state, cause, "", None).map_err(refused)?;
        }
        let kek = Kek::generate().map_err(|error| refused(error.to_string()))?;
        let keys = KeySet::generate(&[&kek]).map_err(|error| refused(error.to_string()))?;
        let entries = self.write_copies(&kek, &state, false, false).map_err(NotSent::Unavailable)?;
        let attempt = self.attempt(state, keys, base, 0, [0; 32]).map_err(refused)?;
        match self.send(attempt) {
            Ok(sent) => {
                self.take_kek(kek);
                let state = self.take_sent(sent);
                // If it does not work now, it is tried again, and no manifest is taken before.
                self.confirm_entry();
                Ok(state)
            }
            Err(NotSent::Lost | NotSent::Missing) => {
                // Somebody else's state counts: nothing of this one is left.
                self.remove_entries(&entries);
                Err(NotSent::Lost)
            }
            Err(NotSent::Unknown(attempt, why)) => {
                self.take_kek(kek);
                Err(NotSent::Unknown(attempt, why))
            }
            Err(other) => {
                self.remove_entries(&entries);
                Err(other)
            }
        }
    }

    /// The first state of a deployment. What becomes of it shows at the next look.
    pub(super) fn genesis(&mut self, base: Option<Version>) {
        let state = match (self.make)(Phase::AcceptingManifest) {
            Ok(state) => state,
            Err(why) => return self.mode = Mode::Down { reason: format!("a new state cannot be made: {why}") },
        };
        match self.found(state, base, Cause::Genesis) {
            Ok(_) => tracing::info!("a new deployment begins in {}", self.place.name()),
            Err(NotSent::Lost | NotSent::Missing) => self.look_again_soon(),
            Err(NotSent::Refused(why) | NotSent::Unavailable(why)) => {
                self.mode = Mode::Down { reason: format!("the first state cannot be stored: {why}") };
            }
            Err(NotSent::Unknown(attempt, why)) => {
                self.doubt = Some(*attempt);
                self.mode = Mode::Down { reason: format!("it is not known whether the first state is stored: {why}") };
            }
        }
    }

    /// Keeps an object before it is replaced. The place is one that is free, holds the same already, or is old.
    pub(super) fn archive(&mut self, object: &Object, reason: ArchiveReason) -> Result<(), String> {
        let cannot = |why: String| format!("what would be replaced cannot be archived, so it is not: {why}");
        let there = self.place.archives().map_err(|error| cannot(error.to_string()))?;
        let digest = Archive::digest_of(object.sealed_data.as_deref());
        if there.iter().any(|archive| archive.digest == digest) {
            return Ok(());
        }
        let is_taken = |place: &u8| there.iter().any(|archive| archive.place == *place);
        let oldest = there.iter().filter(|archive| archive.age.is_some_and(|age| age > ARCHIVE_KEPT));
        let place = (0..ARCHIVES)
            .find(|place| !is_taken(place))
            .or_else(|| oldest.max_by_key(|archive| archive.age).map(|archive| archive.place))
            .ok_or_else(|| {
                cannot(format!(
                    "all {ARCHIVES} archives of {} are younger than 30 days; look at them, and delete one you do not need: \
                     kubectl delete secret <name>-archive-<n>",
                    self.place.name()
                ))
            })?;
        self.place.archive(place, object, reason).map_err(|error| cannot(error.to_string()))?;
        tracing::warn!(place, "kept what is about to be replaced");
        Ok(())
    }

    /// Why it cannot be excluded that somebody else holds the state. `None`: every listed address answered, or nobody is
    /// there, and none serves.
    pub(super) fn why_not_alone(&self) -> Option<String> {
        if !self.greeted {
            return Some("the other Coordinators were not asked yet".to_owned());
        }
        self.peers.iter().find_map(|peer| match &peer.answer {
            PeerAnswer::Greeted(greeting) if greeting.serving || greeting.standing.is_some() => {
                Some(format!("the Coordinator at {} has it open", peer.address))
            }
            PeerAnswer::Silent(why) => Some(format!("{} does not answer ({why})", peer.address)),
            PeerAnswer::Rejected(why) => Some(format!("{} is not trusted ({why})", peer.address)),
            PeerAnswer::Greeted(_) | PeerAnswer::Myself | PeerAnswer::Nobody => None,
        })
    }

    /// Removes own entries, best effort.
    pub(super) fn remove_entries(&mut self, names: &[EntryName]) {
        let names: Vec<String> = names.iter().map(EntryName::to_string).collect();
        if let Err(error) = self.place.change_entries(&BTreeMap::new(), &names) {
            tracing::warn!(%error, "own entries that mean nothing any more could not be removed");
        }
    }

    /// What lies there waits.
    pub(super) fn wait(&mut self, waiting: Waiting) {
        let is_news = match &self.mode {
            Mode::Waiting(before) => before.message != waiting.message,
            _ => true,
        };
        if is_news {
            tracing::error!(code = waiting.code, "recovery mode: {}", waiting.message);
        }
        self.cell.set(waiting.object.as_ref().and_then(|object| object.sealed_data.as_ref()));
        self.mode = Mode::Waiting(waiting);
    }
}
