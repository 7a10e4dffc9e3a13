//! The recovery of one sealed state, as far as it has come here.

use std::time::{Duration, Instant};

use marblerun_recovery::{Ceremony, Outcome, RecoveryError, RecoverySet, SharedUploads, Upload, replay};
use marblerun_store::{RecoveryMaterial, Store};
use sha2::{Digest as _, Sha256};

use super::others::Union;

/// What several Coordinators collected is forgotten if nobody has added to it for so long.
const UNUSED: Duration = Duration::from_secs(24 * 3600);

/// A ceremony belongs to one sealed state.
pub(super) struct Session {
    name: [u8; 32],
    sets: Vec<RecoverySet>,
    ceremony: Ceremony,
    /// With the others, if there are any.
    shared: Option<SharedUploads>,
    /// When a secret that is kept was last accepted, here or elsewhere.
    used: Option<Instant>,
}

impl Session {
    /// The session of what waits now: the one before if it is about the same state, else a new one. `me` among others, if
    /// there are any. The text says why no secret can help. `None` if nothing waits.
    ///
    /// Reads the sealed state: not for async threads.
    pub(super) fn current(store: &Store, before: Option<Self>, me: Option<[u8; 16]>) -> Option<(Self, Option<String>)> {
        let mut material = store.recovery_material()?;
        let name = name(&material, me.is_some());
        if material.refusal.is_some() {
            // No secret can help. What was collected stays, for the state may be put back.
            let session = before.unwrap_or_else(|| Self::new(name, Vec::new(), me));
            return Some((session, material.refusal.take()));
        }
        let sets = material.sets;
        let session = match before {
            Some(before) if before.name == name => before.unless_expired(Instant::now()),
            Some(Self { shared: Some(mut shared), used, .. }) => {
                let fresh = Ceremony::new(&sets);
                shared.refit(|upload| fresh.place(upload));
                let (ceremony, _) = replay(&sets, &shared.all(), &|candidate| store.opens(candidate));
                Self { name, sets, ceremony, shared: Some(shared), used }
            }
            // Another file was put in place: secrets for the one before say nothing about it.
            Some(_) | None => Self::new(name, sets, me),
        };
        Some((session, None))
    }

    fn new(name: [u8; 32], sets: Vec<RecoverySet>, me: Option<[u8; 16]>) -> Self {
        let ceremony = Ceremony::new(&sets);
        Self { name, sets, ceremony, shared: me.map(SharedUploads::new), used: None }
    }

    /// The others forget at the same time, or a little later; what they tell then has been idle for as long.
    fn unless_expired(self, now: Instant) -> Self {
        match &self.shared {
            Some(shared)
                if !shared.is_empty()
                    && self.used.is_some_and(|used| now.saturating_duration_since(used) >= UNUSED) =>
            {
                tracing::warn!("recovery secrets that were uploaded before are forgotten: the last is a day old");
                let Self { name, sets, mut shared, .. } = self;
                if let Some(shared) = &mut shared {
                    shared.refit(|_| None);
                }
                Self { name, ceremony: Ceremony::new(&sets), sets, shared, used: None }
            }
            _ => self,
        }
    }

    /// Takes a secret that was uploaded here.
    pub(super) fn add(&mut self, store: &Store, upload: Upload) -> Result<Outcome, RecoveryError> {
        let place = self.shared.is_some().then(|| self.ceremony.place(&upload)).flatten();
        if let (Some(shared), Some(place)) = (&mut self.shared, place) {
            shared.note(place, upload.clone());
            self.used = Some(Instant::now());
        }
        self.ceremony.add(upload, &|candidate| store.opens(candidate))
    }

    /// Takes what others accepted. Whether anything was new.
    pub(super) fn merge(&mut self, store: &Store, theirs: &Union) -> bool {
        let Some(shared) = self.shared.as_mut().filter(|_| theirs.header == self.name) else { return false };
        if theirs.idle >= UNUSED {
            return false;
        }
        let ceremony = &self.ceremony;
        if !shared.merge(&theirs.uploads, |upload| ceremony.place(upload)) {
            return false;
        }
        self.used = self.used.max(Instant::now().checked_sub(theirs.idle));
        self.ceremony = replay(&self.sets, &shared.all(), &|candidate| store.opens(candidate)).0;
        true
    }

    /// The root, if all that has been collected completes it.
    pub(super) fn complete(&self, store: &Store) -> Option<Outcome> {
        let shared = self.shared.as_ref()?;
        replay(&self.sets, &shared.all(), &|candidate| store.opens(candidate)).1
    }

    /// What the others are told.
    pub(super) fn union(&self) -> Union {
        Union {
            header: self.name,
            idle: self.used.map(|used| used.elapsed()).unwrap_or_default(),
            finished: false,
            uploads: self.shared.as_ref().map(SharedUploads::all).unwrap_or_default(),
            sessions: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> [u8; 32] {
        self.name
    }

    pub(super) fn ceremony(&self) -> &Ceremony {
        &self.ceremony
    }
}

/// What a ceremony belongs to. Alone, the very file. Among others, what the shares are of: each of their commits is
/// another file, and shares that fit the one fit the next.
pub(super) fn name(material: &RecoveryMaterial, among_others: bool) -> [u8; 32] {
    if !among_others || material.sets.is_empty() {
        return material.file_id;
    }
    let mut hash = Sha256::new();
    for set in &material.sets {
        hash.update((set.scheme as u32).to_be_bytes());
        hash.update(set.threshold.to_be_bytes());
        hash.update(set.epoch);
        for party in &set.parties {
            for part in [party.name.as_bytes(), &party.public_key, party.commitment.as_ref().map_or(&[], |c| &c[..])] {
                hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
                hash.update(part);
            }
        }
        hash.update(u64::try_from(set.unassigned_commitments.len()).unwrap_or(u64::MAX).to_be_bytes());
        set.unassigned_commitments.iter().for_each(|commitment| hash.update(commitment));
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use marblerun_state::Phase;
    use zeroize::Zeroizing;

    use super::*;
    use crate::core::Clock;
    use crate::start::temporary_state;

    /// Nothing is known of the state, so that every secret is kept.
    fn session(me: Option<[u8; 16]>) -> (Store, Session) {
        let store = Store::in_memory(temporary_state(Phase::Recovery, "localhost", &Clock::system()).unwrap());
        let mut session = Session::new([1; 32], Vec::new(), me);
        let upload = Upload { secret: Zeroizing::new(vec![7; 32]), signature: Vec::new() };
        assert!(session.add(&store, upload).is_ok());
        (store, session)
    }

    #[test]
    fn what_several_collected_is_forgotten_after_a_day_and_not_brought_back() {
        let (store, session) = session(Some([2; 16]));
        let session = session.unless_expired(Instant::now() + UNUSED - Duration::from_secs(60));
        let told = session.union();
        assert_eq!(told.uploads.len(), 1);
        let mut session = session.unless_expired(Instant::now() + UNUSED);
        assert!(session.union().uploads.is_empty());
        let late = Union { idle: UNUSED, ..told.clone() };
        assert!(!session.merge(&store, &late));
        assert!(session.merge(&store, &Union { idle: UNUSED - Duration::from_secs(1), ..told }));
        assert!(session.union().idle > Duration::from_secs(3600), "nobody has added to it since");
    }

    #[test]
    fn one_alone_waits_for_its_key_holders_for_ever() {
        let (_, session) = session(None);
        let used = session.used;
        assert_eq!(session.unless_expired(Instant::now() + 9 * UNUSED).used, used);
    }

    #[test]
    fn shares_of_another_state_are_not_taken() {
        let (store, mut session) = session(Some([2; 16]));
        let mut other = session.union();
        other.uploads[0].stamp.count = 99;
        assert!(!session.merge(&store, &Union { header: [9; 32], ..other.clone() }));
        assert!(session.merge(&store, &other));
    }
}
