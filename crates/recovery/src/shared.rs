//! What several Coordinators in recovery mode hold together: the accepted uploads, and the keys of their sessions.
//!
//! Both are sets that are merged by union, so it does not matter who tells whom what, how often, and in which order:
//! instances that have heard the same hold the same. There is no owner, no lock and nothing to clean up.
//!
//! - Uploads: one belongs to a [`Place`], of which its ceremony decides alone, by the upload and the header of the sealed
//!   state. A later stamp for the same upload counts. Of each class the ones with the newest stamps are kept, so the set is
//!   bounded by the policy, and junk, which has no place, changes nothing.
//! - Sessions: the [`SharedSessions::MOST`] with the lowest ids are kept. The lowest is the one that is shown to clients; the keys of all
//!   decrypt.
//!
//! A ceremony is what follows from the uploads taken in the order of their stamps ([`replay`]).

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::{Ceremony, Outcome, RecoverySet, Upload};

/// Where an upload stands among those that a ceremony keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What it competes for room with.
    pub class: [u8; 32],
    /// What makes it the same upload again.
    pub key: [u8; 32],
    /// How many of its class are kept.
    pub most: usize,
}

/// When an upload was accepted: a count that is higher than all that the instance had seen, and which instance it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Logical time.
    pub count: u64,
    /// The instance.
    pub by: [u8; 16],
}

/// An accepted upload.
#[derive(Clone)]
pub struct Stamped {
    /// When.
    pub stamp: Stamp,
    /// What.
    pub upload: Upload,
}

/// The accepted uploads that one instance knows of.
pub struct SharedUploads {
    by: [u8; 16],
    count: u64,
    kept: BTreeMap<[u8; 32], Kept>,
}

struct Kept {
    place: Place,
    stamped: Stamped,
}

/// What one instance offers its clients while it recovers. The bytes are opaque here; empty ones are not known yet.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKeys {
    /// Random.
    pub id: [u8; 16],
    /// The private key that secrets may be encrypted to.
    pub decryption_key: Zeroizing<Vec<u8>>,
    /// The temporary certificate authority.
    pub authority: Zeroizing<Vec<u8>>,
}

/// The sessions that one instance knows of.
#[derive(Default)]
pub struct SharedSessions {
    kept: BTreeMap<[u8; 16], SessionKeys>,
}

impl SharedUploads {
    /// More uploads than any policy allows are not looked at in one merge.
    pub const MOST: usize = 4096;

    /// None yet. `by` is the instance that accepts.
    #[must_use]
    pub fn new(by: [u8; 16]) -> Self {
        Self { by, count: 0, kept: BTreeMap::new() }
    }

    /// Notes an upload that was accepted here.
    pub fn note(&mut self, place: Place, upload: Upload) {
        self.count = self.count.saturating_add(1);
        let stamp = Stamp { count: self.count, by: self.by };
        self.keep(place, Stamped { stamp, upload });
    }

    /// Takes those of another instance that have a place here. Whether anything was new.
    pub fn merge(&mut self, others: &[Stamped], place: impl Fn(&Upload) -> Option<Place>) -> bool {
        let mut changed = false;
        for other in others.iter().take(Self::MOST) {
            self.count = self.count.max(other.stamp.count);
            if self.kept.values().any(|kept| kept.stamped.stamp == other.stamp) {
                continue;
            }
            if let Some(place) = place(&other.upload) {
                changed |= self.keep(place, other.clone());
            }
        }
        changed
    }

    /// Judges all anew: the sealed state is another one, and what does not fit it is forgotten.
    pub fn refit(&mut self, place: impl Fn(&Upload) -> Option<Place>) {
        for Kept { stamped, .. } in std::mem::take(&mut self.kept).into_values() {
            if let Some(place) = place(&stamped.upload) {
                self.keep(place, stamped);
            }
        }
    }

    /// All, in the order of their stamps.
    #[must_use]
    pub fn all(&self) -> Vec<Stamped> {
        let mut all: Vec<Stamped> = self.kept.values().map(|kept| kept.stamped.clone()).collect();
        all.sort_by_key(|stamped| stamped.stamp);
        all
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether it is kept, and not known before.
    fn keep(&mut self, place: Place, stamped: Stamped) -> bool {
        let stamp = stamped.stamp;
        if self.kept.get(&place.key).is_some_and(|known| known.stamped.stamp >= stamp) {
            return false;
        }
        self.kept.insert(place.key, Kept { place, stamped });
        let class = |kept: &&Kept| kept.place.class == place.class;
        while self.kept.values().filter(class).count() > place.most {
            let oldest = self.kept.values().filter(class).min_by_key(|kept| kept.stamped.stamp);
            let Some(key) = oldest.map(|kept| kept.place.key) else { break };
            self.kept.remove(&key);
        }
        self.kept.get(&place.key).is_some_and(|kept| kept.stamped.stamp == stamp)
    }
}

impl SharedSessions {
    /// More are not kept.
    pub const MOST: usize = 8;

    /// Adds one, or what was not known of it. Whether anything was new.
    pub fn merge(&mut self, session: SessionKeys) -> bool {
        let known = self.kept.get(&session.id);
        // An honest instance adds to what it said and never changes it; of two contradictions all keep the same.
        let merged = SessionKeys {
            id: session.id,
            decryption_key: larger(known.map(|known| &known.decryption_key), session.decryption_key),
            authority: larger(known.map(|known| &known.authority), session.authority),
        };
        if known == Some(&merged) {
            return false;
        }
        let id = merged.id;
        self.kept.insert(id, merged);
        while self.kept.len() > Self::MOST {
            self.kept.pop_last();
        }
        self.kept.contains_key(&id)
    }

    /// The one that is shown to clients.
    #[must_use]
    pub fn first(&self) -> Option<&SessionKeys> {
        self.kept.values().next()
    }

    /// All, lowest id first.
    pub fn iter(&self) -> impl Iterator<Item = &SessionKeys> {
        self.kept.values()
    }
}

fn larger(known: Option<&Zeroizing<Vec<u8>>>, new: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    known.filter(|known| ***known > *new).cloned().unwrap_or(new)
}

/// The ceremony that follows from uploads in their order, and whether they complete the root.
#[must_use]
pub fn replay(sets: &[RecoverySet], uploads: &[Stamped], opens: &dyn Fn(&[u8]) -> bool) -> (Ceremony, Option<Outcome>) {
    let mut ceremony = Ceremony::new(sets);
    let mut complete = None;
    for Stamped { upload, .. } in uploads {
        // One that is refused had been accepted by somebody who held less; it changes nothing.
        if let Ok(outcome @ Outcome::Complete { .. }) = ceremony.add(upload.clone(), opens) {
            complete = Some(outcome);
        }
    }
    (ceremony, complete)
}

#[cfg(test)]
mod tests;
