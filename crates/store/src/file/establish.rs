//! From nothing stored to a stored state: genesis, a new manifest over a state that cannot be opened (reset),
//! import, and the end of seal mode `Disabled`.

use std::sync::Arc;

use marblerun_state::State;

use super::archive::{Archived, archive, is_archived, prune};
use super::footprint::Footprint;
use super::key::{self, KeyOnDisk, witness};
use super::live::{Live, Vouched};
use super::names::Reason;
use super::new_file::{Content, Expected, NotPlaced, abandon, build, place};
use super::{FileBackend, Mode, seal_mode};
use crate::backend::{Failure, Group};
use crate::format::{DekId, Head, SEALED_DATA, SEALED_KEY, SealedKey};

/// What a state is founded on.
#[derive(Debug, Clone)]
pub(super) struct Foundation {
    /// What lies under the name and is replaced; `None`: nothing may be there.
    pub(super) replaces: Option<Footprint>,
    /// Why that is archived first; `None`: it is not, since the new file holds all of it.
    pub(super) reason: Option<Reason>,
    /// From which byte on.
    pub(super) from: u64,
    /// Key of the file replaced: its entry stays in `sealed_key` until the replacement is durable.
    pub(super) old_key: Option<DekId>,
    /// Sequence of what is replaced, for the name of the archive.
    pub(super) old_sequence: u64,
    pub(super) previous_head: Head,
    /// Sequence of the new state.
    pub(super) sequence: u64,
    pub(super) time_ms: u64,
}

impl Foundation {
    /// On nothing.
    pub(super) fn genesis(sequence: u64, time_ms: u64) -> Self {
        Self {
            replaces: None,
            reason: None,
            from: 0,
            old_key: None,
            old_sequence: 0,
            previous_head: Head::default(),
            sequence,
            time_ms,
        }
    }
}

impl FileBackend {
    /// Stores the first group of a state.
    pub(super) fn establish(&mut self, group: &Group) -> Result<(), Failure> {
        let mut foundation = Foundation::genesis(self.sequence + 1, self.ports.clock.now_ms());
        match &self.mode {
            Mode::Volatile { beneath } => {
                foundation.replaces.clone_from(beneath);
                foundation.reason = Some(Reason::Imported);
                foundation.old_sequence = self.sequence;
            }
            Mode::Recovery(waiting) => {
                foundation.replaces.clone_from(&waiting.footprint);
                foundation.reason = Some(Reason::Reset);
                foundation.old_sequence = waiting.sequence;
                foundation.old_key = self.key_of_waiting();
            }
            _ => return Err(Failure::Unavailable("a state is stored already".to_owned())),
        }
        self.found(&group.next, &foundation).map_err(|not_placed| match not_placed {
            NotPlaced::Failed(why) => Failure::NotStored(why),
            NotPlaced::Superseded => {
                Failure::NotStored("another sealed_data has appeared and is left alone. Restart to load it".to_owned())
            }
            NotPlaced::Uncertain(why) => Failure::Unknown(why),
        })
    }

    /// Writes a state as a new file with a new key. On success the backend keeps it from then on.
    pub(super) fn found(&mut self, state: &Arc<State>, foundation: &Foundation) -> Result<(), NotPlaced> {
        let now = self.ports.clock.elapsed();
        self.counting.found(state);
        let fs = &*self.ports.fs;
        let key =
            self.new_key(seal_mode(state)).map_err(|why| NotPlaced::Failed(format!("no key can be made: {why}")))?;
        let content = Content {
            state,
            sequence: foundation.sequence,
            time_ms: foundation.time_ms,
            previous_head: foundation.previous_head,
            key: &key,
        };
        let built = build(fs, &self.style, &content).map_err(NotPlaced::Failed)?;
        // From here on `sealed_key` may be replaced, so what is archived stays, whatever happens.
        let archived = self.archive_first(foundation).map_err(|error| {
            abandon(fs);
            NotPlaced::Failed(format!("what would be replaced cannot be archived, so it is not: {error}"))
        })?;
        let entry = |pending| {
            key.entry(pending, witness(state, foundation.sequence, vec![built.tail.head], self.counting.mark()))
        };
        let old = KeyOnDisk::read(fs, SEALED_KEY).entry_to_keep(foundation.old_key);
        let both = SealedKey { entries: old.into_iter().chain([entry(true)]).collect() };
        let expected = foundation
            .replaces
            .as_ref()
            .map_or(Expected::Nothing, |footprint| Expected::OneOf(std::slice::from_ref(footprint)));
        match place(fs, &built, &both, expected) {
            Ok(()) => {
                let confirmed = key::write(fs, &SealedKey { entries: vec![entry(false)] });
                let mut live = Live::new(built, key, now);
                match confirmed {
                    Ok(()) => live.vouched = Vouched { at: now, ..Vouched::default() },
                    Err(error) => tracing::warn!(%error, "sealed_key will be completed with the next witness"),
                }
                if let Some(reason) = foundation.reason {
                    prune(fs, reason, &archived);
                }
                self.mode = Mode::Durable(Box::new(live));
                self.accept(state, foundation.sequence, foundation.time_ms);
                Ok(())
            }
            Err(NotPlaced::Uncertain(why)) => {
                // Whatever comes next must expect this file, and archive it.
                let footprint = Some(built.footprint());
                match &mut self.mode {
                    Mode::Volatile { beneath } => *beneath = footprint,
                    Mode::Recovery(waiting) => waiting.footprint = footprint,
                    _ => {}
                }
                Err(NotPlaced::Uncertain(why))
            }
            Err(other) => Err(other),
        }
    }

    fn archive_first(&self, foundation: &Foundation) -> std::io::Result<Archived> {
        let fs = &*self.ports.fs;
        let Some(reason) = foundation.reason else { return Ok(Archived::default()) };
        let names = fs.list()?;
        if !names.iter().any(|name| name == SEALED_DATA || name == SEALED_KEY) {
            return Ok(Archived::default());
        }
        // An import that was interrupted has archived all already, and `sealed_key` may be ours by now.
        if reason == Reason::Imported {
            let key_too = matches!(
                KeyOnDisk::read(fs, SEALED_KEY),
                KeyOnDisk::Upstream(_) | KeyOnDisk::UpstreamHsm(_) | KeyOnDisk::Unusable(_)
            );
            if is_archived(fs, reason, key_too)? {
                return Ok(Archived::default());
            }
        }
        let archived = archive(fs, reason, foundation.old_sequence, foundation.from)?;
        if !archived.names().is_empty() {
            tracing::warn!(archives = ?archived.names(), "kept what is about to be replaced");
        }
        Ok(archived)
    }
}
