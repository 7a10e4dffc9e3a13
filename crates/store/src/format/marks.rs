//! The two marks that say how many bytes of a file are durable.
//!
//! They are the only bytes of a file that ever change. Two of them, so that one torn write leaves the other;
//! hints against accidents (a copy cut short, a lost write), not against attackers.

use super::{Refusal, Source};

/// Size of the page that holds the marks.
pub(super) const MARKS_PAGE: u64 = 4096;
const MARK: usize = 16;

/// Position and values of the two marks of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    page: u64,
    lengths: [Option<u64>; 2],
}

/// One `pwrite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkWrite {
    /// Where.
    pub offset: u64,
    /// What.
    pub bytes: [u8; MARK],
}

impl Marks {
    /// The marks of a new file: none yet.
    pub(crate) fn empty(page: u64) -> Self {
        Self { page, lengths: [None; 2] }
    }

    /// Reads the marks page at `page`.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`] if the source fails. Invalid marks are no error: they count as absent.
    pub fn read(source: &(impl Source + ?Sized), page: u64) -> Result<Self, Refusal> {
        let mut bytes = [[0; MARK]; 2];
        source.read_exact_at(bytes.as_flattened_mut(), page)?;
        Ok(Self { page, lengths: bytes.map(|mark| decode(&mark)) })
    }

    /// How many bytes were durable; 0 if no mark is valid.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.lengths.iter().flatten().copied().max().unwrap_or(0)
    }

    /// The write that replaces the older (or an invalid) mark by `length`.
    pub fn advance(&mut self, length: u64) -> MarkWrite {
        let [a, b] = &mut self.lengths;
        // `None` sorts before every length: an invalid mark is replaced first.
        let (mark, offset) = if *a <= *b { (a, self.page) } else { (b, self.page + MARK as u64) };
        *mark = Some(length);
        MarkWrite { offset, bytes: encode(length) }
    }
}

fn encode(length: u64) -> [u8; MARK] {
    let mut mark = [0; MARK];
    let (body, crc) = mark.split_at_mut(12);
    for (to, from) in body.iter_mut().zip(length.to_le_bytes()) {
        *to = from;
    }
    crc.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    mark
}

fn decode(mark: &[u8; MARK]) -> Option<u64> {
    let (length, _) = mark.split_first_chunk::<8>()?;
    let length = u64::from_le_bytes(*length);
    (encode(length) == *mark).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_that_of_the_vectors() {
        assert_eq!(hex::encode(encode(8192)), "0020000000000000000000008fcf4190");
    }

    #[test]
    fn a_mark_with_any_changed_byte_counts_as_absent() {
        for i in 0..MARK {
            for bit in 0..8 {
                let mut mark = encode(123_456);
                mark[i] ^= 1 << bit;
                assert_eq!(decode(&mark), None);
            }
        }
        assert_eq!(decode(&[0; MARK]), None, "an empty page says nothing");
        assert_eq!(decode(&[0xff; MARK]), None);
    }

    #[test]
    fn the_older_mark_is_replaced_so_that_a_torn_write_leaves_the_newer_one() {
        let mut page = vec![0; MARKS_PAGE as usize];
        let mut marks = Marks::empty(0);
        for length in [100, 200, 300, 400] {
            let before = marks.durable();
            let write = marks.advance(length);
            let at = write.offset as usize;
            page[at..at + MARK].copy_from_slice(&write.bytes[..]);
            assert_eq!(Marks::read(&page, 0).unwrap(), marks);
            assert_eq!(marks.durable(), length);
            let mut torn = page.clone();
            torn[at..at + 5].fill(0xaa);
            assert_eq!(Marks::read(&torn, 0).unwrap().durable(), before);
        }
    }
}
