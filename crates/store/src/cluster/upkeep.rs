//! What is done between commits: errands, looks, rotations in progress, what peers say.

use std::time::{Duration, Instant};

use marblerun_state::{CommitId, Relation, Standing};

use super::backend::{ClusterBackend, Mode};
use super::handle::Errand;
use super::look::until;
use super::{PeerAnswer, PeerGreeting, Severity};

impl ClusterBackend {
    /// Everything that is due. Returns how long nothing else is.
    pub(super) fn tend_now(&mut self) -> Option<Duration> {
        self.run_errands();
        match &self.mode {
            Mode::Closed => return None,
            Mode::Down { .. } | Mode::Waiting(_) => self.look_if_due(),
            Mode::Serving(_) => self.tend_serving(),
            Mode::Diverged { .. } => self.tend_diverged(),
        }
        // What was asked for may be done already.
        self.run_errands();
        let next = match &self.mode {
            Mode::Closed => return None,
            Mode::Down { .. } if !self.greeted => self.started + self.tuning.greeting_wait,
            Mode::Down { .. } | Mode::Waiting(_) => self.look_at,
            Mode::Serving(_) | Mode::Diverged { .. } => self.look_at.min(self.upkeep_at),
        };
        Some(until(next).max(Duration::from_millis(5)))
    }

    fn run_errands(&mut self) {
        while let Some(errand) = self.desk.take() {
            self.run(errand);
        }
    }

    fn run(&mut self, errand: Errand) {
        match errand {
            Errand::Nudge => self.look_again_soon(),
            Errand::Copied(report) => self.hear_of_copies(report),
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
