//! The copies of the key encryption key that open the state at this host's next start: one by each sealing backend that is
//! configured, any of which is enough. What a backend seals for all hosts that reach it is written once, by whoever finds
//! it missing; what is bound to this host is this host's, and tells the newest state that it has seen.
//!
//! A copy counts once its backend has opened it. Devices take their time, so between commits they are asked on another
//! thread; one that is away costs its own copy, and is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marblerun_sealing::{KeySealer, SealMode, Sealers, SlotKind};
use marblerun_state::{BootId, CommitId, State};

use super::backend::{ClusterBackend, Live, Mode, seal_mode};
use super::entry::{self, EntryFacts, EntryName, EntrySecret, Seen};
use super::handle::Errand;
use super::{Kek, KekId, SealIdentity, Severity};
use crate::digest::sha256;
use crate::format::describe_kind;

/// Work for another thread.
pub(crate) type Task = Box<dyn FnOnce() + Send>;
/// Has work done on another thread.
pub(crate) type Aside = Box<dyn Fn(Task) + Send>;
/// Named values of all hosts.
pub(super) type Values = BTreeMap<String, Vec<u8>>;

/// A thread that has not come back by then is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(600);
/// What an operator is told of a key in the clear.
const UNPROTECTED: &str = "a copy of the key encryption key lies in the clear, from a time when nothing protected it: whoever \
                           read it can open the state. When no Coordinator seals that way any more (MARBLERUN_SEAL): \
                           marblerun kek rotate --revoke";
/// Longest wait between two tries of a backend that is away, in rounds of upkeep.
const LONGEST_WAIT: u32 = 20;

/// The backends and what is known of their copies.
#[derive(Debug)]
pub(super) struct Copies {
    list: Vec<BackendCopy>,
    /// Since when a thread is at it.
    busy: Option<Instant>,
    /// A key in force lies in the clear, and no backend here is meant to leave it so.
    unprotected: bool,
}

/// One backend and what is known of its copy.
#[derive(Debug)]
pub(super) struct BackendCopy {
    pub(super) sealer: Arc<dyn KeySealer>,
    /// What the backend calls its host, as it told last.
    pub(super) host: Option<[u8; 16]>,
    /// Why it has no copy, or none that opens.
    problem: Option<String>,
    /// An operator removed it; until the next start it gets none.
    pub(super) unused: bool,
    /// The value that was seen to open, by its digest.
    proven: Option<(EntryName, [u8; 32])>,
    retry_at: Instant,
    wait: Duration,
}

/// What a backend is asked for.
pub(super) struct Order {
    /// Its place among the backends.
    pub(super) at: usize,
    pub(super) sealer: Arc<dyn KeySealer>,
    pub(super) kek: Kek,
    pub(super) mode: SealMode,
    pub(super) identity: SealIdentity,
    pub(super) facts: EntryFacts,
    pub(super) seen: Option<Seen>,
    /// Also if there is one.
    pub(super) anew: bool,
    /// What there is.
    pub(super) values: Arc<Values>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Report {
    at: usize,
    kek: KekId,
    seen: Option<Seen>,
    anew: bool,
    result: Result<Copied, String>,
}

/// A copy that its backend has opened.
#[derive(Debug)]
pub(super) enum Copied {
    /// It was there.
    There { name: EntryName, bytes: Vec<u8> },
    /// To be written.
    Made { name: EntryName, bytes: Vec<u8> },
}

impl Copies {
    pub(super) fn new(sealers: &Sealers) -> Self {
        let now = Instant::now();
        let copy = |sealer: &Arc<dyn KeySealer>| BackendCopy {
            sealer: Arc::clone(sealer),
            host: None,
            problem: None,
            unused: false,
            proven: None,
            retry_at: now,
            wait: Duration::ZERO,
        };
        Self { list: sealers.iter().map(copy).collect(), busy: None, unprotected: false }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &BackendCopy> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut BackendCopy> {
        self.list.iter_mut()
    }

    /// What an operator should know.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> + '_ {
        let of_backends = self.list.iter().filter_map(|copy| {
            let why = copy.problem.as_ref()?;
            Some(format!(
                "the sealing backend {} has no copy of the key encryption key that opens: {why}",
                copy.sealer.name()
            ))
        });
        of_backends.chain(self.unprotected.then(|| UNPROTECTED.to_owned()))
    }

    /// Notes whether a key in force can be read by whoever reads the place, though no backend here leaves it so. Other hosts
    /// may be configured so still, so it is for an operator to say when the key is to be replaced.
    fn note_unprotected(&mut self, values: &Values, in_force: &[KekId]) {
        let is_meant = self.list.iter().any(|copy| copy.sealer.kind() == SlotKind::Plain);
        let lies_open =
            |entry: &entry::Known<'_>| entry.maker.kind == Some(SlotKind::Plain) && in_force.contains(&entry.name.kek);
        let unprotected = !is_meant && entry::known(values).iter().any(lies_open);
        if unprotected && !self.unprotected {
            tracing::warn!("{UNPROTECTED}");
        }
        self.unprotected = unprotected;
    }

    /// Whether this one's copy tells the newest state seen: a copy that is bound to this host, or the first where none is.
    fn tells_seen(&self, at: usize) -> bool {
        let bound = |copy: &BackendCopy| !copy.is_shared();
        match self.list.iter().any(bound) {
            true => self.list.get(at).is_some_and(bound),
            false => at == 0,
        }
    }

    /// For each backend, whether its copy does.
    pub(super) fn who_tells_seen(&self) -> Vec<bool> {
        (0..self.list.len()).map(|at| self.tells_seen(at)).collect()
    }

    /// Whether that backend gets no copy; answers what was before.
    pub(super) fn set_unused(&mut self, at: usize, unused: bool) -> bool {
        self.list.get_mut(at).is_some_and(|copy| std::mem::replace(&mut copy.unused, unused))
    }

    pub(super) fn problem(&self, at: usize) -> Option<String> {
        self.list.get(at).and_then(|copy| copy.problem.clone())
    }

    /// Those that are known to open, for people.
    pub(super) fn describe(&self) -> impl Iterator<Item = String> + '_ {
        let proven = self.list.iter().filter(|copy| copy.proven.is_some() && copy.problem.is_none() && !copy.unused);
        proven.map(|copy| describe_kind(Some(copy.sealer.kind()), copy.sealer.name()))
    }

    /// Places of those in use, those that are bound to this host first.
    fn in_use(&self) -> Vec<usize> {
        let mut places: Vec<_> = self.list.iter().enumerate().filter(|(_, copy)| !copy.unused).collect();
        places.sort_by_key(|(at, copy)| (copy.is_shared(), *at));
        places.into_iter().map(|(at, _)| at).collect()
    }
}

impl BackendCopy {
    /// Whether all hosts that reach the backend have one copy together.
    pub(super) fn is_shared(&self) -> bool {
        self.sealer.kind().is_portable()
    }

    /// What its copy of a key is called, as far as known.
    pub(super) fn name_of(&self, kek: KekId, identity: &SealIdentity, mode: SealMode) -> Option<EntryName> {
        Some(EntryName { host: self.host?, kek, seal: identity.seal_id(mode, &*self.sealer) })
    }

    /// What was read at that name opened.
    pub(super) fn opened(&mut self, name: EntryName, bytes: &[u8]) {
        self.proven = Some((name, sha256(&[bytes])));
        self.problem = None;
        self.wait = Duration::ZERO;
    }

    /// It has no copy, or none that opens. Said once.
    pub(super) fn failed(&mut self, why: String) {
        if self.problem.as_ref() != Some(&why) {
            tracing::warn!(backend = self.sealer.name(), "no copy of the key encryption key that opens: {why}");
            self.problem = Some(why);
        }
    }
}

impl Order {
    /// Asks the backend. May block.
    pub(super) fn carry_out(self) -> Report {
        let result = self.copy();
        Report { at: self.at, kek: self.kek.id(), seen: self.seen, anew: self.anew, result }
    }

    pub(super) fn copy(&self) -> Result<Copied, String> {
        let host = self.sealer.host_id().map_err(|error| error.to_string())?;
        let name = EntryName { host, kek: self.kek.id(), seal: self.identity.seal_id(self.mode, &*self.sealer) };
        if let Some(bytes) = present(&self.values, name, &self.facts.deployment_id).filter(|_| !self.anew) {
            match entry::open(&*self.sealer, name, bytes) {
                Ok(_) => return Ok(Copied::There { name, bytes: bytes.to_vec() }),
                // It is not for one host to replace what another one may open.
                Err(why) if self.sealer.kind().is_portable() => {
                    let backend = self.sealer.name();
                    return Err(format!("{why}. Replace it: marblerun seal slot rotate {backend}"));
                }
                Err(_) => {}
            }
        }
        let secret = EntrySecret { kek: self.kek.clone(), seen: self.seen };
        let bytes = seal_and_open(&*self.sealer, self.mode, name, &self.facts, &secret)?;
        Ok(Copied::Made { name, bytes })
    }
}

impl Report {
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn kek(&self) -> KekId {
        self.kek
    }

    /// Why there is no copy.
    pub(super) fn problem(&self) -> Option<&str> {
        self.result.as_ref().err().map(String::as_str)
    }
}

/// A copy that its backend has opened again.
pub(super) fn seal_and_open(
    sealer: &dyn KeySealer,
    mode: SealMode,
    name: EntryName,
    facts: &EntryFacts,
    secret: &EntrySecret,
) -> Result<Vec<u8>, String> {
    let bytes = entry::seal(sealer, mode, name, facts, secret)?;
    entry::open(sealer, name, &bytes).map_err(|why| format!("what it sealed does not open: {why}"))?;
    Ok(bytes)
}

/// The value at that name, if it is a confirmed copy of that deployment's key.
pub(super) fn present<'a>(values: &'a Values, name: EntryName, deployment: &[u8; 16]) -> Option<&'a [u8]> {
    let bytes = values.get(&name.to_string())?;
    let facts = entry::read(name, bytes)?;
    (facts.confirmed && facts.deployment_id == *deployment).then_some(bytes)
}

fn cannot(why: &str) -> String {
    format!(
        "this host's copy of the key encryption key cannot be stored: {why}. Check the sealing backends (MARBLERUN_SEAL) and the \
         permissions on the ConfigMap"
    )
}

impl ClusterBackend {
    fn order(
        &self,
        at: usize,
        kek: &Kek,
        state: &State,
        (confirmed, seen): (bool, Option<Seen>),
        anew: bool,
    ) -> Option<Order> {
        let copy = self.copies.list.get(at)?;
        let deployment_id = state.lineage().deployment_id;
        Some(Order {
            at,
            sealer: Arc::clone(&copy.sealer),
            kek: kek.clone(),
            mode: seal_mode(state),
            identity: self.config.identity.clone(),
            facts: EntryFacts { deployment_id, made_at_ms: Self::now_ms(), confirmed },
            seen: seen.filter(|_| self.copies.tells_seen(at)),
            anew,
            values: Arc::default(),
        })
    }

    /// Writes copies of a key that nobody else has yet, and reads them back: by the first backend that is there, or by
    /// `every` one that is. Answers their names.
    pub(super) fn write_copies(
        &mut self,
        kek: &Kek,
        state: &State,
        confirmed: bool,
        every: bool,
    ) -> Result<Vec<EntryName>, String> {
        let (mut made, mut whys) = (Values::new(), Vec::new());
        let mut names = Vec::new();
        for at in self.copies.in_use() {
            let Some(order) = self.order(at, kek, state, (confirmed, None), true) else { continue };
            match (order.copy(), self.copies.list.get_mut(at)) {
                (Ok(Copied::Made { name, bytes }), Some(copy)) => {
                    copy.host = Some(name.host);
                    if confirmed {
                        copy.opened(name, &bytes);
                    }
                    names.push(name);
                    made.insert(name.to_string(), bytes);
                }
                (Err(why), Some(copy)) => {
                    whys.push(format!("{}: {why}", copy.sealer.name()));
                    copy.failed(why);
                }
                _ => {}
            }
            if !every && !made.is_empty() {
                break;
            }
        }
        if made.is_empty() {
            return Err(cannot(&whys.join("; ")));
        }
        self.place.change_entries(&made, &[]).map_err(|error| cannot(&error.to_string()))?;
        Ok(names)
    }

    /// The newest key of the open state that is at hand.
    pub(super) fn newest_kek(&self) -> Option<Kek> {
        let live = self.live()?;
        let at_hand = |id: KekId| self.keks.iter().find(|kek| kek.id() == id && live.keys.opens_with(kek));
        live.keys.kek_ids().into_iter().find_map(at_hand).cloned()
    }

    /// A copy that opens the state at the next start exists, is confirmed, and was read back. `None`: not now.
    pub(super) fn confirm_entry(&mut self) -> Option<KekId> {
        let live = self.live()?;
        if let Some(kek) = live.entry {
            return Some(kek);
        }
        let (seen, kek, state) = (self.seen_now(live), self.newest_kek()?, Arc::clone(&self.state));
        let mut whys = Vec::new();
        for at in self.copies.in_use() {
            let is_shared = self.copies.list.get(at).is_some_and(BackendCopy::is_shared);
            let Some(mut order) = self.order(at, &kek, &state, (true, seen), !is_shared) else { continue };
            if is_shared {
                match self.place.entries() {
                    Ok(values) => order.values = Arc::new(values),
                    Err(error) => {
                        whys.push(error.to_string());
                        break;
                    }
                }
            }
            self.take_report(order.carry_out());
            match self.live().and_then(|live| live.entry) {
                Some(kek) => return Some(kek),
                None => whys.extend(self.copies.list.get(at).and_then(|copy| copy.problem.clone())),
            }
        }
        let why = cannot(&whys.join("; "));
        tracing::warn!("{why}");
        self.place.report(Severity::Warning, "HostKeyNotStored", &why);
        None
    }

    /// What came of an order: what was made is written, and read back.
    pub(super) fn take_report(&mut self, report: Report) {
        let Report { at, kek, seen, anew, result } = report;
        let Some(live) = self.live() else { return };
        if !live.keys.kek_ids().contains(&kek) {
            return;
        }
        let deployment = self.state.lineage().deployment_id;
        let seen = seen.filter(|_| matches!(result, Ok(Copied::Made { .. })));
        let stored = match result {
            Ok(Copied::There { name, bytes }) => Ok((name, sha256(&[&bytes]))),
            Ok(Copied::Made { name, bytes }) => self.store_copy(at, name, bytes, anew, &deployment),
            Err(why) => Err(why),
        };
        let every = self.tuning.entry_every;
        let Some(copy) = self.copies.list.get_mut(at) else { return };
        match stored {
            Ok((name, digest)) => {
                copy.host = Some(name.host);
                copy.proven = Some((name, digest));
                copy.problem = None;
                copy.wait = Duration::ZERO;
                if let Some(live) = self.live_mut() {
                    live.entry = Some(kek);
                    if let Some(seen) = seen {
                        live.seen = (seen.sequence, Some(Instant::now()));
                    }
                }
            }
            Err(why) => {
                copy.failed(why);
                copy.wait = (copy.wait * 2).max(every).min(every * LONGEST_WAIT);
                copy.retry_at = Instant::now() + copy.wait;
            }
        }
    }

    fn store_copy(
        &mut self,
        at: usize,
        name: EntryName,
        bytes: Vec<u8>,
        anew: bool,
        deployment: &[u8; 16],
    ) -> Result<(EntryName, [u8; 32]), String> {
        let is_shared = self.copies.list.get(at).is_some_and(BackendCopy::is_shared);
        if is_shared && !anew {
            // Another host may have been first.
            let now = self.place.entries().map_err(|error| error.to_string())?;
            let sealer = self.copies.list.get(at).map(|copy| Arc::clone(&copy.sealer));
            if let (Some(theirs), Some(sealer)) = (present(&now, name, deployment), sealer) {
                return entry::open(&*sealer, name, theirs).map(|_| (name, sha256(&[theirs])));
            }
        }
        let digest = sha256(&[&bytes]);
        let set = [(name.to_string(), bytes)].into_iter().collect();
        self.place.change_entries(&set, &[]).map_err(|error| format!("it cannot be stored: {error}"))?;
        Ok((name, digest))
    }

    /// The newest commit of the published state, as an entry tells it.
    pub(super) fn seen_now(&self, live: &Live) -> Option<Seen> {
        let newest = self.state.writers().iter().max_by_key(|mark| mark.sequence)?;
        let (boot, commit): (BootId, CommitId) = (newest.boot, newest.commit);
        let incarnation = self.state.lineage().incarnation;
        Some(Seen { incarnation, sequence: live.sequence, head: live.head, boot, commit })
    }

    /// Writes the newest state seen into the copies that tell it.
    pub(super) fn write_seen(&mut self) {
        let Mode::Serving(live) = &self.mode else { return };
        if live.entry.is_none() || live.seen.0 == live.sequence || live.next_life.is_some() {
            return;
        }
        let (seen, state) = (self.seen_now(live), Arc::clone(&self.state));
        let Some(kek) = self.newest_kek() else { return };
        for at in self.copies.in_use() {
            if self.copies.tells_seen(at) {
                let order = self.order(at, &kek, &state, (true, seen), true);
                order.into_iter().for_each(|order| self.take_report(order.carry_out()));
            }
        }
    }

    /// Every half minute: the copies are there, and old ones are not.
    pub(super) fn look_after_entries(&mut self) {
        let Mode::Serving(live) = &self.mode else { return };
        let (entry, state) = (live.entry, Arc::clone(&self.state));
        let values = match self.place.entries() {
            Ok(values) => values,
            Err(error) => return tracing::warn!(%error, "the keys of the hosts cannot be looked after"),
        };
        let Some(kek) = self.newest_kek() else { return };
        let (mode, deployment) = (seal_mode(&state), state.lineage().deployment_id);
        let is_there = self.copies.iter().filter(|copy| !copy.unused && copy.problem.is_none()).any(|copy| {
            let name = copy.name_of(kek.id(), &self.config.identity, mode);
            name.is_some_and(|name| present(&values, name, &deployment).is_some())
        });
        let mut values = values;
        if !is_there || entry != Some(kek.id()) {
            if let Some(live) = self.live_mut() {
                live.entry = None;
            }
            self.confirm_entry();
            match self.place.entries() {
                Ok(now) => values = now,
                Err(error) => return tracing::warn!(%error, "the keys of the hosts cannot be looked after"),
            }
        }
        let in_force = self.live().map(|live| live.keys.kek_ids()).unwrap_or_default();
        self.copies.note_unprotected(&values, &in_force);
        let values = Arc::new(values);
        self.complete_copies(&kek, &state, &values);
        self.prune_entries(&values);
    }

    /// Has copies made that are missing, looked at that were never seen to open, and told what was seen since.
    fn complete_copies(&mut self, kek: &Kek, state: &State, values: &Arc<Values>) {
        if self.copies.busy.is_some_and(|since| since.elapsed() < PATIENCE) {
            return;
        }
        let Some(live) = self.live() else { return };
        let is_stale = live.seen.0 != live.sequence
            && live.seen.1.is_none_or(|at| at.elapsed() >= self.tuning.seen_every)
            && live.next_life.is_none();
        let (seen, now) = (self.seen_now(live), Instant::now());
        let (mode, deployment) = (seal_mode(state), state.lineage().deployment_id);
        let mut orders = Vec::new();
        for at in self.copies.in_use() {
            let Some(copy) = self.copies.list.get(at) else { continue };
            let name = copy.name_of(kek.id(), &self.config.identity, mode);
            let found = name.and_then(|name| Some((name, present(values, name, &deployment)?)));
            let is_proven = found.is_some_and(|(name, bytes)| copy.proven == Some((name, sha256(&[bytes]))));
            let anew = is_stale && self.copies.tells_seen(at);
            if (is_proven && !anew) || now < copy.retry_at {
                continue;
            }
            let order = self.order(at, kek, state, (true, seen), anew);
            orders.extend(order.map(|order| Order { values: Arc::clone(values), ..order }));
        }
        if orders.is_empty() {
            return;
        }
        self.copies.busy = Some(now);
        let desk = Arc::clone(&self.desk);
        (self.aside)(Box::new(move || {
            // One by one: what is done must not wait for a device that hangs.
            orders.into_iter().for_each(|order| desk.leave_word(Errand::Copied(Some(order.carry_out()))));
            desk.leave_word(Errand::Copied(None));
        }));
    }

    /// What the other thread came back with; `None`: it is done.
    pub(super) fn hear_of_copies(&mut self, report: Option<Report>) {
        match report {
            Some(report) => self.take_report(report),
            None => self.copies.busy = None,
        }
    }
}
