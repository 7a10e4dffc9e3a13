//! Files the command reads and writes. Writes are atomic and private; a failed one leaves the old file.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tempfile::NamedTempFile;

/// Largest file that is read: manifests, secrets, keys are all far smaller.
const MAX_INPUT: u64 = 64 << 20;

/// Reads a file; `-` is stdin.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, MAX_INPUT)
}

/// As [`read`], with another limit.
pub fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit + 1).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("open {}", path.display()))?;
    if bytes.len() as u64 > limit {
        bail!("{} is larger than {} MiB", path.display(), limit >> 20);
    }
    Ok(bytes)
}

/// Writes a file at once, mode 0600, following no half-written state.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    Reserved::new(path)?.write(bytes)
}

/// A place that is known to be writable, before what it is for has happened.
///
/// What a Coordinator answers only once (recovery data) must have a place to go before it is asked.
pub struct Reserved {
    path: PathBuf,
    place: Place,
    /// Nothing may be there.
    is_new: bool,
}

enum Place {
    /// A file that will be renamed to the path.
    File(NamedTempFile),
    /// A terminal, a pipe, `/dev/null`: written to, never replaced.
    Device(fs::File),
}

impl Reserved {
    /// Makes sure that `path` can be written: opens the file that will be renamed to it.
    pub fn new(path: &Path) -> Result<Self> {
        let cannot = || format!("{} cannot be written", path.display());
        if path.as_os_str().is_empty() {
            bail!("the name of a file to write is empty");
        }
        // What a link names is replaced, and not the link.
        let target = if path.is_symlink() { path.canonicalize().with_context(cannot)? } else { path.to_path_buf() };
        let place = match fs::metadata(&target) {
            Ok(found) if found.is_dir() => bail!("{} is a folder", path.display()),
            Ok(found) if !found.is_file() => {
                Place::Device(fs::OpenOptions::new().write(true).open(&target).with_context(cannot)?)
            }
            _ => {
                let dir = match target.parent() {
                    Some(dir) if !dir.as_os_str().is_empty() => dir,
                    _ => Path::new("."),
                };
                if !dir.is_dir() {
                    bail!("{} cannot be written: there is no folder {}", path.display(), dir.display());
                }
                let mut file = tempfile::Builder::new();
                file.prefix(".marblerun-").permissions(fs::Permissions::from_mode(0o600));
                Place::File(file.tempfile_in(dir).with_context(cannot)?)
            }
        };
        Ok(Self { path: target, place, is_new: false })
    }

    /// Puts the content in place.
    pub fn write(self, bytes: &[u8]) -> Result<()> {
        let written = match self.place {
            Place::Device(mut device) => device.write_all(bytes).and_then(|()| device.flush()),
            Place::File(mut file) => {
                let written = file.write_all(bytes).and_then(|()| file.as_file().sync_all());
                let placed = written.and_then(|()| match self.is_new {
                    true => file.persist_noclobber(&self.path).map(drop).map_err(io::Error::from),
                    false => file.persist(&self.path).map(drop).map_err(io::Error::from),
                });
                // The name must last, too. Not every file system can sync a folder.
                placed.inspect(|()| {
                    drop(self.path.parent().map(|dir| fs::File::open(dir).and_then(|dir| dir.sync_all())))
                })
            }
        };
        written.with_context(|| format!("writing {}", self.path.display()))
    }
}

/// Makes the folder that a file is to be in.
pub fn make_folder_of(path: &Path) -> Result<()> {
    match path.parent() {
        Some(dir) => fs::create_dir_all(dir).with_context(|| format!("making folder {}", dir.display())),
        None => Ok(()),
    }
}

/// Writes a file that must not exist yet, mode 0600.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    if path.exists() {
        bail!("open {}: file exists", path.display());
    }
    Reserved { is_new: true, ..Reserved::new(path)? }.write(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_is_private_and_replaces_what_a_link_names() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_private(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing unfinished is left");
    }

    #[test]
    fn a_device_is_written_to_and_never_replaced() {
        write_private(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_folder_and_no_name_are_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Reserved::new(dir.path()).is_err());
        assert!(Reserved::new(Path::new("")).is_err());
        assert!(Reserved::new(&dir.path().join("no/such/folder")).is_err());
    }
}
