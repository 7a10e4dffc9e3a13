//! A copy of the key encryption key: one named value for each host, key and sealing identity (backend, program), so that
//! no writer overwrites what another start still needs. A backend that all hosts reach is a host of its own: its copy is one
//! for all of them.
//!
//! ```text
//! magic "MRKEK1\r\n" || u32 N || N bytes of clear message || nonce 12 || ciphertext || tag 16
//! ```
//! The key is HKDF(slot secret of the backend); all before the nonce is authenticated with it.

use std::fmt;

use marblerun_sealing::{KeySealer, SealMode, SlotKind};
use marblerun_state::{BootId, CommitId};
use prost::Message;
use zeroize::Zeroizing;

use super::copies::Values;
use super::{Kek, KekId};
use crate::format::{NONCE, Seal, TAG, WriteError, hkdf, sealing_key};

const MAGIC: &[u8; 8] = b"MRKEK1\r\n";
const LABEL: &[u8] = b"marblerun kek entry v1";
/// Longest clear message: parameters of a sealer, and little more.
const MAX_CLEAR: usize = 80 << 10;
const PREFIX: usize = MAGIC.len() + 4;

/// Name of an entry: `<host>.<kek id>.<seal id>` in hex (32.32.16 digits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryName {
    /// As the backend names it ([`KeySealer::host_id`]).
    pub(super) host: [u8; 16],
    pub(super) kek: KekId,
    pub(super) seal: [u8; 8],
}

impl EntryName {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (host, rest) = name.split_once('.')?;
        let (kek, seal) = rest.split_once('.')?;
        let is_lower = |text: &str| !text.bytes().any(|byte| byte.is_ascii_uppercase());
        if !is_lower(name) {
            return None;
        }
        Some(Self { host: exactly(host)?, kek: KekId(exactly(kek)?), seal: exactly(seal)? })
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", hex::encode(self.host), hex::encode(self.kek.0), hex::encode(self.seal))
    }
}

fn exactly<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

/// What anyone can read of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryFacts {
    pub(super) deployment_id: [u8; 16],
    pub(super) made_at_ms: u64,
    /// The state behind it was stored. One that is not confirmed is no trace of a state.
    pub(super) confirmed: bool,
}

/// The newest state that a host has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Number of the life it was in.
    pub(super) incarnation: u64,
    pub(super) sequence: u64,
    pub(super) head: [u8; 32],
    pub(super) boot: BootId,
    pub(super) commit: CommitId,
}

/// What only the host can read of it.
#[derive(Debug, Clone)]
pub(super) struct EntrySecret {
    pub(super) kek: Kek,
    pub(super) seen: Option<Seen>,
}

/// Which backend made an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Maker {
    /// Kind of its slots; `None` if this version does not know it.
    pub(super) kind: Option<SlotKind>,
    /// Its name; empty in entries of versions that did not note it.
    pub(super) label: String,
}

impl Maker {
    /// Who made it, as anyone can read.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let (clear, _, _) = split(bytes)?;
        Some(Self { kind: SlotKind::from_number(clear.kind), label: clear.label })
    }

    /// Whether it is that backend, as far as it says.
    pub(super) fn is(&self, sealer: &dyn KeySealer) -> bool {
        self.kind == Some(sealer.kind()) && (self.label.is_empty() || self.label == sealer.name())
    }

    /// Whether every host that reaches the backend opens what it made.
    pub(super) fn is_portable(&self) -> bool {
        self.kind.is_some_and(SlotKind::is_portable)
    }
}

/// One entry, as anyone can read it.
#[derive(Debug, Clone)]
pub(super) struct Known<'a> {
    pub(super) name: EntryName,
    pub(super) facts: EntryFacts,
    pub(super) maker: Maker,
    pub(super) bytes: &'a [u8],
}

/// What is ours among the named values of the hosts.
pub(super) fn known(values: &Values) -> Vec<Known<'_>> {
    let known = |(text, bytes): (&String, &'_ Vec<u8>)| {
        let name = EntryName::parse(text)?;
        Some((name, read(name, bytes)?, Maker::of(bytes)?))
    };
    let entries = values.iter().filter_map(|value| Some((known(value)?, value.1)));
    entries.map(|((name, facts, maker), bytes)| Known { name, facts, maker, bytes }).collect()
}

/// Seals an entry with that backend.
pub(super) fn seal(
    sealer: &dyn KeySealer,
    mode: SealMode,
    name: EntryName,
    facts: &EntryFacts,
    secret: &EntrySecret,
) -> Result<Vec<u8>, String> {
    seal_labelled(sealer, mode, name, facts, secret, sealer.name())
}

fn seal_labelled(
    sealer: &dyn KeySealer,
    mode: SealMode,
    name: EntryName,
    facts: &EntryFacts,
    secret: &EntrySecret,
    label: &str,
) -> Result<Vec<u8>, String> {
    // A cluster keeps its keys whatever the manifest says of persistence, as upstream does.
    let mode = if mode == SealMode::Disabled { SealMode::UniqueKey } else { mode };
    let slot = sealer.new_slot(mode).map_err(|error| error.to_string())?;
    let clear = ClearMessage {
        deployment_id: facts.deployment_id.to_vec(),
        name: name.to_string(),
        made_at_ms: facts.made_at_ms,
        confirmed: facts.confirmed,
        kind: sealer.kind() as u32,
        params: slot.params,
        label: label.to_owned(),
    };
    let clear = clear.encode_to_vec();
    let length = u32::try_from(clear.len()).ok().filter(|_| clear.len() <= MAX_CLEAR);
    let length = length.ok_or("the parameters of the sealing backend are too long for an entry")?;
    let authenticated = [MAGIC.as_slice(), &length.to_le_bytes(), &clear].concat();
    let mut sealed = Zeroizing::new(SecretMessage::from(secret).encode_to_vec());
    let key = entry_key(&slot.secret).map_err(|error| error.to_string())?;
    let (nonce, tag) = key.seal(&authenticated, &mut sealed).map_err(|error| error.to_string())?;
    Ok([authenticated.as_slice(), &nonce, &sealed, &tag].concat())
}

/// Reads what anyone can; `None` if it is no entry of ours, or stands under another name.
pub(super) fn read(name: EntryName, bytes: &[u8]) -> Option<EntryFacts> {
    let (clear, _, _) = split(bytes)?;
    (clear.name == name.to_string()).then_some(())?;
    Some(EntryFacts {
        deployment_id: clear.deployment_id.as_slice().try_into().ok()?,
        made_at_ms: clear.made_at_ms,
        confirmed: clear.confirmed,
    })
}

/// Opens an own entry.
///
/// # Errors
/// Why not, for the log.
pub(super) fn open(sealer: &dyn KeySealer, name: EntryName, bytes: &[u8]) -> Result<EntrySecret, String> {
    let (clear, authenticated, sealed) = split(bytes).ok_or("it is malformed")?;
    if clear.name != name.to_string() {
        return Err("it belongs under another name".to_owned());
    }
    if SlotKind::from_number(clear.kind) != Some(sealer.kind()) {
        return Err(format!("it was sealed by another kind of backend than {}", sealer.name()));
    }
    let secret = sealer.slot_secret(&clear.params).map_err(|error| error.to_string())?;
    let key = entry_key(&secret).map_err(|error| error.to_string())?;
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or("it is cut short")?;
    let mut sealed = Zeroizing::new(sealed.to_vec());
    let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(*nonce);
    let plain = key
        .open_in_place(nonce, aws_lc_rs::aead::Aad::from(authenticated), &mut sealed)
        .map_err(|_| "it is not authentic")?;
    let message = SecretMessage::decode(&*plain).map_err(|_| "its content is malformed")?;
    let secret = EntrySecret::try_from(&message)?;
    if secret.kek.id() != name.kek {
        return Err("it holds another key than its name says".to_owned());
    }
    Ok(secret)
}

fn entry_key(secret: &[u8]) -> Result<aws_lc_rs::aead::RandomizedNonceKey, WriteError> {
    sealing_key(hkdf(&[], secret, &[LABEL])?.as_ref())
}

/// Clear message, the bytes that are authenticated, and what is sealed.
fn split(bytes: &[u8]) -> Option<(ClearMessage, &[u8], &[u8])> {
    let rest = bytes.strip_prefix(MAGIC.as_slice())?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_CLEAR || rest.len() < length.checked_add(NONCE + TAG)? {
        return None;
    }
    let (clear, sealed) = rest.split_at_checked(length)?;
    let authenticated = bytes.get(..PREFIX + length)?;
    Some((ClearMessage::decode(clear).ok()?, authenticated, sealed))
}

#[derive(Clone, PartialEq, Message)]
struct ClearMessage {
    #[prost(bytes = "vec", tag = "1")]
    deployment_id: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(uint64, tag = "3")]
    made_at_ms: u64,
    #[prost(bool, tag = "4")]
    confirmed: bool,
    #[prost(uint32, tag = "5")]
    kind: u32,
    #[prost(bytes = "vec", tag = "6")]
    params: Vec<u8>,
    /// Not written by versions that sealed with one backend alone; they read over it.
    #[prost(string, tag = "7")]
    label: String,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct SecretMessage {
    #[prost(bytes = "vec", tag = "1")]
    kek: Vec<u8>,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(bytes = "vec", tag = "3")]
    head: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    boot: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    commit: Vec<u8>,
    #[prost(uint64, tag = "6")]
    incarnation: u64,
}

impl Drop for SecretMessage {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.kek);
    }
}

impl From<&EntrySecret> for SecretMessage {
    fn from(secret: &EntrySecret) -> Self {
        let mut message = Self::default();
        message.kek.extend_from_slice(secret.kek.expose());
        if let Some(seen) = &secret.seen {
            message.incarnation = seen.incarnation;
            message.sequence = seen.sequence;
            message.head = seen.head.to_vec();
            message.boot = seen.boot.0.to_vec();
            message.commit = seen.commit.0.to_vec();
        }
        message
    }
}

impl TryFrom<&SecretMessage> for EntrySecret {
    type Error = &'static str;

    fn try_from(message: &SecretMessage) -> Result<Self, &'static str> {
        let malformed = "its content is malformed";
        let kek = Kek::from_slice(&message.kek).ok_or(malformed)?;
        if message.boot.is_empty() {
            return Ok(Self { kek, seen: None });
        }
        Ok(Self {
            kek,
            seen: Some(Seen {
                incarnation: message.incarnation,
                sequence: message.sequence,
                head: message.head.as_slice().try_into().map_err(|_| malformed)?,
                boot: BootId(message.boot.as_slice().try_into().map_err(|_| malformed)?),
                commit: CommitId(message.commit.as_slice().try_into().map_err(|_| malformed)?),
            }),
        })
    }
}

/// As versions sealed that had one backend alone: a name of the backend is nothing to them.
#[cfg(test)]
pub(super) fn seal_without_label(
    sealer: &dyn KeySealer,
    mode: SealMode,
    name: EntryName,
    facts: &EntryFacts,
    secret: &EntrySecret,
) -> Vec<u8> {
    seal_labelled(sealer, mode, name, facts, secret, "").unwrap_or_default()
}

/// What such a version reads: the name, and whether it is confirmed.
#[cfg(test)]
pub(super) fn read_as_before(bytes: &[u8]) -> Option<(String, bool)> {
    #[derive(Clone, PartialEq, Message)]
    struct Before {
        #[prost(bytes = "vec", tag = "1")]
        deployment_id: Vec<u8>,
        #[prost(string, tag = "2")]
        name: String,
        #[prost(uint64, tag = "3")]
        made_at_ms: u64,
        #[prost(bool, tag = "4")]
        confirmed: bool,
        #[prost(uint32, tag = "5")]
        kind: u32,
        #[prost(bytes = "vec", tag = "6")]
        params: Vec<u8>,
    }

    let (_, authenticated, _) = split(bytes)?;
    let before = Before::decode(authenticated.get(PREFIX..)?).ok()?;
    Some((before.name, before.confirmed))
}

#[cfg(test)]
mod tests {
    use marblerun_sealing::HostKeyFile;

    use super::*;

    fn name(kek: &Kek) -> EntryName {
        EntryName { host: [1; 16], kek: kek.id(), seal: [2; 8] }
    }

    fn facts() -> EntryFacts {
        EntryFacts { deployment_id: [3; 16], made_at_ms: 7, confirmed: true }
    }

    #[test]
    fn only_the_host_that_sealed_an_entry_opens_it_and_nobody_can_change_a_bit() {
        let dir = tempfile::tempdir().unwrap();
        let mine = HostKeyFile::new(&dir.path().join("mine"));
        let other = HostKeyFile::new(&dir.path().join("other"));
        other.host_id().unwrap();
        let kek = Kek::generate().unwrap();
        let seen =
            Seen { incarnation: 1, sequence: 5, head: [4; 32], boot: BootId([5; 16]), commit: CommitId([6; 16]) };
        let secret = EntrySecret { kek: kek.clone(), seen: Some(seen) };
        let bytes = seal(&mine, SealMode::ProductKey, name(&kek), &facts(), &secret).unwrap();

        assert_eq!(read(name(&kek), &bytes), Some(facts()));
        let opened = open(&mine, name(&kek), &bytes).unwrap();
        assert_eq!((opened.kek == kek, opened.seen), (true, Some(seen)));
        assert!(open(&other, name(&kek), &bytes).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(open(&mine, name(&kek), &changed).is_err(), "byte {at}");
        }
        for length in 0..bytes.len() {
            assert!(open(&mine, name(&kek), &bytes[..length]).is_err());
        }
        let elsewhere = EntryName { seal: [9; 8], ..name(&kek) };
        assert!(open(&mine, elsewhere, &bytes).is_err() && read(elsewhere, &bytes).is_none());
    }

    #[test]
    fn a_name_is_read_back_and_upstreams_names_are_not_ours() {
        let kek = Kek::generate().unwrap();
        assert_eq!(EntryName::parse(&name(&kek).to_string()), Some(name(&kek)));
        assert_eq!(EntryName::parse(&"0".repeat(32)), None);
        assert_eq!(EntryName::parse(&name(&kek).to_string().to_uppercase()), None);
    }
}
