//! The real directory, by the standard library alone.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Access, DiskFile, FileSystem};

/// How often a lock held by another process is tried again.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// A directory of the operating system.
#[derive(Debug, Clone)]
pub(crate) struct RealDirectory {
    path: PathBuf,
}

impl RealDirectory {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }
}

impl FileSystem for RealDirectory {
    fn make_directory(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is none of ours.
        std::fs::read_dir(&self.path)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(access == Access::Write).open(self.path.join(name))?;
        Ok(Box::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Box::new(options.open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn lock(&self, name: &str, wait: Duration) -> io::Result<Box<dyn Send>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(self.path.join(name))?;
        let deadline = Instant::now() + wait;
        let mut told = wait.is_zero();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Box::new(file)),
                // A library OS may have no locks; the own-file check before each write is the guard that counts.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    tracing::warn!("this file system has no locks; make sure that one Coordinator alone uses it");
                    return Ok(Box::new(file));
                }
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(io::Error::new(
                        io::ErrorKind::WouldBlock,
                        format!(
                            "another Coordinator uses {} (it holds {name}). Stop it, or use another seal directory",
                            self.path.display()
                        ),
                    ));
                }
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        tracing::warn!(
                            "another Coordinator uses {} (it holds {name}); waiting up to {} s for it to stop",
                            self.path.display(),
                            wait.as_secs()
                        );
                        told = true;
                    }
                    std::thread::sleep(LOCK_POLL.min(wait));
                }
            }
        }
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}
