//! Records: a header, then chunks of at most 1 MiB plaintext, each sealed and checksummed.
//!
//! The record header, the head of the record before, the index and the length of a chunk are authenticated with
//! it: a record or chunk cannot be moved, dropped, doubled or grafted from another copy. Checksums stand
//! outside the encryption, so that damage can be told from a wrong key, and found without any key.

use std::io::Write;

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

use super::items::{MAX_ITEM, length_prefix};
use super::keys::{NONCE, Seal, TAG};
use super::{Head, MAX_DELTA, MAX_STATE, WriteError};

/// Length of a record header.
pub(super) const RECORD_HEADER: usize = 32;
/// Plaintext bytes of every chunk but the last.
pub(super) const CHUNK: usize = 1 << 20;
/// Length and nonce before the ciphertext.
pub(super) const CHUNK_HEAD: usize = 4 + NONCE;
/// What a chunk adds to its plaintext.
pub(super) const CHUNK_OVERHEAD: usize = CHUNK_HEAD + TAG + 4;
/// In the length of a chunk: the last one of its record.
pub(super) const LAST_CHUNK: u32 = 1 << 31;
/// First bytes of a record.
pub(super) const RECORD_MAGIC: [u8; 4] = *b"MRR1";
/// Length of what every record ends with: tag and checksum of its last chunk.
pub(super) const RECORD_END: usize = TAG + 4;

/// One sealed delta, ready to be written at the end of a file.
#[derive(Debug, Clone)]
pub struct SealedRecord {
    /// All bytes of the record.
    pub bytes: Vec<u8>,
    /// Sequence number after it.
    pub sequence: u64,
    /// Head after it.
    pub head: Head,
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The header and all changes that build the state. First record of a file, and the only one of its kind.
    Snapshot = 1,
    /// The changes of one group commit.
    Delta = 2,
}

impl Kind {
    /// Most plaintext bytes.
    pub(super) fn limit(self) -> u64 {
        match self {
            Self::Snapshot => MAX_STATE,
            Self::Delta => MAX_DELTA,
        }
    }
}

/// A record header whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    /// `None`: a kind this version does not know, or reserved bytes are set.
    pub kind: Option<Kind>,
    pub sequence: u64,
    pub time_ms: u64,
    /// As it stands in the file.
    pub bytes: [u8; RECORD_HEADER],
}

impl RecordHeader {
    pub(super) fn new(kind: Kind, sequence: u64, time_ms: u64) -> Self {
        let mut bytes = [0; RECORD_HEADER];
        let mut fields = RECORD_MAGIC
            .into_iter()
            .chain([kind as u8, 0, 0, 0])
            .chain(sequence.to_le_bytes())
            .chain(time_ms.to_le_bytes())
            .chain([0; 4]);
        let (body, crc) = bytes.split_at_mut(RECORD_HEADER - 4);
        body.fill_with(|| fields.next().unwrap_or_default());
        crc.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        Self { kind: Some(kind), sequence, time_ms, bytes }
    }

    /// `None` if this is not a record header (magic, checksum).
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; RECORD_HEADER] = bytes.try_into().ok()?;
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if !body.starts_with(&RECORD_MAGIC) || crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let (sequence, time_ms) = (number(8)?, number(16)?);
        let known = [Kind::Snapshot, Kind::Delta].into_iter();
        // Comparing with what we would write also refuses reserved bytes that are set.
        let kind = known.into_iter().find(|kind| Self::new(*kind, sequence, time_ms).bytes == bytes);
        Some(Self { kind, sequence, time_ms, bytes })
    }
}

/// What is authenticated with a chunk.
pub(super) fn associated_data(prev: &Head, header: &[u8; RECORD_HEADER], index: u32, length: u32) -> Vec<u8> {
    [prev.as_slice(), header, &index.to_le_bytes(), &length.to_le_bytes()].concat()
}

/// Head after a record: over the head before it, its header, and the tags of its chunks.
pub(super) fn head_after(prev: &Head, header: &[u8; RECORD_HEADER], tags: &[u8]) -> Head {
    let mut context = Context::new(&SHA256);
    for part in [b"marblerun sealed v1 head".as_slice(), prev, header, tags] {
        context.update(part);
    }
    let mut head = Head::default();
    head.copy_from_slice(context.finish().as_ref());
    head
}

/// Seals one record as a stream, from items to a sink.
pub(super) struct RecordWriter<'a, K, W> {
    key: &'a K,
    sink: W,
    prev: Head,
    header: RecordHeader,
    limit: u64,
    /// [`CHUNK_HEAD`] bytes of room, then the plaintext of the chunk that is being filled.
    buffer: Zeroizing<Vec<u8>>,
    plaintext: u64,
    written: u64,
    tags: Vec<u8>,
}

/// A record that was written.
#[derive(Debug)]
pub(super) struct Written {
    /// Bytes of the record.
    pub length: u64,
    /// Head after it.
    pub head: Head,
    /// Its last bytes.
    pub last: [u8; RECORD_END],
}

impl<'a, K: Seal, W: Write> RecordWriter<'a, K, W> {
    /// Writes the record header. `prev`: zeros for the snapshot, else the head before.
    pub(super) fn new(key: &'a K, mut sink: W, header: RecordHeader, prev: Head) -> Result<Self, WriteError> {
        sink.write_all(&header.bytes)?;
        let limit = header.kind.map_or(0, Kind::limit);
        let buffer = Zeroizing::new(vec![0; CHUNK_HEAD]);
        let written = RECORD_HEADER as u64;
        Ok(Self { key, sink, prev, header, limit, buffer, plaintext: 0, written, tags: Vec::new() })
    }

    /// Adds one item.
    pub(super) fn item(&mut self, item: &[u8]) -> Result<(), WriteError> {
        WriteError::check("a change", item.len() as u64, MAX_ITEM as u64)?;
        let (prefix, used) = length_prefix(item.len());
        self.bytes(prefix.get(..used).unwrap_or_default())?;
        self.bytes(item)
    }

    /// Adds plaintext.
    pub(super) fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        self.plaintext += bytes.len() as u64;
        WriteError::check("a record", self.plaintext, self.limit)?;
        while !bytes.is_empty() {
            let room = CHUNK_HEAD + CHUNK - self.buffer.len();
            if room == 0 {
                self.seal_chunk(0)?;
                continue;
            }
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.reserve(now.len());
            self.buffer.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Seals the last chunk. `head_prev` is what the head builds on: the head of the file this one continues for a
    /// snapshot, else the head before.
    pub(super) fn finish(mut self, head_prev: &Head) -> Result<Written, WriteError> {
        if self.plaintext == 0 {
            return Err(WriteError::State("a record needs at least one change".into()));
        }
        let last = self.seal_chunk(LAST_CHUNK)?;
        Ok(Written { length: self.written, head: head_after(head_prev, &self.header.bytes, &self.tags), last })
    }

    fn seal_chunk(&mut self, flag: u32) -> Result<[u8; RECORD_END], WriteError> {
        let index = u32::try_from(self.tags.len() / TAG).unwrap_or(u32::MAX);
        let (room, plaintext) = self.buffer.split_at_mut(CHUNK_HEAD);
        let length = u32::try_from(plaintext.len()).unwrap_or(u32::MAX) | flag;
        let aad = associated_data(&self.prev, &self.header.bytes, index, length);
        let (nonce, tag) = self.key.seal(&aad, plaintext)?;
        let mut chunk_head = length.to_le_bytes().into_iter().chain(nonce);
        room.fill_with(|| chunk_head.next().unwrap_or_default());
        self.tags.extend_from_slice(&tag);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&self.buffer), &tag).to_le_bytes();
        let mut last = tag.into_iter().chain(crc);
        let last = std::array::from_fn(|_| last.next().unwrap_or_default());
        self.sink.write_all(&self.buffer)?;
        self.sink.write_all(&last)?;
        self.written += (self.buffer.len() + RECORD_END) as u64;
        self.buffer.truncate(CHUNK_HEAD);
        Ok(last)
    }

    /// Makes room by moving to a larger buffer and wiping the old one, which growing in place would not.
    fn reserve(&mut self, more: usize) {
        let needed = self.buffer.len() + more;
        if needed > self.buffer.capacity() {
            let capacity = needed.next_power_of_two().clamp(1024, CHUNK_HEAD + CHUNK);
            let mut larger = Zeroizing::new(Vec::with_capacity(capacity.max(needed)));
            larger.extend_from_slice(&self.buffer);
            self.buffer = larger;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::{Dek, FileId, FileKeys};
    use super::super::vectors::{FixedNonce, counting};
    use super::*;

    #[test]
    fn a_delta_is_that_of_the_vectors() {
        let file_key = hex::decode("0fbf97e2ea926d957009196c79a45d4ed3a0d39a6705188989714421fde2b9e7").unwrap();
        let key = FixedNonce::new(&file_key, counting(0x40));
        let mut bytes = Vec::new();
        let header = RecordHeader::new(Kind::Delta, 7, 1_700_000_000_000);
        let mut writer = RecordWriter::new(&key, &mut bytes, header, [0; 32]).unwrap();
        writer.bytes(b"hello").unwrap();
        let written = writer.finish(&[0; 32]).unwrap();
        assert_eq!(
            hex::encode(&bytes),
            "4d5252310200000007000000000000000068e5cf8b01000000000000b1a99d7905000080404142434445464748494a4b\
             2c16dac4dd4ae394df088fb524a559ca1b3eef7a19beb1357b"
        );
        assert_eq!(hex::encode(written.head), "31b46fd51b5dee77d490e58abbc68d119c5d1daa796a270b8d313199d909a5b7");
        assert_eq!(written.length, bytes.len() as u64);
        assert!(bytes.ends_with(&written.last));
    }

    #[test]
    fn a_record_header_with_any_changed_byte_is_none() {
        let header = RecordHeader::new(Kind::Snapshot, 9, 1);
        assert_eq!(RecordHeader::decode(&header.bytes), Some(header));
        for i in 0..RECORD_HEADER {
            let mut bytes = header.bytes;
            bytes[i] ^= 0x10;
            assert_eq!(RecordHeader::decode(&bytes), None, "byte {i}");
        }
    }

    #[test]
    fn a_record_header_of_an_unknown_kind_or_with_reserved_bytes_set_has_no_kind() {
        for (at, value) in [(4, 3), (5, 1), (7, 1), (24, 1), (27, 9)] {
            let mut bytes = RecordHeader::new(Kind::Delta, 9, 1).bytes;
            bytes[at] = value;
            let crc = crc32c::crc32c(&bytes[..28]);
            bytes[28..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(RecordHeader::decode(&bytes).unwrap().kind, None);
        }
    }

    #[test]
    fn chunks_hold_exactly_a_mebibyte_but_the_last_which_is_never_empty() {
        let keys = FileKeys::derive(&Dek::generate().unwrap(), FileId::generate().unwrap()).unwrap();
        for (plaintext, chunks) in [(1, 1), (CHUNK - 1, 1), (CHUNK, 1), (CHUNK + 1, 2), (2 * CHUNK, 2)] {
            let mut bytes = Vec::new();
            let mut writer =
                RecordWriter::new(&keys, &mut bytes, RecordHeader::new(Kind::Delta, 1, 1), [0; 32]).unwrap();
            for part in vec![5; plaintext].chunks(300_000) {
                writer.bytes(part).unwrap();
            }
            writer.finish(&[0; 32]).unwrap();
            assert_eq!(bytes.len(), RECORD_HEADER + plaintext + chunks * CHUNK_OVERHEAD);
        }
    }

    #[test]
    fn an_empty_record_and_one_above_its_limit_are_refused() {
        let keys = FileKeys::derive(&Dek::generate().unwrap(), FileId::generate().unwrap()).unwrap();
        let new = || {
            let header = RecordHeader::new(Kind::Delta, 1, 1);
            RecordWriter::new(&keys, std::io::sink(), header, [0; 32]).unwrap()
        };
        assert!(matches!(new().finish(&[0; 32]), Err(WriteError::State(_))));
        let mut writer = new();
        let item = vec![0; MAX_ITEM];
        writer.item(&item).unwrap();
        assert!(matches!(writer.item(&item), Err(WriteError::TooLarge { .. })), "64 MiB and two length prefixes");
        assert!(matches!(new().item(&vec![0; MAX_ITEM + 1]), Err(WriteError::TooLarge { .. })));
    }
}
