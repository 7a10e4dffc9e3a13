//! The two marks that say how many bytes of a file are durable.

use super::{Refusal, Source};

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
    pub bytes: [u8; 16],
}

impl Marks {
    /// Reads the marks page at `page`.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`] if the source fails. Invalid marks are no error: they count as absent.
    pub fn read(_source: &(impl Source + ?Sized), _page: u64) -> Result<Self, Refusal> {
        todo!()
    }

    /// How many bytes were durable; 0 if no mark is valid.
    #[must_use]
    pub fn durable(&self) -> u64 {
        todo!()
    }

    /// The write that replaces the older (or an invalid) mark by `length`.
    pub fn advance(&mut self, _length: u64) -> MarkWrite {
        todo!()
    }
}
