//! Whole reads and writes on top of `pread` and `pwrite`, which may do less than asked.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Access, DiskFile, FileSystem};
use crate::format::Source;

/// Bytes gathered before one `pwrite` of a new file.
const SINK_BUFFER: usize = 256 << 10;
/// Bytes moved at a time when a file is copied.
const COPY_BUFFER: usize = 256 << 10;

/// Reads until the buffer is full or the file ends; tells how many bytes there were.
pub(crate) fn read_up_to(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Reads a small file; an error if it is longer than `limit`.
pub(crate) fn read_all(file: &dyn DiskFile, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = read_up_to(file, &mut buffer, bytes.len() as u64)?;
        bytes.extend(buffer.iter().take(count));
        if bytes.len() > limit {
            return Err(io::Error::new(ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
        }
        if count < buffer.len() {
            return Ok(bytes);
        }
    }
}

/// Writes everything; a write of nothing counts as a full disk.
pub(crate) fn write_all(file: &dyn DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(ErrorKind::StorageFull.into()),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                offset += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes the bytes of that part of a file over themselves, so that the next sync stores them.
pub(crate) fn write_again(file: &dyn DiskFile, part: std::ops::Range<u64>) -> io::Result<()> {
    let mut offset = part.start;
    while offset < part.end {
        let mut buffer = [0; 4096];
        let wanted = usize::try_from(part.end - offset).unwrap_or(usize::MAX).min(buffer.len());
        let chunk = buffer.get_mut(..wanted).unwrap_or_default();
        if read_up_to(file, chunk, offset)? < wanted {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        write_all(file, chunk, offset)?;
        offset += wanted as u64;
    }
    Ok(())
}

/// Whether a write failed only because there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// Copies a file from `offset` on to a new name, and syncs the copy (not its name).
pub(crate) fn copy(fs: &dyn FileSystem, from: &str, offset: u64, to: &str) -> io::Result<()> {
    let source = fs.open(from, Access::Read)?;
    let target = fs.create(to)?;
    let mut buffer = vec![0; COPY_BUFFER];
    let mut done = 0;
    loop {
        let count = read_up_to(&*source, &mut buffer, offset + done)?;
        write_all(&*target, buffer.get(..count).unwrap_or_default(), done)?;
        done += count as u64;
        if count < buffer.len() {
            return target.sync_all();
        }
    }
}

/// A file as a [`Source`] of the format. Its length is found once, by reading (there is no stat in our list).
#[derive(Debug)]
pub(crate) struct Readable<'a> {
    file: &'a dyn DiskFile,
    length: u64,
}

impl<'a> Readable<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        let has = |offset: u64| read_up_to(file, &mut [0], offset).map(|count| count == 1);
        // Double until past the end, then halve: the length is the first offset that has no byte.
        let (mut low, mut high) = (0, 1 << 16);
        while has(high)? {
            low = high + 1;
            high = high.saturating_mul(2);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if has(middle)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Self { file, length: low })
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

impl Source for Readable<'_> {
    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let count = read_up_to(self.file, buffer, offset)?;
        if count == buffer.len() { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

/// A new file as a [`Write`] sink: gathers small writes, and stops when its work is cancelled.
#[derive(Debug)]
pub(crate) struct Sink {
    file: Box<dyn DiskFile>,
    offset: u64,
    buffer: Vec<u8>,
    cancelled: Arc<AtomicBool>,
}

impl Sink {
    pub(crate) fn new(file: Box<dyn DiskFile>, cancelled: Arc<AtomicBool>) -> Self {
        Self { file, offset: 0, buffer: Vec::with_capacity(SINK_BUFFER), cancelled }
    }

    /// The file; what was not flushed is lost.
    pub(crate) fn into_file(self) -> Box<dyn DiskFile> {
        self.file
    }

    pub(crate) fn file(&self) -> &dyn DiskFile {
        &*self.file
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("cancelled"));
        }
        if self.buffer.len() + bytes.len() > SINK_BUFFER {
            self.flush()?;
        }
        if bytes.len() >= SINK_BUFFER {
            write_all(&*self.file, bytes, self.offset)?;
            self.offset += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        write_all(&*self.file, &self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
