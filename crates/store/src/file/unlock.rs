//! Getting the data encryption key back without anybody's help: slots are tried in the order of the configuration, and
//! the first that gives the key wins. What failed before it is told, with the slot, its backend and the cause.

use marblerun_sealing::{Sealers, SlotKind};

use super::key::{HostKey, KeyOnDisk, open_slot};
use crate::format::{DekId, Front, KeyEntry, Refusal, Slot, Witness, describe_slot, portable_slots};

/// A data encryption key that was found.
#[derive(Debug)]
pub(super) struct Unlocked {
    pub(super) key: HostKey,
    /// The witness, if its MAC is right.
    pub(super) witness: Option<Witness>,
    /// It stood in the clear, and no sealer in use does that: this way in should be closed.
    pub(super) unprotected: bool,
}

/// A slot that may give the key.
struct Candidate<'a> {
    slot: &'a Slot,
    dek_id: DekId,
    /// Its entry of `sealed_key`, or that of the same key.
    entry: Option<&'a KeyEntry>,
}

impl Unlocked {
    /// Tries the slots of `sealed_key` and those of the header that need nobody.
    pub(super) fn find(sealers: &Sealers, on_disk: &KeyOnDisk, front: &Front) -> Result<Self, Refusal> {
        let mut tried = Vec::new();
        let entries = match on_disk {
            KeyOnDisk::Ours(key) => key.entries.as_slice(),
            KeyOnDisk::Missing => {
                tried.push("there is no sealed_key".to_owned());
                &[]
            }
            KeyOnDisk::Upstream(_) | KeyOnDisk::UpstreamHsm(_) => {
                tried.push("sealed_key is one of upstream's".to_owned());
                &[]
            }
            KeyOnDisk::Unusable(why) => {
                tried.push(why.clone());
                &[]
            }
        };
        let named = front.header.dek_id;
        let (mut problems, mut wrong_key) = (Vec::new(), false);
        for candidate in candidates(sealers, entries, front) {
            match open_slot(sealers, candidate.slot, candidate.dek_id) {
                Ok(dek) if front.accepts(&dek) => {
                    let entry = candidate.entry;
                    let witness = entry.and_then(|entry| entry.verified_witness(&dek)).cloned();
                    let kind = candidate.slot.kind();
                    let is_configured = sealers.iter().any(|sealer| Some(sealer.kind()) == kind);
                    let key = HostKey {
                        dek,
                        dek_id: candidate.dek_id,
                        key_slots: entry.map(|entry| entry.slots.clone()).unwrap_or_default(),
                        header_slots: portable_slots(&front.header),
                        problems,
                    };
                    return Ok(Self { key, witness, unprotected: kind == Some(SlotKind::Plain) && !is_configured });
                }
                Ok(_) => {
                    wrong_key |= candidate.dek_id == named;
                    tried.push("sealed_key holds the key of another file".to_owned());
                }
                Err(why) => {
                    let why = format!("the key slot {} does not open: {why}", describe_slot(candidate.slot));
                    problems.push((candidate.slot.label.clone(), why.clone()));
                    tried.push(why);
                }
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
}

/// Every slot, those of the key that the header names first, and among them in the order of the sealers. The header may
/// have been altered, so the others are tried too: the file tells the right key.
fn candidates<'a>(sealers: &Sealers, entries: &'a [KeyEntry], front: &'a Front) -> Vec<Candidate<'a>> {
    let named = front.header.dek_id;
    let in_key = entries.iter().flat_map(|entry| {
        entry.slots.iter().map(move |slot| Candidate { slot, dek_id: entry.dek_id, entry: Some(entry) })
    });
    let in_header = front.header.slots.iter().filter(|slot| slot.kind() != Some(SlotKind::Recovery));
    let entry = entries.iter().find(|entry| entry.dek_id == named);
    let in_header = in_header.map(|slot| Candidate { slot, dek_id: named, entry });
    let mut candidates: Vec<_> = in_key.chain(in_header).collect();
    let rank = |slot: &Slot| slot.kind().map_or(usize::MAX, |kind| sealers.rank(kind, &slot.label));
    // Stable: what is of the same rank stays in the order of the file.
    candidates.sort_by_key(|candidate| (candidate.dek_id != named, rank(candidate.slot)));
    candidates
}
