//! `sealed_key`: the slots by which this host gets the data encryption key back, and the witness of the
//! newest state it vouches for. Host-bound slots stand here and never in `sealed_data`, so that a backup
//! never carries what opens it by itself on this host.

use std::io;

use marblerun_sealing::{KeySealer, Plain, SealMode, SlotKind};
use marblerun_state::State;
use zeroize::Zeroizing;

use super::archive::sync_directory;
use super::names::NEW_KEY;
use crate::disk::{Access, FileSystem, read_all, write_all};
use crate::format::{
    Dek, DekId, Front, Head, Header, KeyEntry, KeyFile, Refusal, SEALED_KEY, SealedKey, Slot, Witness, describe_slot,
    portable_slots,
};

/// More than the largest `sealed_key` the format allows.
const LIMIT: usize = 8 << 20;

/// The data encryption key in force and the slots that give it back on this host.
#[derive(Debug, Clone)]
pub(super) struct HostKey {
    pub(super) dek: Dek,
    pub(super) dek_id: DekId,
    /// For `sealed_key`.
    key_slots: Vec<Slot>,
    /// For the header of `sealed_data` (kinds that may travel with a backup).
    pub(super) header_slots: Vec<Slot>,
}

impl HostKey {
    /// A new key with a new slot.
    pub(super) fn generate(sealer: &dyn KeySealer, mode: SealMode) -> Result<Self, String> {
        let dek = Dek::generate().map_err(|error| error.to_string())?;
        let dek_id = DekId::generate().map_err(|error| error.to_string())?;
        Self::wrap(sealer, mode, dek, dek_id)
    }

    /// A known key with a new slot.
    fn wrap(sealer: &dyn KeySealer, mode: SealMode, dek: Dek, dek_id: DekId) -> Result<Self, String> {
        let new = sealer.new_slot(mode).map_err(|error| error.to_string())?;
        let slot = Slot::wrap(sealer.kind(), &new.secret, &dek, dek_id, sealer.name(), &new.params);
        let slots = vec![slot.map_err(|error| error.to_string())?];
        let (header_slots, key_slots) =
            if sealer.kind().is_portable() { (slots, Vec::new()) } else { (Vec::new(), slots) };
        Ok(Self { dek, dek_id, key_slots, header_slots })
    }

    /// What stands in `sealed_key` for this key.
    pub(super) fn entry(&self, pending: bool, witness: Witness) -> KeyEntry {
        KeyEntry::new(self.dek_id, self.key_slots.clone(), pending, Some(witness), &self.dek)
    }

    /// Host-bound slots, for people.
    pub(super) fn describe(&self) -> impl Iterator<Item = String> + '_ {
        self.key_slots.iter().chain(&self.header_slots).map(describe_slot)
    }
}

/// The statement "this host has seen that state".
pub(super) fn witness(state: &State, sequence: u64, heads: Vec<Head>) -> Witness {
    let lineage = state.lineage();
    Witness { incarnation: lineage.incarnation, incarnation_id: lineage.incarnation_id, sequence, heads }
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

/// A data encryption key that was found without anybody's help.
#[derive(Debug)]
pub(super) struct Unlocked {
    pub(super) key: HostKey,
    /// The witness, if its MAC is right.
    pub(super) witness: Option<Witness>,
    /// The slot found is not of the sealer in use: one of its own should be made.
    rewrap: bool,
}

impl Unlocked {
    /// Tries the slots of `sealed_key`, then those of the header that need nobody.
    pub(super) fn find(sealer: &dyn KeySealer, on_disk: &KeyOnDisk, front: &Front) -> Result<Self, Refusal> {
        let mut tried = Vec::new();
        let entries = match on_disk {
            KeyOnDisk::Ours(key) => key.entries.as_slice(),
            KeyOnDisk::Missing => {
                tried.push("there is no sealed_key".to_owned());
                &[]
            }
            KeyOnDisk::Upstream(_) => {
                tried.push("sealed_key is one of upstream's".to_owned());
                &[]
            }
            KeyOnDisk::Unusable(why) => {
                tried.push(why.clone());
                &[]
            }
        };
        // The entry that the header names comes first. The header may have been altered, so the others are tried
        // too: `accepts` tells the right key.
        let named = |entry: &&KeyEntry| entry.dek_id == front.header.dek_id;
        let mut wrong_key = false;
        for entry in entries.iter().filter(named).chain(entries.iter().filter(|entry| !named(entry))) {
            for slot in &entry.slots {
                match open_slot(sealer, slot, entry.dek_id) {
                    Ok(dek) if front.accepts(&dek) => {
                        let witness = entry.verified_witness(&dek).cloned();
                        let header_slots = portable(&front.header);
                        let rewrap = slot.kind() != Some(sealer.kind());
                        let key = HostKey { dek, dek_id: entry.dek_id, key_slots: entry.slots.clone(), header_slots };
                        return Ok(Self { key, witness, rewrap });
                    }
                    Ok(_) => {
                        wrong_key |= named(&entry);
                        tried.push("sealed_key holds the key of another file".to_owned());
                    }
                    Err(why) => tried.push(why),
                }
            }
        }
        for slot in front.header.slots.iter().filter(|slot| slot.kind() == Some(sealer.kind())) {
            match open_slot(sealer, slot, front.header.dek_id) {
                Ok(dek) if front.accepts(&dek) => {
                    let entry = entries.iter().find(named);
                    let witness = entry.and_then(|entry| entry.verified_witness(&dek)).cloned();
                    let key_slots = entry.map(|entry| entry.slots.clone()).unwrap_or_default();
                    let key =
                        HostKey { dek, dek_id: front.header.dek_id, key_slots, header_slots: portable(&front.header) };
                    return Ok(Self { key, witness, rewrap: false });
                }
                Ok(_) => wrong_key = true,
                Err(why) => tried.push(why),
            }
        }
        if wrong_key {
            return Err(Refusal::WrongKey);
        }
        if tried.is_empty() {
            tried.push("sealed_key has no slot for it".to_owned());
        }
        Err(Refusal::NoKey { reason: tried.join("; ") })
    }

    /// Makes a slot of the sealer in use where the one found is of another kind. Best effort: the one found works.
    pub(super) fn into_key(self, sealer: &dyn KeySealer, mode: SealMode) -> HostKey {
        if !self.rewrap {
            return self.key;
        }
        match HostKey::wrap(sealer, mode, self.key.dek.clone(), self.key.dek_id) {
            Ok(key) => HostKey { header_slots: self.key.header_slots, ..key },
            Err(error) => {
                tracing::warn!(error, "no slot of the configured kind could be made; the one found is kept");
                self.key
            }
        }
    }
}

/// Slots that a header carries besides those of the recovery keys.
pub(super) fn portable(header: &Header) -> Vec<Slot> {
    portable_slots(header)
}

fn open_slot(sealer: &dyn KeySealer, slot: &Slot, dek_id: DekId) -> Result<Dek, String> {
    // Simulation opens an unprotected slot whatever else it is configured with; real hardware opens its own kind only.
    let plain = Plain;
    let sealer: &dyn KeySealer = match slot.kind() {
        Some(SlotKind::Plain) if sealer.simulated() => &plain,
        Some(kind) if kind == sealer.kind() => sealer,
        _ => return Err(format!("a slot is of another kind ({})", describe_slot(slot))),
    };
    let secret = sealer.slot_secret(&slot.params).map_err(|error| error.to_string())?;
    slot.unwrap(&secret, dek_id).ok_or_else(|| format!("the key of this host does not fit ({})", sealer.name()))
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
