//! The header: readable by anyone, decides nothing once the state is open (an exact copy stands inside).
//!
//! It is read before anything is authenticated. So how many slots and parties there are is counted before
//! the message is decoded, and every length is checked.

use marblerun_recovery::{Party, RecoverySet, Scheme};
use marblerun_sealing::SlotKind;
use marblerun_state::Lineage;
use prost::Message;

use super::limits::{self, Count, at_most, exactly};
use super::slot::{MAX_NAME, SlotMessage};
use super::{DekId, Head, Refusal, Slot, WriteError};

/// Most bytes of an encoded header.
pub(super) const MAX_HEADER: usize = 1 << 20;
/// Most key slots.
pub(super) const MAX_SLOTS: usize = 32;
/// Most recovery sets: two only while a rotation waits for confirmation.
const MAX_SETS: usize = 2;
/// Most parties of a recovery set.
const MAX_PARTIES: usize = 255;

/// The header of `sealed_data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Deployment and incarnation.
    pub lineage: Lineage,
    /// Sequence number of the snapshot.
    pub sequence: u64,
    /// Head of the file this one continues; zeros at genesis.
    pub previous_head: Head,
    /// Name of the data encryption key.
    pub dek_id: DekId,
    /// DER.
    pub root_certificate: Vec<u8>,
    /// SHA-256 of the manifest in force at the snapshot; [`Header::NO_MANIFEST`] before there is one, which is
    /// stored only where several Coordinators share the state.
    pub manifest_sha256: [u8; 32],
    /// Time of the commit that made the snapshot's state, Unix milliseconds.
    pub time_ms: i64,
    /// Program and version that wrote it.
    pub writer: String,
    /// Portable slots: recovery, PKCS#11, KMS, passphrase.
    pub slots: Vec<Slot>,
    /// Recovery sets in force; each has its slot.
    pub recovery: Vec<RecoverySet>,
}

impl Header {
    /// Stands for "no manifest yet".
    pub const NO_MANIFEST: [u8; 32] = [0; 32];

    /// Whether the state behind it has a manifest.
    #[must_use]
    pub fn has_manifest(&self) -> bool {
        self.manifest_sha256 != Self::NO_MANIFEST
    }

    /// Encodes as protobuf, within the limits.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`] which limit is passed; [`WriteError::State`] if it would not be read back.
    pub fn encode(&self) -> Result<Vec<u8>, WriteError> {
        let bytes = HeaderMessage::from(self).encode_to_vec();
        WriteError::check("the header", bytes.len() as u64, MAX_HEADER as u64)?;
        // What a reader would refuse must not be written.
        match Self::decode(&bytes) {
            Ok(_) => Ok(bytes),
            Err(Refusal::Damaged { what, .. }) => Err(WriteError::State(what)),
            Err(other) => Err(WriteError::State(other.to_string())),
        }
    }

    /// Decodes and checks lengths and limits.
    ///
    /// # Errors
    /// [`Refusal::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.is_empty() || bytes.len() > MAX_HEADER {
            return Err(malformed("length"));
        }
        limits::check(
            bytes,
            &[
                Count { path: &[11], most: MAX_SLOTS },
                Count { path: &[12], most: MAX_SETS },
                Count { path: &[12, 4], most: MAX_PARTIES },
                Count { path: &[12, 5], most: MAX_PARTIES },
            ],
        )
        .map_err(malformed)?;
        let message = HeaderMessage::decode(bytes).map_err(|_| malformed("encoding"))?;
        Self::try_from(message).map_err(malformed)
    }
}

/// Slots that a header carries besides those of the recovery keys.
pub(crate) fn portable_slots(header: &Header) -> Vec<Slot> {
    header.slots.iter().filter(|slot| slot.kind() != Some(SlotKind::Recovery)).cloned().collect()
}

fn malformed(what: &str) -> Refusal {
    Refusal::damaged(format!("the header is malformed: {what}"))
}

#[derive(Clone, PartialEq, Message)]
struct HeaderMessage {
    #[prost(bytes = "vec", tag = "1")]
    deployment_id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    incarnation: u64,
    #[prost(bytes = "vec", tag = "3")]
    incarnation_id: Vec<u8>,
    #[prost(uint64, tag = "4")]
    sequence: u64,
    #[prost(bytes = "vec", tag = "5")]
    previous_head: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    dek_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    root_certificate: Vec<u8>,
    #[prost(bytes = "vec", tag = "8")]
    manifest_sha256: Vec<u8>,
    #[prost(int64, tag = "9")]
    time_ms: i64,
    #[prost(string, tag = "10")]
    writer: String,
    #[prost(message, repeated, tag = "11")]
    slots: Vec<SlotMessage>,
    #[prost(message, repeated, tag = "12")]
    recovery: Vec<RecoveryMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct RecoveryMessage {
    #[prost(uint32, tag = "1")]
    scheme: u32,
    #[prost(uint32, tag = "2")]
    threshold: u32,
    #[prost(bytes = "vec", tag = "3")]
    epoch: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    parties: Vec<PartyMessage>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    unassigned_commitments: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct PartyMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    commitment: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    encrypted_secret: Vec<u8>,
}

impl From<&Header> for HeaderMessage {
    fn from(header: &Header) -> Self {
        Self {
            deployment_id: header.lineage.deployment_id.to_vec(),
            incarnation: header.lineage.incarnation,
            incarnation_id: header.lineage.incarnation_id.to_vec(),
            sequence: header.sequence,
            previous_head: header.previous_head.to_vec(),
            dek_id: header.dek_id.0.to_vec(),
            root_certificate: header.root_certificate.clone(),
            manifest_sha256: header.manifest_sha256.to_vec(),
            time_ms: header.time_ms,
            writer: header.writer.clone(),
            slots: header.slots.iter().map(SlotMessage::from).collect(),
            recovery: header.recovery.iter().map(RecoveryMessage::from).collect(),
        }
    }
}

impl TryFrom<HeaderMessage> for Header {
    type Error = &'static str;

    fn try_from(message: HeaderMessage) -> Result<Self, &'static str> {
        let slots = message.slots.into_iter().map(Slot::try_from).collect::<Result<Vec<_>, _>>()?;
        // What opens the state on its host alone must never travel with a backup.
        if slots.iter().any(|slot| slot.kind().is_some_and(|kind| !kind.is_portable())) {
            return Err("a key slot that is bound to a host");
        }
        at_most(&message.writer, MAX_NAME, "writer")?;
        Ok(Self {
            lineage: Lineage {
                deployment_id: exactly(&message.deployment_id, "deployment id")?,
                incarnation: message.incarnation,
                incarnation_id: exactly(&message.incarnation_id, "incarnation id")?,
            },
            sequence: message.sequence,
            previous_head: exactly(&message.previous_head, "previous head")?,
            dek_id: DekId(exactly(&message.dek_id, "key id")?),
            root_certificate: message.root_certificate,
            manifest_sha256: exactly(&message.manifest_sha256, "manifest hash")?,
            time_ms: message.time_ms,
            writer: message.writer,
            slots,
            recovery: message.recovery.into_iter().map(recovery_set).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&RecoverySet> for RecoveryMessage {
    fn from(set: &RecoverySet) -> Self {
        Self {
            scheme: set.scheme as u32,
            threshold: set.threshold,
            epoch: set.epoch.to_vec(),
            parties: set.parties.iter().map(PartyMessage::from).collect(),
            unassigned_commitments: set.unassigned_commitments.iter().map(|hash| hash.to_vec()).collect(),
        }
    }
}

impl From<&Party> for PartyMessage {
    fn from(party: &Party) -> Self {
        Self {
            name: party.name.clone(),
            public_key: party.public_key.clone(),
            commitment: party.commitment.map(|hash| hash.to_vec()).unwrap_or_default(),
            encrypted_secret: party.encrypted_secret.clone(),
        }
    }
}

fn recovery_set(message: RecoveryMessage) -> Result<RecoverySet, &'static str> {
    let schemes = [Scheme::Single, Scheme::Xor, Scheme::Shamir];
    let scheme = schemes.into_iter().find(|scheme| *scheme as u32 == message.scheme).ok_or("recovery scheme")?;
    let hash = |bytes: &Vec<u8>| exactly(bytes, "commitment");
    Ok(RecoverySet {
        scheme,
        threshold: message.threshold,
        epoch: exactly(&message.epoch, "epoch")?,
        parties: message.parties.into_iter().map(party).collect::<Result<_, _>>()?,
        unassigned_commitments: message.unassigned_commitments.iter().map(hash).collect::<Result<_, _>>()?,
    })
}

fn party(message: PartyMessage) -> Result<Party, &'static str> {
    at_most(&message.name, MAX_NAME, "name of a party")?;
    let commitment = match message.commitment.as_slice() {
        [] => None,
        bytes => Some(exactly(bytes, "commitment")?),
    };
    let PartyMessage { name, public_key, encrypted_secret, .. } = message;
    Ok(Party { name, public_key, commitment, encrypted_secret })
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
