//! `sealed_key`: host-bound slots and the witness.

use marblerun_sealing::upstream_hsm;
use prost::Message;
use zeroize::Zeroizing;

use super::header::MAX_SLOTS;
use super::limits::{self, Count, exactly};
use super::slot::SlotMessage;
use super::{CounterMark, Dek, DekId, Head, Refusal, Slot, Witness, WitnessRecord, WriteError};

const MAGIC: &[u8; 8] = b"MRSKEY\r\n";
/// Magic, version, reserved, length.
const PREFIX: usize = 16;
/// Two entries of 32 slots with all they may carry stay below it.
const MAX_MESSAGE: usize = 8 << 20;
const MAX_ENTRIES: usize = 2;
const MAX_HEADS: usize = 2;

/// What a `sealed_key` file is.
#[derive(Debug)]
pub enum KeyFile {
    /// Ours.
    Ours(SealedKey),
    /// Upstream, no enclave: the bare data encryption key (16, 24 or 32 bytes).
    UpstreamKey(Zeroizing<Vec<u8>>),
    /// Upstream, in the envelope of an HSM (`HSM_SEALED`).
    UpstreamHsm(Vec<u8>),
    /// Upstream, sealed by what is named: cannot be opened here.
    UpstreamSealed(&'static str),
}

/// Content of our `sealed_key`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealedKey {
    /// One entry; two only while a DEK is being replaced.
    pub entries: Vec<KeyEntry>,
}

/// The slots of one DEK on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// Which DEK.
    pub dek_id: DekId,
    /// Alternatives.
    pub slots: Vec<Slot>,
    /// Written at genesis before `sealed_data` is in place: no trace by itself.
    pub pending: bool,
    /// Absent in Kubernetes, mandatory in the file backend.
    pub witness: Option<WitnessRecord>,
}

impl KeyFile {
    /// Reads any `sealed_key`.
    ///
    /// # Errors
    /// [`Refusal::NoKey`]: the file gives none, because it is damaged, of a newer format, or something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.starts_with(MAGIC) {
            return decode_ours(bytes).map(Self::Ours).map_err(|what| no_key(&format!("sealed_key {what}")));
        }
        if matches!(bytes.len(), 16 | 24 | 32) {
            return Ok(Self::UpstreamKey(Zeroizing::new(bytes.to_vec())));
        }
        if upstream_hsm::is_envelope(bytes) {
            return Ok(Self::UpstreamHsm(bytes.to_vec()));
        }
        if is_enclave_blob(bytes) {
            return Ok(Self::UpstreamSealed("an SGX enclave of the Go Coordinator"));
        }
        Err(no_key("sealed_key is damaged"))
    }
}

impl SealedKey {
    /// All bytes of the file.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, WriteError> {
        WriteError::check("number of keys in sealed_key", self.entries.len() as u64, MAX_ENTRIES as u64)?;
        for entry in &self.entries {
            WriteError::check("number of key slots", entry.slots.len() as u64, MAX_SLOTS as u64)?;
            let heads = entry.witness.as_ref().map_or(0, |witness| witness.claim.heads.len());
            WriteError::check("number of heads", heads as u64, MAX_HEADS as u64)?;
        }
        let message = SealedKeyMessage { entries: self.entries.iter().map(EntryMessage::from).collect() };
        let message = message.encode_to_vec();
        WriteError::check("sealed_key", message.len() as u64, MAX_MESSAGE as u64)?;
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let mut bytes = [MAGIC.as_slice(), &[1, 0, 0, 0], &length.to_le_bytes(), &message].concat();
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// The entry of that DEK.
    #[must_use]
    pub fn entry(&self, dek_id: DekId) -> Option<&KeyEntry> {
        self.entries.iter().find(|entry| entry.dek_id == dek_id)
    }
}

impl KeyEntry {
    /// An entry; makes the MAC of the witness.
    #[must_use]
    pub fn new(dek_id: DekId, slots: Vec<Slot>, pending: bool, witness: Option<Witness>, dek: &Dek) -> Self {
        let witness = witness.map(|claim| WitnessRecord::new(claim, pending, dek, dek_id));
        Self { dek_id, slots, pending, witness }
    }

    /// The witness, if its MAC is right.
    #[must_use]
    pub fn verified_witness(&self, dek: &Dek) -> Option<&Witness> {
        self.witness.as_ref()?.verify(self.pending, dek, self.dek_id)
    }
}

fn no_key(reason: &str) -> Refusal {
    Refusal::NoKey { reason: reason.to_owned() }
}

fn decode_ours(bytes: &[u8]) -> Result<SealedKey, &'static str> {
    let (prefix, rest) = bytes.split_first_chunk::<PREFIX>().ok_or("is cut short")?;
    let [.., v0, v1, r0, r1, n0, n1, n2, n3] = *prefix;
    if [v0, v1, r0, r1] != [1, 0, 0, 0] {
        return Err("has a newer format");
    }
    let length = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
    let (message, crc) = rest.split_last_chunk::<4>().ok_or("is cut short")?;
    if message.len() != length || length > MAX_MESSAGE {
        return Err("has a wrong length");
    }
    let (body, _) = bytes.split_last_chunk::<4>().ok_or("is cut short")?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err("is damaged (checksum)");
    }
    limits::check(
        message,
        &[
            Count { path: &[1], most: MAX_ENTRIES },
            Count { path: &[1, 2], most: MAX_SLOTS },
            Count { path: &[1, 7], most: MAX_HEADS },
        ],
    )?;
    let message = SealedKeyMessage::decode(message).map_err(|_| "is malformed")?;
    let entries = message.entries.into_iter().map(KeyEntry::try_from).collect::<Result<_, _>>()?;
    Ok(SealedKey { entries })
}

/// Upstream's seal blob: key info of one or two SGX key requests, nonce, ciphertext, tag.
fn is_enclave_blob(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return false };
    let length = u32::from_le_bytes(*length) as usize;
    matches!(length, 512 | 1024) && rest.len() > length + 12 + 16
}

#[derive(Clone, PartialEq, Message)]
struct SealedKeyMessage {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<EntryMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct EntryMessage {
    #[prost(bytes = "vec", tag = "1")]
    dek_id: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    slots: Vec<SlotMessage>,
    #[prost(bool, tag = "3")]
    pending: bool,
    #[prost(uint64, tag = "4")]
    incarnation: u64,
    #[prost(bytes = "vec", tag = "5")]
    incarnation_id: Vec<u8>,
    #[prost(uint64, tag = "6")]
    sequence: u64,
    #[prost(bytes = "vec", repeated, tag = "7")]
    heads: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "8")]
    mac: Vec<u8>,
    #[prost(bytes = "vec", tag = "9")]
    counter_id: Vec<u8>,
    #[prost(uint64, tag = "10")]
    counter: u64,
}

impl From<&KeyEntry> for EntryMessage {
    fn from(entry: &KeyEntry) -> Self {
        let mut message = Self {
            dek_id: entry.dek_id.0.to_vec(),
            slots: entry.slots.iter().map(SlotMessage::from).collect(),
            pending: entry.pending,
            ..Self::default()
        };
        if let Some(WitnessRecord { claim, mac }) = &entry.witness {
            message.incarnation = claim.incarnation;
            message.incarnation_id = claim.incarnation_id.to_vec();
            message.sequence = claim.sequence;
            message.heads = claim.heads.iter().map(|head| head.to_vec()).collect();
            message.mac = mac.clone();
            if let Some(CounterMark { id, value }) = &claim.counter {
                message.counter_id = id.to_vec();
                message.counter = *value;
            }
        }
        message
    }
}

impl TryFrom<EntryMessage> for KeyEntry {
    type Error = &'static str;

    fn try_from(message: EntryMessage) -> Result<Self, &'static str> {
        let EntryMessage { dek_id, slots, pending, .. } = message;
        let EntryMessage { incarnation, incarnation_id, sequence, heads, mac, counter_id, counter: value, .. } =
            message;
        let witness = if incarnation_id.is_empty() && mac.is_empty() {
            None
        } else {
            let incarnation_id = exactly(&incarnation_id, "has a malformed witness")?;
            let head = |bytes: &Vec<u8>| exactly::<{ size_of::<Head>() }>(bytes, "has a malformed witness");
            let heads = heads.iter().map(head).collect::<Result<_, _>>()?;
            let counter = match (counter_id.as_slice(), value) {
                ([], 0) => None,
                (id, value) => Some(CounterMark { id: exactly(id, "has a malformed witness")?, value }),
            };
            Some(WitnessRecord { claim: Witness { incarnation, incarnation_id, sequence, heads, counter }, mac })
        };
        Ok(Self {
            dek_id: DekId(exactly(&dek_id, "has a malformed key id")?),
            slots: slots.into_iter().map(Slot::try_from).collect::<Result<_, _>>()?,
            pending,
            witness,
        })
    }
}

#[cfg(test)]
#[path = "sealed_key_tests.rs"]
mod tests;
