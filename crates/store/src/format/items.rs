//! Items inside records: each a varint length and that many bytes. Items may straddle chunks; neither side
//! ever holds more than one item and one chunk.

use zeroize::Zeroizing;

/// Most bytes of one item: the largest change of the format.
pub(super) const MAX_ITEM: usize = super::MAX_CHANGE;

/// Encodes the length before an item.
pub(super) fn length_prefix(length: usize) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut rest = length as u64;
    let mut used = 0;
    for byte in &mut bytes {
        used += 1;
        // Seven bits a byte, least significant first, top bit set on all but the last.
        *byte = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, used)
}

/// Cuts a stream of chunks into items.
#[derive(Default)]
pub(super) struct ItemReader {
    /// Bits of the length read so far.
    length: u64,
    /// Bytes of the length read so far.
    prefix: u32,
    /// Inside an item: how long it is.
    expected: Option<usize>,
    /// The beginning of an item that goes on in the next chunk.
    carry: Zeroizing<Vec<u8>>,
}

/// Why a stream is not one of items.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ItemError<E> {
    /// Lengths do not fit.
    Malformed,
    /// The visitor refused an item.
    Refused(E),
}

impl ItemReader {
    /// Takes the next bytes and hands every item that is complete to `visit`.
    pub(super) fn feed<E>(
        &mut self,
        mut bytes: &[u8],
        visit: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), ItemError<E>> {
        loop {
            let Some(expected) = self.expected else {
                let Some((first, rest)) = bytes.split_first() else { return Ok(()) };
                bytes = rest;
                self.take_length_byte(*first).map_err(|()| ItemError::Malformed)?;
                continue;
            };
            let missing = expected.saturating_sub(self.carry.len());
            let Some((head, rest)) = bytes.split_at_checked(missing) else {
                if self.carry.capacity() < expected {
                    // A new buffer instead of a grown one: growing would leave a copy of secrets behind.
                    let mut carry = Zeroizing::new(Vec::with_capacity(expected));
                    carry.extend_from_slice(&self.carry);
                    self.carry = carry;
                }
                self.carry.extend_from_slice(bytes);
                return Ok(());
            };
            bytes = rest;
            self.expected = None;
            if self.carry.is_empty() {
                visit(head).map_err(ItemError::Refused)?;
            } else {
                self.carry.extend_from_slice(head);
                let visited = visit(&self.carry);
                self.carry.clear();
                visited.map_err(ItemError::Refused)?;
            }
        }
    }

    /// The stream ends: not inside an item.
    pub(super) fn finish<E>(&self) -> Result<(), ItemError<E>> {
        if self.expected.is_some() || self.prefix != 0 { Err(ItemError::Malformed) } else { Ok(()) }
    }

    fn take_length_byte(&mut self, byte: u8) -> Result<(), ()> {
        // 28 bits are enough for every allowed length; a fifth byte would be above it.
        if self.prefix == 4 {
            return Err(());
        }
        self.length |= u64::from(byte & 0x7f) << (7 * self.prefix);
        self.prefix += 1;
        if byte & 0x80 == 0 {
            let length = usize::try_from(self.length).map_err(|_| ())?;
            if length > MAX_ITEM {
                return Err(());
            }
            self.expected = Some(length);
            self.length = 0;
            self.prefix = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(items: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for item in items {
            let (prefix, used) = length_prefix(item.len());
            out.extend_from_slice(&prefix[..used]);
            out.extend_from_slice(item);
        }
        out
    }

    fn read(chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, ItemError<()>> {
        let mut reader = ItemReader::default();
        let mut items = Vec::new();
        for chunk in chunks {
            reader.feed(chunk, &mut |item| {
                items.push(item.to_vec());
                Ok(())
            })?;
        }
        reader.finish()?;
        Ok(items)
    }

    proptest! {
        #[test]
        fn items_come_back_however_the_stream_is_cut(
            items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
            chunk in 1_usize..400,
        ) {
            let stream = encode(&items);
            let chunks: Vec<&[u8]> = stream.chunks(chunk).collect();
            prop_assert_eq!(read(&chunks).unwrap(), items);
        }

        #[test]
        fn a_stream_that_ends_inside_an_item_is_malformed(
            items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 1..5),
            cut in 1_usize..100,
        ) {
            let stream = encode(&items);
            let last = items.last().unwrap().len();
            let cut = cut.min(last);
            prop_assert_eq!(read(&[&stream[..stream.len() - cut]]), Err(ItemError::Malformed));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&[&bytes]);
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_memory_is_taken() {
        let (prefix, used) = length_prefix(MAX_ITEM + 1);
        let mut reader = ItemReader::default();
        assert_eq!(reader.feed(&prefix[..used], &mut |_| Ok::<(), ()>(())), Err(ItemError::Malformed));
        assert_eq!(reader.carry.capacity(), 0);
        assert_eq!(read(&[&[0xff; 11]]), Err(ItemError::Malformed));
        let (prefix, used) = length_prefix(MAX_ITEM);
        assert_eq!(ItemReader::default().feed(&prefix[..used], &mut |_| Ok::<(), ()>(())), Ok(()));
    }

    #[test]
    fn a_refusal_of_the_visitor_is_passed_on() {
        let stream = encode(&[vec![1], vec![2]]);
        assert_eq!(ItemReader::default().feed(&stream, &mut |_| Err("no")), Err(ItemError::Refused("no")));
    }
}
