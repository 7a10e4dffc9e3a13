//! What stands before the records: prologue and header. Needs no key to read.

use super::{Dek, FileId, Header, Refusal, Source};

/// Which layout a file has.
#[derive(Debug)]
pub enum Layout {
    /// Ours.
    Sealed(Box<Front>),
    /// Upstream's: `sealed_data` of a Go Coordinator.
    Upstream(super::upstream::UpstreamFront),
}

/// State of the header's signature. Who has pinned the root certificate can trust a valid one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// None in the file.
    Absent,
    /// Made by the key of the root certificate in the header.
    Valid,
    /// Not made by it.
    Invalid,
}

/// Prologue and header of a file of ours.
#[derive(Debug, Clone)]
pub struct Front {
    /// Name of the file.
    pub file_id: FileId,
    /// Tells the right data encryption key from a wrong one.
    pub dek_check: [u8; 32],
    /// Offset of the first record.
    pub records_at: u64,
    /// Whether there is a marks page (at `records_at - 4096`).
    pub marked: bool,
    /// Signature over the header, DER.
    pub signature: Vec<u8>,
    /// The outer header. Decides nothing once the state is open.
    pub header: Header,
    /// Its exact bytes.
    pub header_bytes: Vec<u8>,
}

/// Reads what needs no key: upstream's layout or ours, prologue, header.
///
/// # Errors
/// [`Refusal::Damaged`], [`Refusal::CutShort`], [`Refusal::NewerFormat`], [`Refusal::Unreadable`].
pub fn read_front(_source: &(impl Source + ?Sized)) -> Result<Layout, Refusal> {
    todo!()
}

impl Front {
    /// Whether this is the data encryption key of the file (constant time).
    #[must_use]
    pub fn accepts(&self, _dek: &Dek) -> bool {
        todo!()
    }

    /// Tries a candidate recovery root on the recovery slots, O(1). The result also passes [`Front::accepts`].
    #[must_use]
    pub fn dek_from_recovery_root(&self, _root: &[u8]) -> Option<Dek> {
        todo!()
    }

    /// Checks the signature under the root certificate in the header.
    #[must_use]
    pub fn check_signature(&self) -> Signature {
        todo!()
    }
}
