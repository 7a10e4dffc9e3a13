//! The data encryption key in force and its slots: one for each key encryption key of the cluster.

use marblerun_sealing::SlotKind;

use super::{Kek, KekId};
use crate::format::{Dek, DekId, KeyEntry, KeyFile, SealedKey, Slot, WriteError};

/// A shared state's `sealed_key` has at most this many slots.
const MAX_SLOTS: usize = 4;

/// What a state is sealed with.
#[derive(Debug, Clone)]
pub(super) struct KeySet {
    pub(super) dek: Dek,
    pub(super) dek_id: DekId,
    /// For `sealed_key`, newest first.
    pub(super) slots: Vec<Slot>,
    /// For the header: kinds that travel with a backup, but for those of the recovery keys.
    pub(super) portable: Vec<Slot>,
}

impl KeySet {
    /// A new data encryption key, wrapped under these keys.
    pub(super) fn generate(keks: &[&Kek]) -> Result<Self, WriteError> {
        let mut keys =
            Self { dek: Dek::generate()?, dek_id: DekId::generate()?, slots: Vec::new(), portable: Vec::new() };
        for kek in keks.iter().take(MAX_SLOTS) {
            keys.slots.push(keys.slot(kek)?);
        }
        Ok(keys)
    }

    /// With one more slot in front; the oldest goes where there are too many.
    pub(super) fn with(&self, kek: &Kek) -> Result<Self, WriteError> {
        let mut keys = self.clone();
        keys.slots.retain(|slot| kek_of(slot) != Some(kek.id()));
        keys.slots.insert(0, self.slot(kek)?);
        keys.slots.truncate(MAX_SLOTS);
        Ok(keys)
    }

    /// With the slot of that key alone.
    pub(super) fn only(&self, kek: KekId) -> Self {
        let mut keys = self.clone();
        keys.slots.retain(|slot| kek_of(slot) == Some(kek));
        keys
    }

    /// The keys that open it.
    pub(super) fn kek_ids(&self) -> Vec<KekId> {
        self.slots.iter().filter_map(kek_of).collect()
    }

    /// Whether a key opens one of the slots, to this very data encryption key.
    pub(super) fn opens_with(&self, kek: &Kek) -> bool {
        let mut fitting = self.slots.iter().filter(|slot| kek_of(slot) == Some(kek.id()));
        fitting.any(|slot| slot.unwrap(kek.expose(), self.dek_id).is_some_and(|dek| dek.expose() == self.dek.expose()))
    }

    /// The bytes of `sealed_key`.
    pub(super) fn sealed_key(&self) -> Result<Vec<u8>, WriteError> {
        let entry = KeyEntry::new(self.dek_id, self.slots.clone(), false, None, &self.dek);
        SealedKey { entries: vec![entry] }.encode()
    }

    fn slot(&self, kek: &Kek) -> Result<Slot, WriteError> {
        Slot::wrap(SlotKind::Cluster, kek.expose(), &self.dek, self.dek_id, "cluster", &kek.id().0)
    }
}

/// Which key encryption key a slot is for.
pub(super) fn kek_of(slot: &Slot) -> Option<KekId> {
    (slot.kind() == Some(SlotKind::Cluster)).then_some(())?;
    slot.params.as_slice().try_into().ok().map(KekId)
}

/// The key encryption keys that a `sealed_key` has slots for, whatever they give.
pub(super) fn keks_in(sealed_key: Option<&[u8]>) -> Vec<KekId> {
    match sealed_key.map(KeyFile::decode) {
        Some(Ok(KeyFile::Ours(key))) => key.entries.iter().flat_map(|entry| &entry.slots).filter_map(kek_of).collect(),
        _ => Vec::new(),
    }
}

/// What a `sealed_key` in the shared object says of a data encryption key.
#[derive(Debug)]
pub(super) struct SlotsOf {
    pub(super) slots: Vec<Slot>,
    /// `sealed_key` is there, and for another data encryption key, or not to be read.
    pub(super) problem: Option<String>,
}

/// The slots of a data encryption key.
pub(super) fn slots_of(sealed_key: Option<&[u8]>, dek_id: DekId) -> SlotsOf {
    let none = |problem: &str| SlotsOf { slots: Vec::new(), problem: Some(problem.to_owned()) };
    let Some(bytes) = sealed_key else { return none("there is no sealed_key beside it") };
    match KeyFile::decode(bytes) {
        Ok(KeyFile::Ours(key)) => match key.entry(dek_id) {
            Some(entry) => SlotsOf { slots: entry.slots.clone(), problem: None },
            None => none("the sealed_key beside it is for another data encryption key"),
        },
        Ok(KeyFile::UpstreamKey(_) | KeyFile::UpstreamHsm(_) | KeyFile::UpstreamSealed(_)) => {
            none("the sealed_key beside it is upstream's")
        }
        Err(refusal) => none(&refusal.to_string()),
    }
}
