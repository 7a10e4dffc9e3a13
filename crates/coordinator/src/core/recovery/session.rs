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
    /// When a secret was last accepted, here or elsewhere.
    used: Instant,
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
            Some(before) if before.name == name => before.unless_expired(),
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
        Self { name, sets, ceremony, shared: me.map(SharedUploads::new), used: Instant::now() }
    }

    /// The others forget at the same time, or a little later; what they tell then has been idle for as long.
    fn unless_expired(self) -> Self {
        match &self.shared {
            Some(shared) if !shared.is_empty() && self.used.elapsed() >= UNUSED => {
                tracing::warn!("recovery secrets that were uploaded before are forgotten: the last is a day old");
                let Self { name, sets, mut shared, .. } = self;
                if let Some(shared) = &mut shared {
                    shared.refit(|_| None);
                }
                Self { name, ceremony: Ceremony::new(&sets), sets, shared, used: Instant::now() }
            }
            _ => self,
        }
    }

    /// Takes a secret that was uploaded here.
    pub(super) fn add(&mut self, store: &Store, upload: Upload) -> Result<Outcome, RecoveryError> {
        let place = self.shared.is_some().then(|| self.ceremony.place(&upload)).flatten();
        if let (Some(shared), Some(place)) = (&mut self.shared, place) {
            shared.note(place, upload.clone());
            self.used = Instant::now();
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
        let used = Instant::now().checked_sub(theirs.idle).unwrap_or(self.used);
        self.used = self.used.max(used);
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
            idle: self.used.elapsed(),
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
