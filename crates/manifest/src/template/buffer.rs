//! A byte buffer for text that may hold secrets.
//!
//! A growing `Vec` leaves copies of what it held in freed memory. This one moves to a larger
//! allocation itself and wipes the old one, and it stops at a limit instead of exhausting memory.

use zeroize::Zeroizing;

/// Bytes that are wiped when dropped or moved, up to a limit.
pub(super) struct Buffer {
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
    overflowed: bool,
}

impl Buffer {
    /// An empty buffer that refuses to grow beyond `limit` bytes.
    pub(super) fn new(capacity: usize, limit: usize) -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(capacity.min(limit))), limit, overflowed: false }
    }

    /// Appends bytes; past the limit nothing more is taken and [`Self::overflowed`] says so.
    pub(super) fn extend(&mut self, more: &[u8]) {
        if self.reserve(more.len()) {
            self.bytes.extend_from_slice(more);
        }
    }

    /// Appends one byte.
    pub(super) fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    /// Appends a character as UTF-8.
    pub(super) fn push_char(&mut self, c: char) {
        self.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// Appends a byte `count` times.
    pub(super) fn fill(&mut self, byte: u8, count: usize) {
        if self.reserve(count) {
            let length = self.bytes.len().saturating_add(count);
            self.bytes.resize(length, byte);
        }
    }

    /// How much it holds.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether something was refused. The content is then incomplete and must not be used.
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// The content.
    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }

    fn reserve(&mut self, more: usize) -> bool {
        let needed = self.bytes.len().saturating_add(more);
        if self.overflowed || needed > self.limit {
            self.overflowed = true;
            return false;
        }
        if needed > self.bytes.capacity() {
            let capacity = needed.max(self.bytes.capacity().saturating_mul(2)).max(64).min(self.limit);
            let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_limit_and_then_takes_nothing_more() {
        let mut buffer = Buffer::new(0, 100);
        for _ in 0..10 {
            buffer.extend(b"0123456789");
        }
        assert!(!buffer.overflowed());
        buffer.push(b'x');
        assert!(buffer.overflowed());
        buffer.extend(b"");
        assert_eq!(buffer.into_bytes().len(), 100);
    }

    #[test]
    fn a_fill_beyond_the_limit_allocates_nothing() {
        let mut buffer = Buffer::new(0, 100);
        buffer.fill(b'0', usize::MAX);
        assert!(buffer.overflowed());
        assert!(buffer.into_bytes().is_empty());
    }
}
