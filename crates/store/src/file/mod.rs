//! The file backend: one directory with `sealed_data` and `sealed_key`.
//!
//! `sealed_data` grows by one record a group and is written anew, under another name, whenever more than an
//! append is needed. Invariants: what was answered is durable under the name; a file we do not know is
//! never written to and never replaced; after a failed write or sync a file is never touched again.

mod append;
mod archive;
mod compaction;
mod counting;
mod establish;
mod footprint;
mod key;
mod keyring;
mod live;
mod load;
mod names;
mod new_file;
pub(crate) mod offline;
mod ports;
mod recover;
mod rotate;
mod slots;
#[cfg(test)]
mod tests;
mod unlock;
mod upstream;
mod waiting;

use std::collections::BTreeSet;
use std::sync::Arc;

use marblerun_recovery::RecoveryRoot;
use marblerun_sealing::SealMode;
use marblerun_state::{Change, State};

use crate::backend::{Backend, Failure, Group, Tended};
use crate::facts::{Counters, Facts};
use crate::keyring::Keyring;
use crate::slots::{SlotChange, SlotError};
use crate::{RecoverError, RecoveryCheck, StoreConfig, StoreMode, StoreTuning};
use counting::Counting;
use footprint::Footprint;
pub(crate) use key::HostKey;
pub(crate) use keyring::FileKeyring;
use live::Live;
pub(crate) use load::Opening;
use new_file::Style;
pub(crate) use ports::Ports;
#[cfg(test)]
pub(crate) use ports::{Background, Clock, Task};

/// What an operator reads when another file lies under the name.
const SUPERSEDED: &str =
    "another sealed_data was put in place of this Coordinator's; nothing is written any more. Restart to load it";

/// A directory.
pub(crate) struct FileBackend {
    ports: Ports,
    config: StoreConfig,
    tuning: StoreTuning,
    style: Style,
    counters: Arc<Counters>,
    /// The published state.
    state: Arc<State>,
    /// Its sequence number; 0 before anything was stored.
    sequence: u64,
    /// When it was committed, Unix milliseconds.
    time_ms: u64,
    mode: Mode,
    /// Sealers whose slot an operator removed: they get none of a new key before the next start.
    unused: BTreeSet<String>,
    /// What was found at the start and an operator should know.
    notes: Vec<String>,
    /// The counter that the host cannot put back.
    counting: Counting,
    /// Given back when the backend is dropped.
    _lock: Box<dyn Send>,
}

/// What the backend is doing.
enum Mode {
    /// Nothing is stored. A frozen state of upstream's may lie beneath; it is archived before anything replaces it.
    Volatile { beneath: Option<Footprint> },
    /// Every group is stored.
    Durable(Box<Live>),
    /// A state is there that cannot be opened.
    Recovery(Waiting),
    /// Somebody else's file is there.
    Superseded,
    /// Stopped.
    Closed,
}

/// A state that waits for recovery keys, or for a new manifest.
struct Waiting {
    code: &'static str,
    message: String,
    /// What lies under the name; `None` if nothing does.
    footprint: Option<Footprint>,
    /// Its last sequence number as far as one can tell without a key.
    sequence: u64,
    /// Its size.
    bytes: u64,
    /// Its slots, for people.
    slots: Vec<String>,
}

impl Backend for FileBackend {
    fn store(&mut self, group: &Group) -> Result<Arc<State>, Failure> {
        self.store_group(group).map(|()| Arc::clone(&group.next))
    }

    fn ends_group(&self, before: &State, after: &State, changes: &[Change]) -> bool {
        before.phase() != after.phase()
            || seal_mode(before) != seal_mode(after)
            || changes.iter().any(|change| matches!(change, Change::Recovery(_)))
    }

    fn tend(&mut self) -> Tended {
        let patience = match &self.mode {
            Mode::Durable(_) => Some(self.tend_live()),
            _ => None,
        };
        Tended { patience, publish: None }
    }

    fn recover(&mut self, root: &RecoveryRoot, check: RecoveryCheck) -> Result<Arc<State>, RecoverError> {
        self.recover_waiting(root, check)
    }

    fn keyring(&mut self) -> Result<Keyring, SlotError> {
        self.own_keyring().map(Keyring::from)
    }

    fn change_slots(&mut self, change: SlotChange) -> (Option<Arc<State>>, Result<(), SlotError>) {
        let before = Arc::clone(&self.state);
        let result = self.change_own_slots(change);
        ((!Arc::ptr_eq(&before, &self.state)).then(|| Arc::clone(&self.state)), result)
    }

    fn close(&mut self) {
        self.close_live();
        self.mode = Mode::Closed;
    }

    fn facts(&self) -> Facts {
        let mut warnings = self.notes.clone();
        let (mode, slots, head, file_bytes) = match &self.mode {
            Mode::Volatile { .. } => (StoreMode::Volatile, Vec::new(), None, 0),
            Mode::Durable(live) => {
                warnings.extend(live.problems().chain(self.counting.problems()));
                let mode = match live.fault_reason() {
                    Some(reason) => StoreMode::ReadOnly { reason: reason.to_owned() },
                    None => StoreMode::Durable,
                };
                (mode, live.slots(&self.state), Some(live.head()), live.bytes())
            }
            Mode::Recovery(waiting) => {
                let mode = StoreMode::Recovery { code: waiting.code, message: waiting.message.clone() };
                (mode, waiting.slots.clone(), None, waiting.bytes)
            }
            Mode::Superseded => {
                warnings.push(SUPERSEDED.to_owned());
                (StoreMode::Superseded, Vec::new(), None, 0)
            }
            Mode::Closed => (StoreMode::ReadOnly { reason: "the store is closed".to_owned() }, Vec::new(), None, 0),
        };
        Facts { mode, sequence: self.sequence, head, file_bytes, slots, warnings }
    }
}

impl FileBackend {
    fn store_group(&mut self, group: &Group) -> Result<(), Failure> {
        let disabled = seal_mode(&group.next) == SealMode::Disabled;
        match &self.mode {
            Mode::Volatile { .. } if disabled || group.next.manifest().is_none() => self.remember(group),
            Mode::Volatile { .. } => self.establish(group),
            Mode::Durable(live) => match live.fault_reason() {
                Some(reason) => Err(Failure::Unavailable(read_only(reason))),
                None if disabled => self.disable(group),
                None if self.changes_key(&group.next, &group.changes) => self.rotate(group),
                None => self.append(group),
            },
            Mode::Recovery(waiting) => {
                if group.next.manifest().is_none() {
                    return Err(Failure::Unavailable(waiting.message.clone()));
                }
                if self.config.deny_reset {
                    let why = "a sealed state exists that cannot be opened, and replacing it is forbidden \
                               (MARBLERUN_RECOVERY_RESET=deny). Recover it, or allow its replacement";
                    return Err(Failure::Unavailable(why.to_owned()));
                }
                if disabled { self.disable(group) } else { self.establish(group) }
            }
            Mode::Superseded => Err(Failure::Unavailable(SUPERSEDED.to_owned())),
            Mode::Closed => Err(Failure::Unavailable("the store is closed".to_owned())),
        }
    }

    /// A new key with a slot of each sealer in use.
    fn new_key(&self, mode: SealMode) -> Result<HostKey, String> {
        HostKey::generate(self.config.sealers.iter().filter(|sealer| !self.unused.contains(sealer.name())), mode)
    }

    /// Takes a group that is stored, or need not be, as the published state.
    fn accept(&mut self, next: &Arc<State>, sequence: u64, time_ms: u64) {
        self.state = Arc::clone(next);
        self.sequence = sequence;
        self.time_ms = time_ms;
    }

    fn remember(&mut self, group: &Group) -> Result<(), Failure> {
        self.accept(&group.next, self.sequence + 1, self.ports.clock.now_ms());
        Ok(())
    }

    /// Whether a change asks for another data encryption key.
    fn changes_key(&self, next: &State, changes: &[Change]) -> bool {
        seal_mode(&self.state) != seal_mode(next) || changes.iter().any(|change| matches!(change, Change::Recovery(_)))
    }
}

/// Which enclaves may open the state, by its manifest.
fn seal_mode(state: &State) -> SealMode {
    let named = state.manifest().and_then(|manifest| SealMode::from_name(&manifest.manifest.config.seal_mode));
    // A manifest with another name cannot be set; were one imported, it must not end persistence silently.
    named.unwrap_or_default()
}

fn read_only(reason: &str) -> String {
    format!("the state cannot be written: {reason}. Reads go on, and writing is tried again by itself")
}
