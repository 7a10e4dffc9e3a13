//! Slots and recovery sets in words, for people.

use marblerun_recovery::{RecoverySet, Scheme};
use marblerun_sealing::SlotKind;

use super::{Front, Slot};

/// Kind and label of a slot.
pub(crate) fn describe_slot(slot: &Slot) -> String {
    describe_kind(slot.kind(), &slot.label)
}

/// A kind and a label.
pub(crate) fn describe_kind(kind: Option<SlotKind>, label: &str) -> String {
    let kind = match kind {
        Some(SlotKind::Recovery) => "recovery",
        Some(SlotKind::Platform) => "platform",
        Some(SlotKind::Tpm) => "TPM",
        Some(SlotKind::Pkcs11) => "PKCS#11",
        Some(SlotKind::Kms) => "KMS",
        Some(SlotKind::Passphrase) => "passphrase",
        Some(SlotKind::Cluster) => "cluster",
        Some(SlotKind::Plain) => "plain (no protection)",
        None => "unknown kind",
    };
    if label.is_empty() { kind.to_owned() } else { format!("{kind}: {label}") }
}

/// Who can recover a state, in words.
pub(crate) fn describe_set(set: &RecoverySet) -> String {
    let names: Vec<_> = set.parties.iter().map(|party| party.name.as_str()).collect();
    let names = if names.is_empty() { "the holders of the recovery keys".to_owned() } else { names.join(", ") };
    match set.scheme {
        Scheme::Single => format!("recovery: {names}"),
        Scheme::Xor => format!("recovery: all of {names}"),
        Scheme::Shamir => format!("recovery: {} of {names}", set.threshold),
    }
}

/// Slots of a header but for those of the recovery keys, and the recovery sets.
pub(crate) fn describe_front(front: &Front) -> Vec<String> {
    let others = front.header.slots.iter().filter(|slot| slot.kind() != Some(SlotKind::Recovery));
    others.map(describe_slot).chain(front.header.recovery.iter().map(describe_set)).collect()
}
