//! The few system calls a store needs, as a trait over one directory, so that tests can put a hostile
//! disk under it. The list is short on purpose: it must work inside a library OS, so there is no link,
//! no `O_APPEND`, no stat, no rename with flags. Names are plain file names inside the directory.

mod access;
#[cfg(test)]
pub(crate) mod hostile;
mod real;

use std::fmt::Debug;
use std::io;
use std::time::Duration;

pub(crate) use access::{Readable, Sink, copy, is_full, read_all, read_up_to, write_again, write_all};
pub(crate) use real::RealDirectory;

/// One directory.
pub(crate) trait FileSystem: Send + Sync + Debug {
    /// Makes the directory (mode 0700), with its parents, if it is absent.
    fn make_directory(&self) -> io::Result<()>;
    /// Names of all entries.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens an existing file.
    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>>;
    /// Creates a file (mode 0600) that must not exist yet, for reading and writing.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Renames, replacing.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// Takes the lock file (made if absent), waiting for another holder at most that long.
    /// Dropping the result releases it.
    fn lock(&self, name: &str, wait: Duration) -> io::Result<Box<dyn Send>>;
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// One open file, without a cursor.
pub(crate) trait DiskFile: Send + Sync + Debug {
    /// `pread`: may read less; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// `pwrite`: may write less.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// `ftruncate`.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// `fdatasync`.
    fn sync_data(&self) -> io::Result<()>;
    /// `fsync`.
    fn sync_all(&self) -> io::Result<()>;
}
