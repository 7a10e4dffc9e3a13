//! Looking at a file piece by piece: one buffer, as large as one chunk, whatever the size of the file and of its
//! records.

use std::io;

use zeroize::Zeroizing;

use super::keys::{NONCE, TAG};
use super::record::{CHUNK, CHUNK_HEAD, CHUNK_OVERHEAD, LAST_CHUNK, RECORD_END, RECORD_HEADER};
use super::{FileKeys, Source};

/// A piece of the file in memory, as large as one chunk: few reads, whatever the size of the records.
pub(super) struct Window<'a, S: ?Sized> {
    source: &'a S,
    length: u64,
    start: u64,
    buffer: Zeroizing<Vec<u8>>,
}

impl<'a, S: Source + ?Sized> Window<'a, S> {
    /// A record header and a full chunk behind it.
    const SIZE: usize = RECORD_HEADER + CHUNK + CHUNK_OVERHEAD;

    pub(super) fn new(source: &'a S, length: u64) -> Self {
        Self { source, length, start: 0, buffer: Zeroizing::new(Vec::new()) }
    }

    /// Drops what is in memory, where it was decrypted in place.
    pub(super) fn forget(&mut self) {
        self.buffer.clear();
    }

    /// Exactly these bytes. `None`: the file ends before them.
    pub(super) fn get(&mut self, offset: u64, count: usize) -> io::Result<Option<&mut [u8]>> {
        if offset.checked_add(count as u64).is_none_or(|end| end > self.length) {
            return Ok(None);
        }
        let inside = |window: &Self| {
            let from = usize::try_from(offset.checked_sub(window.start)?).ok()?;
            let to = from.checked_add(count)?;
            (to <= window.buffer.len()).then_some(from..to)
        };
        if inside(self).is_none() {
            let size = usize::try_from(self.length - offset).map_or(Self::SIZE, |rest| rest.min(Self::SIZE)).max(count);
            if self.buffer.capacity() < size {
                self.buffer = Zeroizing::new(Vec::with_capacity(size));
            }
            self.buffer.clear();
            self.buffer.resize(size, 0);
            self.start = offset;
            if let Err(error) = self.source.read_exact_at(&mut self.buffer, offset) {
                self.forget();
                return Err(error);
            }
        }
        Ok(inside(self).and_then(|range| self.buffer.get_mut(range)))
    }

    /// At most these bytes; `None` at the end of the file, or if not even a record header is left.
    pub(super) fn up_to(&mut self, offset: u64, count: usize) -> io::Result<Option<&mut [u8]>> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        if left < RECORD_HEADER { Ok(None) } else { self.get(offset, left.min(count)) }
    }

    /// The chunk at `offset`. `None`: its lengths or its checksum are wrong.
    pub(super) fn chunk(&mut self, offset: u64) -> io::Result<Option<Chunk<'_>>> {
        let Some(length) = self.get(offset, 4)?.and_then(|bytes| bytes.first_chunk::<4>().copied()) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(length);
        let plaintext = (length & !LAST_CHUNK) as usize;
        let allowed = if length & LAST_CHUNK != 0 { 1..=CHUNK } else { CHUNK..=CHUNK };
        if !allowed.contains(&plaintext) {
            return Ok(None);
        }
        let Some(bytes) = self.get(offset, plaintext + CHUNK_OVERHEAD)? else { return Ok(None) };
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Ok(None) };
        let whole = crc32c::crc32c(body) == u32::from_le_bytes(*crc);
        Ok(whole.then_some(Chunk { length, bytes }))
    }
}

/// A chunk whose lengths and checksum are right.
pub(super) struct Chunk<'w> {
    /// As it stands in the file, with the flag of the last one.
    pub(super) length: u32,
    bytes: &'w mut [u8],
}

impl<'w> Chunk<'w> {
    /// Bytes it takes in the file.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_last(&self) -> bool {
        self.length & LAST_CHUNK != 0
    }

    /// Tag and checksum.
    pub(super) fn end(&self) -> [u8; RECORD_END] {
        self.bytes.last_chunk().copied().unwrap_or([0; RECORD_END])
    }

    pub(super) fn tag(&self) -> &[u8] {
        self.bytes.last_chunk::<RECORD_END>().and_then(|end| end.first_chunk::<TAG>()).map_or(&[], |tag| tag)
    }

    /// Decrypts in place. `None`: not authentic.
    pub(super) fn open(self, keys: &FileKeys, aad: &[u8]) -> Option<&'w mut [u8]> {
        let (head, rest) = self.bytes.split_first_chunk_mut::<CHUNK_HEAD>()?;
        let nonce = *head.last_chunk::<NONCE>()?;
        let (sealed, _crc) = rest.split_last_chunk_mut::<4>()?;
        keys.open(nonce, aad, sealed)
    }
}
