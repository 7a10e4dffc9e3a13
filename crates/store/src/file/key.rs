//! `sealed_key`: the slots by which this host gets the data encryption key back, and the witness of the
//! newest state it vouches for. Host-bound slots stand here and never in `sealed_data`, so that a backup
//! never carries what opens it by itself on this host.

use std::io;
use std::sync::Arc;

use marblerun_sealing::{KeySealer, Plain, SealMode, Sealers, SlotKind};
use marblerun_state::State;
use zeroize::Zeroizing;

use super::archive::sync_directory;
use super::names::NEW_KEY;
use crate::disk::{Access, FileSystem, Readable, read_all, write_all};
use crate::format::{
    CounterMark, Dek, DekId, Head, KeyEntry, KeyFile, Layout, Refusal, SEALED_KEY, SealedKey, Slot, Witness,
    describe_slot, portable_slots, read_front,
};

/// More than the largest `sealed_key` the format allows.
const LIMIT: usize = 8 << 20;

/// The data encryption key in force and the slots that give it back on this host.
#[derive(Debug, Clone)]
pub(crate) struct HostKey {
    pub(super) dek: Dek,
    pub(super) dek_id: DekId,
    /// For `sealed_key`.
    pub(super) key_slots: Vec<Slot>,
    /// For the header of `sealed_data` (kinds that may travel with a backup).
    pub(super) header_slots: Vec<Slot>,
    /// What an operator should know about the slots: label or backend, and what is wrong.
    pub(super) problems: Vec<(String, String)>,
}

impl HostKey {
    /// A new key with a slot of each of these sealers. One that makes none is told as a problem, unless all are.
    pub(super) fn generate<'a>(
        sealers: impl IntoIterator<Item = &'a Arc<dyn KeySealer>>,
        mode: SealMode,
    ) -> Result<Self, String> {
        let dek = Dek::generate().map_err(|error| error.to_string())?;
        let dek_id = DekId::generate().map_err(|error| error.to_string())?;
        let mut key = Self { dek, dek_id, key_slots: Vec::new(), header_slots: Vec::new(), problems: Vec::new() };
        let mut asked = 0;
        for sealer in sealers {
            asked += 1;
            match key.make_slot(&**sealer, mode) {
                Ok(slot) => key.push(slot),
                Err(why) => key.problems.push((sealer.name().to_owned(), no_slot(sealer.name(), &why))),
            }
        }
        if asked > 0 && key.slots().next().is_none() {
            return Err(key.problems.into_iter().map(|(_, why)| why).collect::<Vec<_>>().join("; "));
        }
        Ok(key)
    }

    /// A slot of that sealer for this key. It is not taken on the sealer's word: the secret is asked for once more.
    pub(super) fn make_slot(&self, sealer: &dyn KeySealer, mode: SealMode) -> Result<Slot, String> {
        let new = sealer.new_slot(mode).map_err(|error| error.to_string())?;
        let slot = Slot::wrap(sealer.kind(), &new.secret, &self.dek, self.dek_id, sealer.name(), &new.params)
            .map_err(|error| error.to_string())?;
        let again = sealer.slot_secret(&slot.params).map_err(|error| error.to_string())?;
        match slot.unwrap(&again, self.dek_id) {
            Some(_) => Ok(slot),
            None => Err("it does not give the same secret twice".to_owned()),
        }
    }

    /// Takes a slot along.
    pub(super) fn push(&mut self, slot: Slot) {
        let portable = slot.kind().is_some_and(SlotKind::is_portable);
        if portable { self.header_slots.push(slot) } else { self.key_slots.push(slot) }
    }

    /// Makes the slots that are missing; one that cannot be made is told as a problem. Answers the names of those made.
    pub(super) fn complete(&mut self, sealers: &Sealers, mode: SealMode) -> Vec<String> {
        let mut made = Vec::new();
        for sealer in sealers.iter() {
            if self.slots().any(|slot| is_of(sealers, &**sealer, slot)) {
                continue;
            }
            match self.make_slot(&**sealer, mode) {
                Ok(slot) => {
                    self.push(slot);
                    made.push(sealer.name().to_owned());
                }
                Err(why) => self.problems.push((sealer.name().to_owned(), no_slot(sealer.name(), &why))),
            }
        }
        made
    }

    /// All slots but those of the recovery keys.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.key_slots.iter().chain(&self.header_slots)
    }

    /// What stands in `sealed_key` for this key.
    pub(super) fn entry(&self, pending: bool, witness: Witness) -> KeyEntry {
        KeyEntry::new(self.dek_id, self.key_slots.clone(), pending, Some(witness), &self.dek)
    }

    /// The slots, for people.
    pub(super) fn describe(&self) -> impl Iterator<Item = String> + '_ {
        self.slots().map(describe_slot)
    }

    /// Reads back what lies on disk: whether a `sealed_data` of that name is one of this key, and it and `sealed_key` have
    /// exactly its slots.
    pub(super) fn verify(&self, fs: &dyn FileSystem, data: &str) -> Result<(), String> {
        let file = fs.open(data, Access::Read).map_err(|error| format!("{data} cannot be read back: {error}"))?;
        let source = Readable::new(&*file).map_err(|error| format!("{data} cannot be read back: {error}"))?;
        let Ok(Layout::Sealed(front)) = read_front(&source) else {
            return Err(format!("{data} cannot be read back"));
        };
        let KeyOnDisk::Ours(on_disk) = KeyOnDisk::read(fs, SEALED_KEY) else {
            return Err("sealed_key cannot be read back".to_owned());
        };
        let same_key = on_disk.entry(self.dek_id).is_some_and(|entry| entry.slots == self.key_slots);
        if front.accepts(&self.dek) && portable_slots(&front.header) == self.header_slots && same_key {
            Ok(())
        } else {
            Err("what was read back are not the key slots that were written".to_owned())
        }
    }
}

/// Whether a slot is one that this sealer would be tried on.
pub(super) fn is_of(sealers: &Sealers, sealer: &dyn KeySealer, slot: &Slot) -> bool {
    let tried = slot.kind().and_then(|kind| sealers.for_slot(kind, &slot.label));
    tried.is_some_and(|tried| tried.name() == sealer.name())
}

/// Opens a slot by the sealer that it is for.
pub(super) fn open_slot(sealers: &Sealers, slot: &Slot, dek_id: DekId) -> Result<Dek, String> {
    let plain = Plain;
    let found = slot.kind().and_then(|kind| sealers.for_slot(kind, &slot.label));
    let sealer: &dyn KeySealer = match (found, slot.kind()) {
        (Some(sealer), _) => sealer,
        // Simulation opens an unprotected slot whatever else it is configured with; real hardware opens its own kinds only.
        (None, Some(SlotKind::Plain)) if sealers.in_simulation() => &plain,
        _ => return Err("no sealing backend for it is configured (MARBLERUN_SEAL)".to_owned()),
    };
    let secret = sealer.slot_secret(&slot.params).map_err(|error| error.to_string())?;
    slot.unwrap(&secret, dek_id).ok_or_else(|| format!("the key of {} does not fit", sealer.name()))
}

fn no_slot(name: &str, why: &str) -> String {
    format!("the sealing backend {name} has no key slot: {why}. When that is put right: marblerun seal slot add {name}")
}

/// The statement "this host has seen that state".
pub(super) fn witness(state: &State, sequence: u64, heads: Vec<Head>, counter: Option<CounterMark>) -> Witness {
    let lineage = state.lineage();
    Witness { incarnation: lineage.incarnation, incarnation_id: lineage.incarnation_id, sequence, heads, counter }
}

/// What lies under the name `sealed_key`.
#[derive(Debug)]
pub(super) enum KeyOnDisk {
    /// Nothing.
    Missing,
    /// Ours.
    Ours(SealedKey),
    /// Upstream's bare key.
    Upstream(Zeroizing<Vec<u8>>),
    /// Upstream's, in the envelope of an HSM.
    UpstreamHsm(Vec<u8>),
    /// Nothing that can be used here, and why.
    Unusable(String),
}

impl KeyOnDisk {
    /// Reads `sealed_key`, or an archive of it.
    pub(super) fn read(fs: &dyn FileSystem, name: &str) -> Self {
        let file = match fs.open(name, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::Missing,
            Err(error) => return Self::Unusable(format!("{name} cannot be read: {error}")),
        };
        let bytes = match read_all(&*file, LIMIT) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) => return Self::Unusable(format!("{name} cannot be read: {error}")),
        };
        match KeyFile::decode(&bytes) {
            Ok(KeyFile::Ours(key)) => Self::Ours(key),
            Ok(KeyFile::UpstreamKey(dek)) => Self::Upstream(dek),
            Ok(KeyFile::UpstreamHsm(envelope)) => Self::UpstreamHsm(envelope),
            Ok(KeyFile::UpstreamSealed(how)) => Self::Unusable(format!("{name} is sealed by {how} of another program")),
            Err(Refusal::NoKey { reason }) => Self::Unusable(reason),
            Err(other) => Self::Unusable(other.to_string()),
        }
    }

    /// Whether all it says is that a genesis was begun.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Self::Ours(key) if !key.entries.is_empty() && key.entries.iter().all(|entry| entry.pending))
    }

    /// The entry of that key, to be kept while it is being replaced.
    pub(super) fn entry_to_keep(self, dek_id: Option<DekId>) -> Option<KeyEntry> {
        let (Self::Ours(key), Some(dek_id)) = (self, dek_id) else { return None };
        key.entries.into_iter().find(|entry| entry.dek_id == dek_id)
    }
}

/// Replaces `sealed_key`; durable on return.
pub(super) fn write(fs: &dyn FileSystem, key: &SealedKey) -> io::Result<()> {
    let bytes = key.encode().map_err(io::Error::other)?;
    remove_if_there(fs, NEW_KEY)?;
    let file = fs.create(NEW_KEY)?;
    write_all(&*file, &bytes, 0)?;
    file.sync_all()?;
    fs.rename(NEW_KEY, SEALED_KEY)?;
    sync_directory(fs)
}

/// Removes a leftover.
pub(super) fn remove_if_there(fs: &dyn FileSystem, name: &str) -> io::Result<()> {
    match fs.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
