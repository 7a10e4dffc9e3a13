//! One instance of a cluster, as the engine sees it. All that is done to the shared place is done here, by the
//! committer's thread, one thing after the other.
//!
//! Invariants: what is published goes on from what was published before, unless an operator decided otherwise; nothing
//! is sent while the outcome of a write is not known; a key counts once it has opened the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use marblerun_recovery::RecoveryRoot;
use marblerun_sealing::SealMode;
use marblerun_state::{BootId, Change, CommitId, Phase, Standing, State};

use super::copies::{Aside, Copies};
use super::keys::KeySet;
use super::parts::{PartIndex, PartList, Split};
use super::waiting::{Waiting, WaitingCell};
use super::write::Attempt;
use super::{ClusterConfig, ClusterTuning, ClusterView, Desk, Divergence, Kek, KekId, Peer, SharedPlace, Version};
use crate::backend::{Backend, Failure, Group, Tended};
use crate::engine::Queue;
use crate::facts::Facts;
use crate::file::Opening;
use crate::format::{Head, random_name};
use crate::keyring::Keyring;
use crate::slots::{SlotChange, SlotError};
use crate::{RecoverError, RecoveryCheck, StoreMode};

/// Makes a state where there is none: with fresh keys and certificates.
pub(super) type Make = Box<dyn Fn(Phase) -> Result<State, String> + Send>;

/// One instance.
pub(crate) struct ClusterBackend {
    pub(super) place: Box<dyn SharedPlace>,
    pub(super) config: ClusterConfig,
    pub(super) tuning: ClusterTuning,
    pub(super) desk: Arc<Desk>,
    pub(super) cell: Arc<WaitingCell>,
    pub(super) make: Make,
    pub(super) aside: Aside,
    /// This host's copies of the key encryption key.
    pub(super) copies: Copies,
    pub(super) boot: BootId,
    /// Published.
    pub(super) state: Arc<State>,
    pub(super) mode: Mode,
    /// Keys at hand: of own entries, from peers, made here. Candidates until they open the state.
    pub(super) keks: Vec<Kek>,
    pub(super) peers: Vec<Peer>,
    /// Peers' words that came since the last look at them.
    pub(super) unjudged: bool,
    /// The first round of greetings is over.
    pub(super) greeted: bool,
    /// The first look is over.
    pub(super) looked: bool,
    pub(super) started: Instant,
    /// A write whose outcome is not known, beyond what its callers waited for.
    pub(super) doubt: Option<Attempt>,
    /// Own attempts that were proved never to have been in force.
    pub(super) lost: Vec<CommitId>,
    pub(super) validated: Option<Instant>,
    /// When to look again, and how long to wait after that.
    pub(super) look_at: Instant,
    pub(super) look_wait: Duration,
    pub(super) upkeep_at: Instant,
    pub(super) pace: Pace,
    pub(super) notes: BTreeSet<String>,
    pub(super) conflicts: u64,
    pub(super) doubts: u64,
    /// Since when nobody answered beside a state that has no manifest.
    pub(super) alone_since: Option<Instant>,
    /// Since when a peer is ahead of every read.
    pub(super) ahead_since: Option<Instant>,
    pub(super) foreign_bytes: usize,
    /// What the object that was read or written last tells of parts.
    pub(super) index: PartIndex,
    /// The snapshot that was put together last.
    pub(super) gathered: Option<(PartList, Arc<Vec<u8>>)>,
    /// Since when another instance's reservation is seen.
    pub(super) reserved_since: Option<(PartIndex, Instant)>,
}

/// What the instance is doing.
pub(super) enum Mode {
    /// Nothing could be read yet.
    Down { reason: String },
    /// Something is there, or was, and cannot be served.
    Waiting(Waiting),
    /// Open.
    Serving(Live),
    /// Open, and what lies there is not what goes on from it.
    Diverged { live: Live, divergence: Divergence },
    /// Stopped.
    Closed,
}

/// An open state, and where it lies.
#[derive(Debug, Clone)]
pub(super) struct Live {
    /// Of the object it was read from or written as.
    pub(super) version: Version,
    pub(super) keys: KeySet,
    pub(super) sequence: u64,
    pub(super) head: Head,
    /// Bytes of the object's values.
    pub(super) bytes: usize,
    /// A key of it that is kept for this host: in a copy that is there, confirmed, and was read back.
    pub(super) entry: Option<KekId>,
    /// What such a copy tells of the newest state seen, and since when.
    pub(super) seen: (u64, Option<Instant>),
    /// The object is gone.
    pub(super) missing: bool,
    /// Another life that the next commit begins.
    pub(super) next_life: Option<NextLife>,
    /// What lies there is under a key that this instance lacks, since then.
    pub(super) strange: Option<(Instant, Vec<KekId>)>,
    /// A rotation of the key encryption key that waits for the hosts to have the new one.
    pub(super) rotating: Option<KekId>,
    /// Where its snapshot lies in parts.
    pub(super) split: Option<Arc<Split>>,
}

/// Why the next commit begins another life of the deployment.
#[derive(Debug, Clone)]
pub(super) struct NextLife {
    /// For the audit trail.
    pub(super) reason: String,
    /// Who confirmed it; empty if nobody did.
    pub(super) confirmed_by: String,
    /// What is cut off, as far as known.
    pub(super) cut_off: Option<(u64, [u8; 32])>,
}

/// Who commits how often, so that nobody is starved.
#[derive(Debug)]
pub(super) struct Pace {
    /// Other writers and when their last commit was seen.
    pub(super) others: BTreeMap<BootId, Instant>,
    /// The last own write was the first of several.
    pub(super) won: bool,
    /// How long a write takes.
    pub(super) write: Duration,
}

impl Live {
    /// An open state that nothing else is known of.
    pub(super) fn new(version: Version, keys: KeySet, (sequence, head): (u64, Head), bytes: usize) -> Self {
        Self {
            version,
            keys,
            sequence,
            head,
            bytes,
            entry: None,
            seen: (0, None),
            missing: false,
            next_life: None,
            strange: None,
            rotating: None,
            split: None,
        }
    }

    /// What stays true of the own entry when this comes after `before`.
    pub(super) fn after(mut self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self };
        let keks = self.keys.kek_ids();
        let stays = |kek: Option<KekId>| kek.filter(|kek| keks.contains(kek));
        (self.entry, self.rotating) = (stays(before.entry), stays(before.rotating));
        self.seen = before.seen;
        self
    }

    pub(super) fn standing(&self, state: &State) -> Standing {
        state.standing(self.sequence, self.head)
    }
}

impl ClusterBackend {
    /// An instance that has looked at nothing yet.
    pub(crate) fn open(
        place: Box<dyn SharedPlace>,
        config: ClusterConfig,
        tuning: ClusterTuning,
        queue: Arc<Queue>,
        make: Make,
        aside: Aside,
    ) -> Result<(Opening<Self>, Arc<Desk>), String> {
        // Served until the real one is open: its keys are nobody's.
        let state = Arc::new(make(Phase::Recovery)?);
        let boot = BootId(random_name()?);
        let reason = format!("{} was not looked at yet", place.name());
        let now = Instant::now();
        let limit = place.limits().object_bytes;
        let view = ClusterView::starting(boot, place.name(), limit);
        let desk = Arc::new(Desk::new(queue, view));
        let cell = Arc::<WaitingCell>::default();
        let backend = Self {
            place,
            copies: Copies::new(&config.sealers),
            config,
            aside,
            desk: Arc::clone(&desk),
            cell: Arc::clone(&cell),
            make,
            boot,
            state: Arc::clone(&state),
            mode: Mode::Down { reason },
            keks: Vec::new(),
            peers: Vec::new(),
            unjudged: false,
            greeted: false,
            looked: false,
            started: now,
            doubt: None,
            lost: Vec::new(),
            validated: None,
            look_at: now,
            look_wait: tuning.look_again.0,
            upkeep_at: now,
            pace: Pace { others: BTreeMap::new(), won: false, write: Duration::from_millis(5) },
            notes: BTreeSet::new(),
            conflicts: 0,
            doubts: 0,
            alone_since: None,
            ahead_since: None,
            foreign_bytes: 0,
            index: PartIndex::default(),
            gathered: None,
            reserved_since: None,
            tuning,
        };
        Ok((Opening { backend, state, counters: Arc::default(), waiting_room: Some(cell) }, desk))
    }
}

impl Backend for ClusterBackend {
    fn store(&mut self, group: &Group) -> Result<Arc<State>, Failure> {
        let result = self.store_group(group);
        self.show();
        result
    }

    fn validate(&mut self) -> Result<Option<Arc<State>>, String> {
        let result = self.validate_now();
        self.show();
        result
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn ends_group(&self, before: &State, after: &State, changes: &[Change]) -> bool {
        before.phase() != after.phase()
            || seal_mode(before) != seal_mode(after)
            || changes.iter().any(|change| matches!(change, Change::Recovery(_)))
    }

    fn tend(&mut self) -> Tended {
        let before = Arc::clone(&self.state);
        let patience = self.tend_now();
        self.show();
        let publish = (!Arc::ptr_eq(&before, &self.state)).then(|| Arc::clone(&self.state));
        Tended { patience, publish }
    }

    fn recover(&mut self, root: &RecoveryRoot, check: RecoveryCheck) -> Result<Arc<State>, RecoverError> {
        let result = self.recover_waiting(root, check);
        self.show();
        result
    }

    fn keyring(&mut self) -> Result<Keyring, SlotError> {
        self.shared_keyring().map(Keyring::from)
    }

    fn change_slots(&mut self, change: SlotChange) -> (Option<Arc<State>>, Result<(), SlotError>) {
        let before = Arc::clone(&self.state);
        let result = self.change_shared_slots(change);
        self.show();
        ((!Arc::ptr_eq(&before, &self.state)).then(|| Arc::clone(&self.state)), result)
    }

    fn close(&mut self) {
        self.write_seen();
        self.mode = Mode::Closed;
        self.show();
    }

    fn facts(&self) -> Facts {
        let mut warnings: Vec<String> = self.notes.iter().cloned().chain(self.copies.problems()).collect();
        let closed = || StoreMode::ReadOnly { reason: "the store is closed".to_owned() };
        let (mode, live, slots) = match &self.mode {
            Mode::Down { reason } => {
                (StoreMode::Recovery { code: "unreachable", message: reason.clone() }, None, Vec::new())
            }
            Mode::Waiting(waiting) => {
                let mode = StoreMode::Recovery { code: waiting.code, message: waiting.message.clone() };
                (mode, None, waiting.slots.clone())
            }
            Mode::Serving(live) if live.missing => {
                (StoreMode::ReadOnly { reason: self.missing_message() }, Some(live), self.slots(live))
            }
            Mode::Serving(live) => (StoreMode::Durable, Some(live), self.slots(live)),
            Mode::Diverged { live, divergence } => {
                (StoreMode::Diverged { reason: divergence.reason.clone() }, Some(live), self.slots(live))
            }
            Mode::Closed => (closed(), None, Vec::new()),
        };
        if self.doubt.is_some() {
            warnings.push(
                "a write was sent whose outcome is not known yet; nothing else is written until it is".to_owned(),
            );
        }
        Facts {
            mode,
            sequence: live.map_or(0, |live| live.sequence),
            head: live.map(|live| live.head),
            file_bytes: live.map_or(0, |live| live.bytes as u64),
            slots,
            warnings,
        }
    }
}

impl ClusterBackend {
    /// The open state, diverged or not.
    pub(super) fn live(&self) -> Option<&Live> {
        match &self.mode {
            Mode::Serving(live) | Mode::Diverged { live, .. } => Some(live),
            Mode::Down { .. } | Mode::Waiting(_) | Mode::Closed => None,
        }
    }

    pub(super) fn live_mut(&mut self) -> Option<&mut Live> {
        match &mut self.mode {
            Mode::Serving(live) | Mode::Diverged { live, .. } => Some(live),
            Mode::Down { .. } | Mode::Waiting(_) | Mode::Closed => None,
        }
    }

    /// Notes and logs something an operator should know, once.
    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            tracing::warn!("{note}");
            self.notes.insert(note);
        }
    }

    /// Unix milliseconds.
    pub(super) fn now_ms() -> u64 {
        u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
    }

    /// Adds a key to those at hand.
    pub(super) fn take_kek(&mut self, kek: Kek) {
        /// More than the slots of a state and the own entries of a host.
        const MOST: usize = 16;
        if self.keks.contains(&kek) {
            return;
        }
        self.keks.insert(0, kek);
        // Those in force stay.
        let in_force = self.live().map(|live| live.keys.kek_ids()).unwrap_or_default();
        while self.keks.len() > MOST {
            let Some(at) = self.keks.iter().rposition(|kek| !in_force.contains(&kek.id())) else { break };
            self.keks.remove(at);
        }
    }

    /// Forgets the keys that have no slot in the published state any more.
    pub(super) fn retire_keks(&mut self) {
        if let Some(live) = self.live() {
            let slots = live.keys.kek_ids();
            self.keks.retain(|kek| slots.contains(&kek.id()));
        }
    }

    pub(super) fn missing_message(&self) -> String {
        format!(
            "{} was deleted while this Coordinator runs; nothing is written any more. Put it back (restore a backup), or have \
             what this Coordinator holds written back: marblerun restore reject",
            self.place.name()
        )
    }

    fn slots(&self, live: &Live) -> Vec<String> {
        let keks = live.keys.kek_ids().into_iter().map(|kek| format!("cluster: {}", hex::encode(kek.0)));
        let sets = self.state.recovery().iter().map(|entry| crate::format::describe_set(&entry.set));
        keks.chain(self.copies.describe()).chain(sets).collect()
    }

    /// Tells everyone who looks.
    pub(super) fn show(&self) {
        let serving = matches!(self.mode, Mode::Serving(_));
        let live = self.live();
        let usable = |kek: &&Kek| live.is_some_and(|live| live.entry.is_some() && live.keys.opens_with(kek));
        let wanted = match &self.mode {
            Mode::Waiting(waiting) => self.lacking(&waiting.wanted),
            // Also where it counts as diverged by now: with the key it may prove to be what goes on.
            Mode::Serving(live) | Mode::Diverged { live, .. } => match &live.strange {
                Some((_, wanted)) => self.lacking(wanted),
                None => self.lacking(&live.keys.kek_ids()),
            },
            Mode::Down { .. } | Mode::Closed => Vec::new(),
        };
        self.desk.show(ClusterView {
            boot: self.boot,
            place: self.place.name(),
            standing: live.map(|live| live.standing(&self.state)),
            serving,
            settled: self.looked,
            seal_by_product: self.state.manifest().is_some() && seal_mode(&self.state) == SealMode::ProductKey,
            keks: self.keks.iter().filter(usable).cloned().collect(),
            slots: live.map(|live| live.keys.kek_ids()).unwrap_or_default(),
            wanted,
            validated: self.validated,
            in_doubt: self.doubt.is_some(),
            missing: live.is_some_and(|live| live.missing),
            diverged: match &self.mode {
                Mode::Diverged { divergence, .. } => Some(divergence.clone()),
                _ => None,
            },
            entry_sealed: live.is_some_and(|live| live.entry.is_some()),
            peers: self.peers.clone(),
            bytes: live.map_or(0, |live| live.bytes),
            part_bytes: live.and_then(|live| live.split.as_ref()).map_or(0, |split| split.snapshot.len()),
            limit: self.place.limits().object_bytes,
            conflicts: self.conflicts,
            doubts: self.doubts,
            format: super::FORMAT,
        });
    }

    fn lacking(&self, wanted: &[KekId]) -> Vec<KekId> {
        wanted.iter().filter(|id| !self.keks.iter().any(|kek| kek.id() == **id)).copied().collect()
    }
}

/// Which programs may open the own entry, by the manifest; before there is one, this very program alone.
pub(super) fn seal_mode(state: &State) -> SealMode {
    match state.manifest() {
        Some(manifest) => SealMode::from_name(&manifest.manifest.config.seal_mode).unwrap_or_default(),
        None => SealMode::UniqueKey,
    }
}
