//! Test files made of plain items, so that the layer of records is tested apart from any state.

use super::keys::{FileId, FileKeys, Head};
use super::record::{Kind, RecordHeader, RecordWriter};
use super::scan::{Contents, Extent, Fault, Walk, walk};
use super::vectors::{dek, header};
use super::{Dek, Front, Layout, MarkWrite, Marks, OpenOptions, Refusal, read_front};

/// A file under construction.
#[derive(Clone)]
pub(super) struct Sample {
    pub bytes: Vec<u8>,
    pub keys: FileKeys,
    pub head: Head,
    pub sequence: u64,
    pub marks: Option<Marks>,
    /// Where each record begins, and the end of the last.
    pub bounds: Vec<usize>,
}

impl Sample {
    /// A file with a snapshot of these items behind the header.
    pub fn new(items: &[&[u8]], marked: bool) -> Self {
        let file_id = FileId::generate().unwrap();
        let keys = FileKeys::derive(&dek(), file_id).unwrap();
        let front = Front::new(header(), file_id, &keys, marked, |_| Ok(Vec::new())).unwrap();
        let mut bytes = front.encode();
        let start = bytes.len();
        let header = RecordHeader::new(Kind::Snapshot, front.header.sequence, 1000);
        let mut writer = RecordWriter::new(&keys, &mut bytes, header, [0; 32]).unwrap();
        writer.item(&front.header_bytes).unwrap();
        items.iter().for_each(|item| writer.item(item).unwrap());
        let written = writer.finish(&front.header.previous_head).unwrap();
        let bounds = vec![start, bytes.len()];
        let marks = front.marks_page().map(Marks::empty);
        Self { bytes, keys, head: written.head, sequence: front.header.sequence, marks, bounds }
    }

    /// Adds a delta.
    pub fn delta(mut self, items: &[&[u8]]) -> Self {
        let (bytes, head) = self.seal(Kind::Delta, self.sequence + 1, items);
        self.bytes.extend_from_slice(&bytes);
        self.sequence += 1;
        self.head = head;
        self.bounds.push(self.bytes.len());
        self
    }

    /// Seals a record at the end, without adding it.
    pub fn seal(&self, kind: Kind, sequence: u64, items: &[&[u8]]) -> (Vec<u8>, Head) {
        let mut bytes = Vec::new();
        let header = RecordHeader::new(kind, sequence, 1000 + sequence);
        let mut writer = RecordWriter::new(&self.keys, &mut bytes, header, self.head).unwrap();
        items.iter().for_each(|item| writer.item(item).unwrap());
        let written = writer.finish(&self.head).unwrap();
        (bytes, written.head)
    }

    /// Marks all that stands as durable.
    pub fn mark(mut self) -> Self {
        let MarkWrite { offset, bytes } = self.marks.as_mut().unwrap().advance(self.bytes.len() as u64);
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        self
    }

    /// The bytes of one record.
    pub fn record(&self, index: usize) -> Vec<u8> {
        self.bytes[self.bounds[index]..self.bounds[index + 1]].to_vec()
    }

    /// Snapshot and three deltas; the first two of them are marked durable.
    pub fn small() -> Self {
        Self::new(&[b"one", b"two"], true).delta(&[b"three"]).delta(&[b"four", b"five"]).mark().delta(&[b"six"])
    }
}

/// Items by record.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub(super) struct Items {
    pub accepted: Vec<Vec<Vec<u8>>>,
    current: Vec<Vec<u8>>,
}

impl Contents for Items {
    fn begin(&mut self, _header: &RecordHeader) {
        self.current.clear();
    }

    fn item(&mut self, item: &[u8]) -> Result<(), Fault> {
        self.current.push(item.to_vec());
        Ok(())
    }

    fn accept(&mut self) -> Result<(), Fault> {
        self.accepted.push(std::mem::take(&mut self.current));
        Ok(())
    }

    fn previous_head(&self) -> Head {
        header().previous_head
    }
}

/// Reads with a key (all of it) or without (checksums).
pub(super) fn read(bytes: &Vec<u8>, dek: Option<&Dek>, options: OpenOptions) -> Result<(Walk, Items), Refusal> {
    let Layout::Sealed(front) = read_front(bytes)? else { return Err(Refusal::damaged("upstream")) };
    let keys = dek.map(|dek| front.keys(dek).ok_or(Refusal::WrongKey)).transpose()?;
    let extent = Extent::read(bytes, &front)?;
    let mut items = Items::default();
    let walk = walk(bytes, &front, &extent, keys.as_ref(), options, &mut items)?;
    Ok((walk, items))
}

/// Reads all.
pub(super) fn open(bytes: &Vec<u8>) -> Result<(Walk, Items), Refusal> {
    read(bytes, Some(&dek()), OpenOptions::default())
}

/// Reads what needs no key.
pub(super) fn inspect(bytes: &Vec<u8>) -> Result<Walk, Refusal> {
    read(bytes, None, OpenOptions::default()).map(|(walk, _)| walk)
}
