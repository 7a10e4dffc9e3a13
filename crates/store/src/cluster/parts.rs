//! A snapshot that does not fit into the shared object lies in parts beside it (cluster protocol, section 8). The object
//! keeps what stands before and behind the snapshot in the file, and `parts` tells where the snapshot is. Nothing of this
//! is trusted: the file that is put together opens as a whole, or not at all.

use std::io;
use std::sync::Arc;

use marblerun_state::BootId;
use serde::{Deserialize, Serialize};

use super::{Object, Part};
use crate::digest::sha256;
use crate::format::{Dek, Layout, OpenOptions, Opened, Refusal, Source, Tail, lacks_snapshot, open, read_front};

/// How many banks of parts there are, and how many parts in each.
const BANKS: u8 = 3;
const BANK_PARTS: u8 = 15;
/// Bytes of deltas behind a snapshot above which another snapshot is worth writing.
pub(super) const MOST_DELTAS: usize = 500_000;

/// The value `parts` of the shared object: JSON. What it does not tell, or not in a form that is known, it does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartIndex {
    /// Where the snapshot is; absent while it lies in the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) snapshot: Option<PartList>,
    /// Who is about to write another one where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reserved: Option<Reservation>,
}

/// Where a snapshot is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartList {
    /// 0, 1, 2.
    pub(super) bank: u8,
    /// Its pieces, in order.
    pub(super) parts: Vec<Piece>,
}

/// One piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) length: usize,
    /// Hex.
    pub(super) sha256: String,
}

/// The bank that an instance is about to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reservation {
    pub(super) bank: u8,
    /// Its boot id, in hex.
    pub(super) by: String,
}

impl PartIndex {
    /// Reads it. What is malformed tells nothing.
    pub(super) fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// As it is written; `None` if it tells nothing.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        if *self == Self::default() {
            return None;
        }
        serde_json::to_vec(self).ok()
    }

    /// With a reservation for an instance.
    pub(super) fn reserve(&self, bank: u8, boot: BootId) -> Self {
        let reserved = Some(Reservation { bank, by: hex::encode(boot.0) });
        Self { snapshot: self.snapshot.clone(), reserved }
    }

    /// Whether somebody else is about to write a snapshot.
    pub(super) fn is_reserved_by_another(&self, boot: BootId) -> bool {
        self.reserved.as_ref().is_some_and(|reserved| reserved.by != hex::encode(boot.0))
    }
}

impl PartList {
    /// The pieces of a snapshot, each of at most `most` bytes. `None`: a bank does not hold it.
    pub(super) fn of(bank: u8, snapshot: &[u8], most: usize) -> Option<Self> {
        let parts = snapshot.chunks(most.max(1)).map(Piece::of).collect::<Vec<_>>();
        (parts.len() <= usize::from(BANK_PARTS)).then_some(Self { bank, parts })
    }

    /// Names of the pieces.
    pub(super) fn names(&self) -> impl Iterator<Item = (Part, &Piece)> {
        (1..=BANK_PARTS).zip(&self.parts).map(|(number, piece)| (Part { bank: self.bank, number }, piece))
    }
}

impl Piece {
    fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len(), sha256: hex::encode(sha256(&[bytes])) }
    }

    /// Whether these are its bytes.
    pub(super) fn fits(&self, bytes: &[u8]) -> bool {
        *self == Self::of(bytes)
    }
}

/// The bank for the next snapshot: neither the one in use nor one that an archive needs, and of the others the one
/// that was in use longer ago, so that who copies object and parts one after the other gets them whole.
pub(super) fn next_bank(in_use: Option<u8>, pinned: &[u8]) -> Option<u8> {
    let first = in_use.map_or(0, |bank| bank.saturating_add(1));
    (0..BANKS).map(|bank| (first + bank) % BANKS).find(|bank| Some(*bank) != in_use && !pinned.contains(bank))
}

/// A file as it lies there: in the object alone, or with its snapshot in parts.
#[derive(Debug, Clone)]
pub(super) struct Whole {
    /// `sealed_data`.
    pub(super) object: Vec<u8>,
    /// What stands between the byte `at` of it and the one before.
    at: usize,
    pub(super) snapshot: Arc<Vec<u8>>,
    /// Where the snapshot is; `None`: in the object.
    pub(super) list: Option<PartList>,
    /// Why the snapshot is not here.
    lacking: Option<String>,
}

impl Whole {
    /// All of it lies in the object.
    pub(super) fn inline(object: Vec<u8>) -> Self {
        Self { at: object.len(), object, snapshot: Arc::default(), list: None, lacking: None }
    }

    /// The snapshot is this one.
    pub(super) fn in_parts(object: Vec<u8>, snapshot: Arc<Vec<u8>>, list: PartList) -> Self {
        let at = records_at(&object).unwrap_or(object.len());
        Self { object, at, snapshot, list: Some(list), lacking: None }
    }

    /// The snapshot should be elsewhere, and is not.
    pub(super) fn lacking(object: Vec<u8>, why: String) -> Self {
        Self { lacking: Some(why), ..Self::inline(object) }
    }

    /// Opens it with its key.
    pub(super) fn open(&self, dek: &Dek) -> Result<Opened, Refusal> {
        match &self.lacking {
            Some(why) => Err(Refusal::damaged(why.clone())),
            None => open(self, dek, OpenOptions::default()),
        }
    }

    /// To go on from, if the snapshot lies in parts.
    pub(super) fn split(&self, tail: &Tail) -> Option<Arc<Split>> {
        let list = self.list.clone()?;
        let snapshot = Arc::clone(&self.snapshot);
        Some(Arc::new(Split { list, snapshot, object: self.object.clone(), tail: tail.clone() }))
    }
}

impl Source for Whole {
    fn length(&self) -> io::Result<u64> {
        Ok((self.object.len() + self.snapshot.len()) as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let pieces = [self.object.get(..self.at), Some(self.snapshot.as_slice()), self.object.get(self.at..)];
        let (mut filled, mut begins) = (0, 0_u64);
        for piece in pieces.into_iter().flatten() {
            let ends = begins + piece.len() as u64;
            let wanted = offset + filled as u64;
            if let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty())
                && (begins..ends).contains(&wanted)
            {
                let from = usize::try_from(wanted - begins).unwrap_or(piece.len());
                let available = piece.get(from..).unwrap_or_default();
                rest.iter_mut().zip(available).for_each(|(to, from)| *to = *from);
                filled += rest.len().min(available.len());
            }
            begins = ends;
        }
        if filled == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// A snapshot in parts and what was appended behind it, as this instance read or wrote it.
#[derive(Debug, Clone)]
pub(super) struct Split {
    pub(super) list: PartList,
    pub(super) snapshot: Arc<Vec<u8>>,
    /// `sealed_data` of the object.
    pub(super) object: Vec<u8>,
    pub(super) tail: Tail,
}

impl Split {
    /// Bytes behind the snapshot.
    pub(super) fn deltas(&self) -> usize {
        self.object.len().saturating_sub(records_at(&self.object).unwrap_or_default())
    }
}

/// Where the snapshot of a file of ours begins.
pub(super) fn records_at(object: &Vec<u8>) -> Option<usize> {
    match read_front(object) {
        Ok(Layout::Sealed(front)) => usize::try_from(front.records_at).ok(),
        _ => None,
    }
}

/// Where the snapshot of an object is that does not hold it. `None`: it does, or nothing is said of another place.
pub(super) fn elsewhere(object: &Object) -> Option<PartList> {
    let list = PartIndex::read(object.parts.as_deref()?).snapshot?;
    let data = object.sealed_data.as_ref()?;
    lacks_snapshot(data).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(whole: &Whole, offset: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        whole.read_exact_at(&mut bytes, offset).ok().map(|()| bytes)
    }

    #[test]
    fn a_file_in_pieces_reads_as_one() {
        let whole =
            Whole { object: b"abfg".to_vec(), at: 2, snapshot: Arc::new(b"cde".to_vec()), list: None, lacking: None };
        let all = b"abcdefg";
        assert_eq!(whole.length().unwrap(), 7);
        for from in 0..=7 {
            for to in from..=7 {
                assert_eq!(read(&whole, from as u64, to - from).as_deref(), Some(&all[from..to]), "{from}..{to}");
            }
        }
        assert_eq!(read(&whole, 6, 2), None);
        assert_eq!(read(&whole, 9, 1), None);
        assert_eq!(read(&Whole::inline(all.to_vec()), 2, 4).as_deref(), Some(&b"cdef"[..]));
    }

    #[test]
    fn a_bank_rests_before_it_is_written_again() {
        assert_eq!(
            [None, Some(0), Some(1), Some(2)].map(|bank| next_bank(bank, &[])),
            [Some(0), Some(1), Some(2), Some(0)]
        );
        assert_eq!(next_bank(Some(0), &[1]), Some(2));
        assert_eq!(next_bank(Some(0), &[1, 2]), None);
        assert_eq!(next_bank(Some(0), &[0]), Some(1));
    }

    #[test]
    fn an_index_is_what_was_written_and_junk_tells_nothing() {
        let snapshot = PartList::of(1, &[7; 2500], 1000).unwrap();
        assert_eq!(snapshot.parts.iter().map(|piece| piece.length).collect::<Vec<_>>(), [1000, 1000, 500]);
        assert_eq!(PartList::of(1, &[7; 1501], 100), None);
        let index = PartIndex { snapshot: Some(snapshot), reserved: None }.reserve(2, BootId([3; 16]));
        assert_eq!(PartIndex::read(&index.bytes().unwrap()), index);
        assert!(index.is_reserved_by_another(BootId([4; 16])) && !index.is_reserved_by_another(BootId([3; 16])));
        assert_eq!(PartIndex::read(b"\xff"), PartIndex::default());
        assert_eq!(PartIndex::default().bytes(), None);
    }
}
