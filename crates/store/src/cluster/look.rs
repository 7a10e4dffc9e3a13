//! Looking at what lies in the shared place: at the start, while nothing is open, and to prove that what is published
//! is the newest (cluster protocol, sections 3 to 5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use marblerun_state::{Cause, Relation, State};

use super::backend::{ClusterBackend, Live, Mode, NextLife};
use super::copies::BackendCopy;
use super::entry::{self, EntrySecret, Known, Seen};
use super::keys::keks_in;
use super::opened::{OpenedObject, Unopened, open_object};
use super::waiting::Waiting;
use super::write::size;
use super::{ArchiveReason, Divergence, KekId, Object, PeerAnswer};
use crate::RollbackPolicy;
use crate::format::{Refusal, random_name};

/// What the entries of all hosts say.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Newest states that this host has seen, by its own entries, and of which deployment.
    pub(super) seen: Vec<([u8; 16], Seen)>,
    /// Whether any host says that a state was stored.
    pub(super) trace: bool,
    /// Whether this host has a copy of a key of its own.
    pub(super) has_own: bool,
}

impl ClusterBackend {
    /// Makes sure that what is published is the newest. `Some`: it was not.
    pub(super) fn validate_now(&mut self) -> Result<Option<Arc<State>>, String> {
        match self.settle_doubt() {
            Ok(Some(newest)) => return Ok(Some(newest)),
            Ok(None) => {}
            Err(why) => {
                // Under a key that nobody gives, that says the same as what lies there does.
                let live = self.live().and_then(|live| live.strange.as_ref());
                if live.is_some_and(|(since, _)| since.elapsed() > self.tuning.strange) {
                    return self.catch_up();
                }
                return Err(why);
            }
        }
        match &self.mode {
            Mode::Down { .. } | Mode::Waiting(_) => {
                let before = Arc::clone(&self.state);
                self.look();
                match &self.mode {
                    Mode::Down { reason } => Err(reason.clone()),
                    _ => Ok((!Arc::ptr_eq(&before, &self.state)).then(|| Arc::clone(&self.state))),
                }
            }
            Mode::Diverged { divergence, .. } => Err(divergence.reason.clone()),
            Mode::Closed => Err("the store is closed".to_owned()),
            Mode::Serving(live) => {
                let known = live.version.clone();
                let begun = Instant::now();
                match self.place.version() {
                    Ok(Some(version)) if version == known => {
                        self.validated = Some(begun);
                        if let Some(live) = self.live_mut() {
                            live.missing = false;
                            live.strange = None;
                        }
                        Ok(None)
                    }
                    Ok(Some(_)) => self.catch_up(),
                    Ok(None) => {
                        self.became_missing();
                        Err(self.missing_message())
                    }
                    Err(error) => Err(error.to_string()),
                }
            }
        }
    }

    /// Reads what lies there and publishes it if it goes on from what is published. `None`: it is that.
    pub(super) fn catch_up(&mut self) -> Result<Option<Arc<State>>, String> {
        let begun = Instant::now();
        let found = self.read_whole().map_err(|error| error.to_string())?;
        let Some((object, Some(whole))) = found else {
            self.became_missing();
            return Err(self.missing_message());
        };
        let Some(live) = self.live().cloned() else { return Err("nothing is open".to_owned()) };
        if live.version == object.version {
            self.validated = Some(begun);
            return Ok(None);
        }
        match self.open_from(&live, &whole, &object) {
            Ok(opened) => match self.relation(&opened) {
                Relation::Equal | Relation::Successor => {
                    self.adopt(opened, object.version.clone(), size(&object));
                    self.validated = Some(begun);
                    Ok(Some(Arc::clone(&self.state)))
                }
                Relation::ConfirmedRestore => {
                    self.follow(opened, &object)?;
                    self.validated = Some(begun);
                    Ok(Some(Arc::clone(&self.state)))
                }
                // Nothing of value is lost with a state that has no manifest.
                _ if self.state.manifest().is_none() => {
                    self.follow(opened, &object)?;
                    self.validated = Some(begun);
                    Ok(Some(Arc::clone(&self.state)))
                }
                relation => Err(self.diverge(relation, Some(&opened), &object)),
            },
            Err(Unopened::NoKey { wanted, reason, .. }) => self.strange(live, wanted, &reason, &object),
            Err(Unopened::Refused(refusal)) => Err(self.diverge_by(&refusal.to_string(), None, &object)),
            Err(Unopened::Upstream(_)) => {
                Err(self.diverge_by("a state of the Go Coordinator was put in its place.", None, &object))
            }
        }
    }

    /// What lies there is under a key that is not at hand. Peers are asked for it; if none has it, it is no successor.
    fn strange(
        &mut self,
        mut live: Live,
        wanted: Vec<super::KekId>,
        reason: &str,
        object: &Object,
    ) -> Result<Option<Arc<State>>, String> {
        let since = live.strange.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        live.strange = Some((since, wanted));
        self.mode = Mode::Serving(live);
        if since.elapsed() > self.tuning.strange {
            return Err(self.diverge_by(&format!("{reason}, and no other Coordinator gives one."), None, object));
        }
        Err(format!(
            "what lies in {} cannot be opened yet: {reason}; the other Coordinators are asked",
            self.place.name()
        ))
    }

    /// What lies there is under a key that is not at hand.
    pub(super) fn became_strange(&mut self, wanted: Vec<super::KekId>) {
        if let Some(live) = self.live_mut() {
            let since = live.strange.as_ref().map_or_else(Instant::now, |(since, _)| *since);
            live.strange = Some((since, wanted));
        }
    }

    /// Takes another history: what an operator decided, or one beside which mine has nothing.
    fn follow(&mut self, opened: OpenedObject, object: &Object) -> Result<(), String> {
        let before = self.live().map_or((0, [0; 32]), |live| (live.sequence, live.head));
        self.note(format!(
            "another state was taken over by the decision of an operator (incarnation {}); what this Coordinator had at sequence \
             {} is cut off",
            opened.state.lineage().incarnation,
            before.0
        ));
        // Commits of this process that are cut off must not look like commits of what goes on.
        self.boot = marblerun_state::BootId(random_name()?);
        self.adopt(opened, object.version.clone(), size(object));
        Ok(())
    }

    fn diverge(&mut self, relation: Relation, opened: Option<&OpenedObject>, object: &Object) -> String {
        let what = match relation {
            Relation::Older => "an older state was put in its place.",
            Relation::Foreign => "the state of another deployment was put in its place.",
            _ => "a state with another history was put in its place.",
        };
        self.diverge_by(what, opened, object)
    }

    /// Keeps what is published, and neither commits nor admits anybody any more.
    pub(super) fn diverge_by(&mut self, what: &str, opened: Option<&OpenedObject>, object: &Object) -> String {
        let reason = format!(
            "{}: {what} Nothing is written and no Marble admitted until an operator decides: marblerun restore accept takes it, \
             marblerun restore reject writes back what this Coordinator holds",
            self.place.name()
        );
        let found = opened.map(OpenedObject::standing);
        let last_writer = object.last_writer.clone();
        let divergence = Divergence { reason: reason.clone(), found, last_writer };
        if let Some(live) = self.live().cloned() {
            tracing::error!(last_writer = divergence.last_writer, "diverged: {reason}");
            self.place.report(super::Severity::Warning, "StateDiverged", &reason);
            self.mode = Mode::Diverged { live, divergence };
        }
        reason
    }

    /// One look while nothing is open: decides what this instance is.
    pub(super) fn look(&mut self) {
        self.look_at = Instant::now() + self.look_wait;
        self.look_wait = (self.look_wait * 2).min(self.tuning.look_again.1);
        if self.settle_doubt().is_err() || self.live().is_some() {
            return;
        }
        let begun = Instant::now();
        let found = match self.read_whole() {
            Ok(found) => found,
            Err(error) => {
                let reason = format!("{} cannot be read: {error}; it is tried again", self.place.name());
                return self.down(reason);
            }
        };
        if found.as_ref().is_some_and(|(object, _)| object.immutable) {
            return self.down(format!("{} is immutable, so nothing can be stored: make it mutable", self.place.name()));
        }
        let wanted = found.as_ref().map(|(object, _)| keks_in(object.sealed_key.as_deref())).unwrap_or_default();
        let entries = match self.read_entries(&wanted) {
            Ok(entries) => entries,
            Err(why) => return self.down(why),
        };
        let base = found.as_ref().map(|(object, _)| object.version.clone());
        match found {
            None | Some((_, None)) => self.look_at_nothing(base, &entries),
            Some((object, Some(whole))) => match open_object(&whole, &object, None, &self.keks) {
                Ok(opened) => self.look_at_opened(opened, object, &entries, begun),
                Err(Unopened::NoKey { wanted, reason, front }) => {
                    if !front.header.has_manifest() && self.nobody_holds_it() {
                        return self.found_anew(&object);
                    }
                    let whys = std::iter::once(reason).chain(self.copies.problems()).collect::<Vec<_>>();
                    let refusal = Refusal::NoKey { reason: whys.join("; ") };
                    self.wait(Waiting::refused(&refusal, object, wanted));
                }
                Err(Unopened::Refused(refusal)) => self.wait(Waiting::refused(&refusal, object, Vec::new())),
                Err(Unopened::Upstream(front)) => self.look_at_upstream(&front, object, &whole.object),
            },
        }
    }

    pub(super) fn look_again_soon(&mut self) {
        self.look_wait = self.tuning.look_again.0;
        self.look_at = Instant::now();
    }

    fn down(&mut self, reason: String) {
        if !matches!(&self.mode, Mode::Down { reason: before } if *before == reason) {
            tracing::error!("{reason}");
        }
        self.mode = Mode::Down { reason };
    }

    /// Nothing is there. A new deployment begins only where there is no trace of an earlier one.
    fn look_at_nothing(&mut self, base: Option<super::Version>, entries: &Entries) {
        let held = self
            .peers
            .iter()
            .find(|peer| matches!(&peer.answer, PeerAnswer::Greeted(greeting) if greeting.standing.is_some()));
        let trace = if entries.trace {
            Some("hosts keep keys for it".to_owned())
        } else if let Some(peer) = held {
            Some(format!("the Coordinator at {} holds it", peer.address))
        } else {
            match self.place.archives() {
                Ok(archives) if archives.is_empty() => None,
                Ok(_) => Some("there are archives of it".to_owned()),
                Err(error) => return self.down(format!("it cannot be told whether there was a state before: {error}")),
            }
        };
        match trace {
            None => self.genesis(base),
            Some(trace) => self.wait(Waiting::missing(format!(
                "{} is missing, but there was one: {trace}. Put it back (restore a backup); this Coordinator goes on by itself \
                 then. Or set a manifest to begin anew",
                self.place.name()
            ))),
        }
    }

    /// Whether for long enough every listed address answered or refused, and none can open it.
    fn nobody_holds_it(&mut self) -> bool {
        if self.why_not_alone().is_some() {
            self.alone_since = None;
            return false;
        }
        let since = *self.alone_since.get_or_insert_with(Instant::now);
        since.elapsed() >= self.tuning.abandoned
    }

    fn found_anew(&mut self, object: &Object) {
        if let Err(why) = self.archive(object, ArchiveReason::Reset) {
            return self.down(why);
        }
        tracing::warn!("the shared state had no manifest yet, and nobody can open it: it is founded anew");
        self.genesis(Some(object.version.clone()));
    }

    /// It opened. It is served unless somebody who runs knows better, or this host has seen a newer one.
    fn look_at_opened(&mut self, opened: OpenedObject, object: Object, entries: &Entries, begun: Instant) {
        let standing = opened.standing();
        let better = self.peers.iter().find_map(|peer| match &peer.answer {
            PeerAnswer::Greeted(greeting) => {
                let known = greeting.standing.as_ref()?;
                let goes_on = matches!(
                    known.relation(&standing),
                    Relation::Equal | Relation::Successor | Relation::ConfirmedRestore
                );
                (known.has_manifest && !goes_on).then(|| peer.address.clone())
            }
            _ => None,
        });
        if let Some(address) = better {
            let message = format!(
                "{} does not go on from the state that the Coordinator at {address} holds. Decide there: marblerun restore \
                 accept or marblerun restore reject",
                self.place.name()
            );
            let mut waiting = Waiting::new("diverged", message, object, Vec::new());
            waiting.contradicted = true;
            return self.wait(waiting);
        }
        if self.config.rollback == RollbackPolicy::Refuse && !self.is_vouched_for(entries) {
            let message = format!(
                "{} opens by a copy of the key that all hosts share, but this host has seen no state of it before, and no other \
                 Coordinator runs: nobody can tell whether it is the newest (MARBLERUN_ROLLBACK=refuse). Recover with the \
                 recovery keys of the manifest, which consents to this state, or start a Coordinator on a host that has served \
                 it",
                self.place.name()
            );
            return self.wait(Waiting::new("no_witness", message, object, Vec::new()));
        }
        let deployment = opened.state.lineage().deployment_id;
        let seen = entries.seen.iter().filter(|(of, _)| *of == deployment).map(|(_, seen)| seen);
        let rolled_back = seen.copied().find(|seen| !has_seen(&opened.state, seen));
        let moved = opened.state.home().is_some_and(|home| !home.uid.is_empty() && home.uid != object.version.uid);
        let next_life = match (rolled_back, moved) {
            (Some(seen), _) => Some(NextLife {
                reason: "older_than_witness".to_owned(),
                confirmed_by: String::new(),
                cut_off: Some((seen.sequence, seen.head)),
            }),
            (None, true) => {
                Some(NextLife { reason: "restored".to_owned(), confirmed_by: String::new(), cut_off: None })
            }
            (None, false) => None,
        };
        if let Some(life) = &next_life {
            let what = match &life.cut_off {
                Some((sequence, _)) => format!("this host has seen sequence {sequence}, which it does not go on from"),
                None => "the object was made anew".to_owned(),
            };
            if self.config.rollback == RollbackPolicy::Refuse {
                let found = opened.sequence;
                let expected = life.cut_off.map_or(found, |(sequence, _)| sequence);
                let refusal = Refusal::OlderThanWitness { found, expected };
                return self.wait(Waiting::refused(&refusal, object, Vec::new()));
            }
            let note = format!(
                "{} was restored: {what}. Nobody who runs knows better, so it is served; the next change begins another \
                 incarnation",
                self.place.name()
            );
            self.place.report(super::Severity::Warning, "StateRestored", &note);
            self.note(note);
        }
        let OpenedObject { state, sequence, head, keys, header_altered, split } = opened;
        if header_altered {
            self.note("the readable header of the shared state was altered; the next commit repairs it".to_owned());
        }
        self.state = Arc::new(state);
        self.validated = Some(begun);
        let bytes = size(&object);
        self.serve(Live { next_life, split, ..Live::new(object.version, keys, (sequence, head), bytes) });
        self.confirm_entry();
        tracing::info!(sequence, "the shared state is open");
    }

    /// Whether anybody here could know of a newer state: this host, which has served it, or a Coordinator that runs.
    fn is_vouched_for(&self, entries: &Entries) -> bool {
        let is_all_shared = self.copies.iter().all(BackendCopy::is_shared);
        let has_standing =
            |peer: &super::Peer| matches!(&peer.answer, PeerAnswer::Greeted(greeting) if greeting.standing.is_some());
        entries.has_own || is_all_shared || self.peers.iter().any(has_standing)
    }

    /// Reads the entries of all hosts; takes the keys of the own ones, in the order of the backends. One that all hosts
    /// reach is asked for keys that are `wanted`, and only as long as none of them is at hand.
    fn read_entries(&mut self, wanted: &[KekId]) -> Result<Entries, String> {
        let all = self.place.entries().map_err(|error| format!("the keys of the hosts cannot be read: {error}"))?;
        let known = entry::known(&all);
        let mut entries = Entries { trace: known.iter().any(|entry| entry.facts.confirmed), ..Entries::default() };
        let mut opened = Vec::new();
        for copy in self.copies.iter_mut() {
            let is_at_hand = |kek: &KekId| {
                self.keks
                    .iter()
                    .chain(opened.iter().map(|secret: &EntrySecret| &secret.kek))
                    .any(|own| own.id() == *kek)
            };
            let is_shared = copy.is_shared();
            let mut candidates: Vec<_> = known.iter().filter(|entry| entry.maker.is(&*copy.sealer)).collect();
            if is_shared {
                candidates.retain(|entry| wanted.contains(&entry.name.kek));
            }
            if candidates.is_empty() || (is_shared && wanted.iter().any(is_at_hand)) {
                continue;
            }
            let host = match copy.sealer.host_id() {
                Ok(host) => host,
                Err(error) => {
                    copy.failed(error.to_string());
                    continue;
                }
            };
            copy.host = Some(host);
            // Members of one service may each have a name of their own.
            candidates.retain(|entry| is_shared || entry.name.host == host);
            candidates.sort_by_key(|entry| (entry.name.host != host, std::cmp::Reverse(entry.facts.made_at_ms)));
            let (mut whys, mut found) = (Vec::new(), false);
            for Known { name, facts, bytes, .. } in candidates.into_iter().take(CANDIDATES) {
                match entry::open(&*copy.sealer, *name, bytes) {
                    Ok(secret) => {
                        found = true;
                        copy.opened(*name, bytes);
                        // The newest knowledge is believed of a state that was stored.
                        let seen = secret.seen.filter(|_| facts.confirmed);
                        entries.seen.extend(seen.map(|seen| (facts.deployment_id, seen)));
                        opened.push(secret);
                        if is_shared {
                            break;
                        }
                        entries.has_own = true;
                    }
                    Err(why) => {
                        tracing::warn!(entry = %name, "an own entry does not open: {why}");
                        whys.push(why);
                    }
                }
            }
            if let Some(why) = whys.into_iter().next().filter(|_| !found) {
                copy.failed(why);
            }
        }
        opened.into_iter().for_each(|secret| self.take_kek(secret.kek));
        Ok(entries)
    }
}

/// Most copies that one backend is asked to open in one look.
const CANDIDATES: usize = 16;

/// Whether a state goes on from one that was seen.
fn has_seen(state: &State, seen: &Seen) -> bool {
    // Key holders, or an operator, let what was seen be cut off.
    let decided = |life: &marblerun_state::Incarnation| match life.cause {
        Cause::Recovery => true,
        Cause::Restore => !life.confirmed_by.is_empty(),
        Cause::Genesis | Cause::Import => false,
    };
    if state.incarnations().iter().any(|life| life.number > seen.incarnation && decided(life)) {
        return true;
    }
    match state.writers().last(seen.boot) {
        Some((sequence, commit)) => sequence > seen.sequence || (sequence == seen.sequence && commit == seen.commit),
        // Pruned, if so many newer ones have written since.
        None => state.writers().len() >= marblerun_state::Writers::MOST,
    }
}

/// How long to wait for the next call.
pub(super) fn until(at: Instant) -> Duration {
    at.saturating_duration_since(Instant::now())
}
