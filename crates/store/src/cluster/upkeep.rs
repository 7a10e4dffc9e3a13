//! What is done between commits: errands, looks, the own entry, rotations in progress, what peers say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marblerun_state::{BootId, CommitId, Relation, Standing};

use super::backend::{ClusterBackend, Live, Mode, seal_mode};
use super::entry::{EntryName, Seen, read};
use super::handle::Errand;
use super::look::until;
use super::{KekId, PeerAnswer, PeerGreeting, Severity};

/// Newest own entries that are kept.
const OWN_ENTRIES: usize = 4;
/// Share of the place's room for entries above which the oldest of any host go.
const ENTRIES_FULL: (usize, usize) = (7, 10);

impl ClusterBackend {
    /// Everything that is due. Returns how long nothing else is.
    pub(super) fn tend_now(&mut self) -> Option<Duration> {
        while let Some(errand) = self.desk.take() {
            self.run(errand);
        }
        match &self.mode {
            Mode::Closed => return None,
            Mode::Down { .. } | Mode::Waiting(_) => self.look_if_due(),
            Mode::Serving(_) => self.tend_serving(),
            Mode::Diverged { .. } => self.tend_diverged(),
        }
        let next = match &self.mode {
            Mode::Closed => return None,
            Mode::Down { .. } if !self.greeted => self.started + self.tuning.greeting_wait,
            Mode::Down { .. } | Mode::Waiting(_) => self.look_at,
            Mode::Serving(_) | Mode::Diverged { .. } => self.look_at.min(self.upkeep_at),
        };
        Some(until(next).max(Duration::from_millis(5)))
    }

    fn run(&mut self, errand: Errand) {
        match errand {
            Errand::Nudge => self.look_again_soon(),
            Errand::Offer { from, keks } => {
                tracing::debug!(from, count = keks.len(), "key encryption keys from a peer");
                keks.into_iter().for_each(|kek| self.take_kek(kek));
                self.look_again_soon();
                self.upkeep_at = Instant::now();
            }
            Errand::Heard(peers) => {
                let is_news = self.peers != peers;
                self.peers = peers;
                self.unjudged = true;
                let first = !std::mem::replace(&mut self.greeted, true);
                if first || (is_news && self.live().is_none()) {
                    self.look_at = Instant::now();
                }
            }
            Errand::Decide(decision, answer) => {
                let decided = self.decide(decision);
                self.show();
                // Who asked may have gone away; the decision stands.
                let _ = answer.send(decided);
            }
        }
    }

    fn look_if_due(&mut self) {
        if !self.greeted && self.started.elapsed() < self.tuning.greeting_wait {
            return;
        }
        self.greeted = true;
        if Instant::now() >= self.look_at {
            self.look();
            self.looked = true;
        }
    }

    fn tend_serving(&mut self) {
        let now = Instant::now();
        let is_due = now >= self.look_at || self.validated.is_none_or(|at| at.elapsed() >= self.tuning.validate_every);
        if is_due || self.unjudged {
            self.look_at = now + self.tuning.validate_every;
            let begun = Instant::now();
            if let Err(why) = self.validate_now() {
                tracing::debug!("the shared state cannot be validated: {why}");
            } else if std::mem::take(&mut self.unjudged) {
                self.judge_peers(begun);
            }
        }
        if now >= self.upkeep_at && matches!(self.mode, Mode::Serving(_)) {
            self.upkeep_at = now + self.tuning.entry_every;
            self.look_after_entries();
            self.finish_rotation();
        }
    }

    fn tend_diverged(&mut self) {
        if Instant::now() < self.look_at {
            return;
        }
        self.look_at = Instant::now() + self.tuning.validate_every;
        let Mode::Diverged { live, divergence } = &self.mode else { return };
        let (live, divergence) = (live.clone(), divergence.clone());
        // As if it served: what lies there is judged anew, and the judgement may be the same.
        self.mode = Mode::Serving(live);
        let goes_on = self.catch_up().is_ok();
        if goes_on && self.contradicting_peer().is_none() {
            return tracing::info!("what lies in {} goes on from the state held here again", self.place.name());
        }
        // Not readable now, under a key still unknown, or contradicted by a peer: the judgement stands.
        if let Mode::Serving(live) = &self.mode {
            self.mode = Mode::Diverged { live: live.clone(), divergence };
        }
    }

    /// Judges what peers said before the read that began at `begun`.
    fn judge_peers(&mut self, begun: Instant) {
        if let Some((address, relation)) = self.contradicting_peer() {
            let what = match relation {
                Relation::Foreign => "of another deployment",
                _ => "with another history",
            };
            let Mode::Serving(live) = &self.mode else { return };
            let live = live.clone();
            let reason = format!(
                "the Coordinator at {address} holds a state {what} than this one: {} shows different states to different \
                 Coordinators. Nothing is written and no Marble admitted until that is put right",
                self.place.name()
            );
            tracing::error!("diverged: {reason}");
            self.place.report(Severity::Warning, "StateDiverged", &reason);
            let divergence = super::Divergence { reason, found: None, last_writer: String::new() };
            self.mode = Mode::Diverged { live, divergence };
            return;
        }
        let Some(mine) = self.my_standing() else { return };
        let ahead = self.greetings().any(|greeting| {
            let theirs = greeting.standing.as_ref();
            theirs
                .is_some_and(|theirs| matches!(mine.relation(theirs), Relation::Successor | Relation::ConfirmedRestore))
        });
        match (ahead, self.ahead_since) {
            (false, _) => self.ahead_since = None,
            (true, None) => self.ahead_since = Some(begun),
            (true, Some(since)) if since.elapsed() > self.tuning.stale => {
                let note = format!(
                    "a peer is ahead of everything that {} shows for {} s: it shows an old state",
                    self.place.name(),
                    since.elapsed().as_secs()
                );
                self.place.report(Severity::Warning, "StateStale", &note);
                self.note(note);
            }
            (true, Some(_)) => {}
        }
    }

    fn my_standing(&self) -> Option<Standing> {
        self.live().map(|live| live.standing(&self.state))
    }

    fn greetings(&self) -> impl Iterator<Item = &PeerGreeting> {
        self.peers.iter().filter_map(|peer| match &peer.answer {
            PeerAnswer::Greeted(greeting) => Some(greeting.as_ref()),
            _ => None,
        })
    }

    /// A peer whose state neither goes on from mine nor mine from it, or holds a commit that I know to be lost.
    fn contradicting_peer(&self) -> Option<(String, Relation)> {
        let mine = self.my_standing()?;
        self.peers.iter().find_map(|peer| {
            let PeerAnswer::Greeted(greeting) = &peer.answer else { return None };
            let theirs = greeting.standing.as_ref()?;
            let lost = |commit: CommitId| self.lost.contains(&commit);
            let has_lost = theirs.writers.last(self.boot).is_some_and(|(_, commit)| lost(commit));
            let relation = mine.relation(theirs);
            let back = theirs.relation(&mine);
            // A restore that an operator confirmed is on its way to one of the two.
            let settled = relation == Relation::ConfirmedRestore || back == Relation::ConfirmedRestore;
            let is_fork = matches!(relation, Relation::Fork | Relation::Foreign) && !settled && mine.has_manifest;
            (is_fork || has_lost).then(|| (peer.address.clone(), relation))
        })
    }

    /// The own entry exists, is confirmed, and was read back. `None`: not now.
    pub(super) fn confirm_entry(&mut self) -> Option<KekId> {
        let live = self.live()?;
        if let Some(kek) = live.entry {
            return Some(kek);
        }
        let kek = self.keks.iter().find(|kek| live.keys.opens_with(kek)).cloned()?;
        let (seen, state) = (self.seen_now(live), Arc::clone(&self.state));
        match self.write_entry(&kek, &state, true, seen) {
            Ok(_) => {
                let id = kek.id();
                let live = self.live_mut()?;
                live.entry = Some(id);
                live.seen = (live.sequence, Some(Instant::now()));
                Some(id)
            }
            Err(why) => {
                tracing::warn!("{why}");
                self.place.report(Severity::Warning, "HostKeyNotStored", &why);
                None
            }
        }
    }

    /// The newest commit of the published state, as an entry tells it.
    fn seen_now(&self, live: &Live) -> Option<Seen> {
        let newest = self.state.writers().iter().max_by_key(|mark| mark.sequence)?;
        let (boot, commit): (BootId, CommitId) = (newest.boot, newest.commit);
        let incarnation = self.state.lineage().incarnation;
        Some(Seen { incarnation, sequence: live.sequence, head: live.head, boot, commit })
    }

    /// Writes the newest state seen into the own entry.
    pub(super) fn write_seen(&mut self) {
        let Mode::Serving(live) = &self.mode else { return };
        if live.entry.is_none() || live.seen.0 == live.sequence || live.next_life.is_some() {
            return;
        }
        if let Some(live) = self.live_mut() {
            live.entry = None;
        }
        self.confirm_entry();
    }

    /// Every half minute: the own entry is there, and old ones are not.
    fn look_after_entries(&mut self) {
        let Mode::Serving(live) = &self.mode else { return };
        let (live, state) = (live.clone(), Arc::clone(&self.state));
        let entries = match self.place.entries() {
            Ok(entries) => entries,
            Err(error) => return tracing::warn!(%error, "the keys of the hosts cannot be looked after"),
        };
        let Ok(host) = self.config.sealers.first().host_id() else { return };
        let seal = self.config.identity.seal_id(seal_mode(&state));
        let is_there = live.entry.is_some_and(|kek| {
            let name = EntryName { host, kek, seal };
            entries.get(&name.to_string()).and_then(|bytes| read(name, bytes)).is_some_and(|facts| facts.confirmed)
        });
        let is_stale = live.seen.0 != live.sequence
            && live.seen.1.is_none_or(|at| at.elapsed() >= self.tuning.seen_every)
            && live.next_life.is_none();
        // The newest key first: the slot in front.
        let newest = live.keys.kek_ids().first().copied();
        let is_older = newest != live.entry && self.keks.iter().any(|kek| Some(kek.id()) == newest);
        if !is_there || is_stale || is_older {
            if let Some(live) = self.live_mut() {
                live.entry = None;
            }
            self.confirm_entry();
        }
        self.prune_entries(&entries, host);
    }

    fn prune_entries(&mut self, entries: &std::collections::BTreeMap<String, Vec<u8>>, host: [u8; 16]) {
        let in_force = self.live().map(|live| live.keys.kek_ids()).unwrap_or_default();
        let deployment = self.state.lineage().deployment_id;
        let mut known: Vec<(u64, EntryName, usize, bool)> = entries
            .iter()
            .filter_map(|(text, bytes)| {
                let name = EntryName::parse(text)?;
                let facts = read(name, bytes)?;
                Some((facts.made_at_ms, name, bytes.len(), facts.deployment_id == deployment))
            })
            .collect();
        known.sort_by_key(|(made, name, _, _)| (*made, name.to_string()));
        let needed = |name: &EntryName| name.host == host && in_force.contains(&name.kek);
        let mut gone: Vec<EntryName> = Vec::new();
        let own: Vec<&EntryName> = known.iter().map(|(_, name, _, _)| name).filter(|name| name.host == host).collect();
        let excess = own.len().saturating_sub(OWN_ENTRIES);
        gone.extend(own.into_iter().filter(|name| !needed(name)).take(excess));
        let mut bytes: usize = known.iter().map(|(_, _, length, _)| length).sum();
        let most = self.place.limits().entries_bytes * ENTRIES_FULL.0 / ENTRIES_FULL.1;
        for (_, name, length, _) in known.iter().filter(|(_, name, _, _)| !needed(name)) {
            if bytes <= most {
                break;
            }
            bytes -= length;
            gone.push(*name);
        }
        if !gone.is_empty() {
            self.remove_entries(&gone);
        }
    }

    /// The old slot goes once every instance that runs has the new key.
    fn finish_rotation(&mut self) {
        let Mode::Serving(live) = &self.mode else { return };
        let Some(kek) = live.rotating else { return };
        if live.entry != Some(kek) {
            return;
        }
        let everyone = self.peers.iter().all(|peer| match &peer.answer {
            PeerAnswer::Greeted(greeting) => !greeting.serving || greeting.keks.contains(&kek),
            PeerAnswer::Silent(_) => false,
            PeerAnswer::Myself | PeerAnswer::Nobody | PeerAnswer::Rejected(_) => true,
        });
        if !everyone {
            return;
        }
        let (keys, next) = (live.keys.only(kek), marblerun_state::State::clone(&self.state));
        match self.write_on(next, keys, None) {
            Ok(_) => {
                if let Some(live) = self.live_mut() {
                    live.rotating = None;
                }
                tracing::info!("the key encryption key was rotated");
            }
            Err(failure) => tracing::warn!(?failure, "the old slot of a rotation could not be removed yet"),
        }
    }
}
