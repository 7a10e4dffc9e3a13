//! The own-file check: is the file under the name still the one we know? It is done before every write,
//! because an operator may restore a backup under a running Coordinator (`cp`, `tar x`, `kubectl cp`),
//! and no lock reaches across enclaves.

use std::io;

use crate::disk::{Access, DiskFile, FileSystem, Readable, read_up_to};
use crate::format::{SEALED_DATA, SealedRecord, Tail};

/// Bytes compared at the start of the file: the prologue of our format.
const START: usize = 256;
/// Bytes compared before the end: the last tag and checksum of our format.
const LAST: usize = 20;

/// What lies under the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The file we know.
    Same,
    /// Another file, or the one we know with other bytes.
    Other,
    /// Nothing.
    Missing,
}

/// What one file looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footprint {
    start: Vec<u8>,
    last: Vec<u8>,
    end: u64,
    /// Whether the file must end there. Not so for a file whose last write failed.
    exact: bool,
}

impl Footprint {
    /// Of a file of ours.
    pub(super) fn of_tail(tail: &Tail) -> Self {
        Self { start: tail.prologue.to_vec(), last: tail.last.to_vec(), end: tail.end, exact: true }
    }

    /// Of a file of ours with one more record.
    pub(super) fn with_record(tail: &Tail, record: &SealedRecord) -> Self {
        let last = record.bytes.iter().skip(record.bytes.len().saturating_sub(LAST)).copied().collect();
        Self { start: tail.prologue.to_vec(), last, end: tail.end + record.bytes.len() as u64, exact: true }
    }

    /// Of any file, as it is now.
    pub(super) fn of_file(file: &dyn DiskFile) -> io::Result<Self> {
        let end = Readable::new(file)?.length();
        let read = |offset: u64, length: usize| -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; length];
            let count = read_up_to(file, &mut bytes, offset)?;
            bytes.truncate(count);
            Ok(bytes)
        };
        let last = LAST.min(usize::try_from(end).unwrap_or(LAST));
        Ok(Self { start: read(0, START)?, last: read(end - last as u64, last)?, end, exact: true })
    }

    /// The same file, whatever follows behind the known end.
    pub(super) fn with_any_end(mut self) -> Self {
        self.exact = false;
        self
    }

    /// Looks at what lies under the name now.
    pub(super) fn look(&self, fs: &dyn FileSystem) -> io::Result<Found> {
        self.open(fs, Access::Read).map(|(found, _)| found)
    }

    /// Looks, and keeps the file open: whoever writes to it writes to what lies under the name, also if that is
    /// another copy with the same bytes.
    pub(super) fn open(&self, fs: &dyn FileSystem, access: Access) -> io::Result<(Found, Option<Box<dyn DiskFile>>)> {
        let file = match fs.open(SEALED_DATA, access) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Found::Missing, None)),
            Err(error) => return Err(error),
        };
        let same = has(&*file, &self.start, 0)?
            && has(&*file, &self.last, self.end - self.last.len() as u64)?
            && (!self.exact || read_up_to(&*file, &mut [0], self.end)? == 0);
        Ok(if same { (Found::Same, Some(file)) } else { (Found::Other, None) })
    }

    /// A name for this file that another file does not have.
    pub(super) fn digest(&self) -> [u8; 32] {
        crate::digest::sha256(&[&self.end.to_le_bytes(), &self.start, &self.last])
    }
}

fn has(file: &dyn DiskFile, expected: &[u8], offset: u64) -> io::Result<bool> {
    let mut bytes = [0; START];
    let Some(buffer) = bytes.get_mut(..expected.len()) else { return Ok(false) };
    Ok(read_up_to(file, buffer, offset)? == expected.len() && buffer == expected)
}
