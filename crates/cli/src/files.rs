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
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_INPUT + 1).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(MAX_INPUT + 1).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("open {}", path.display()))?;
    if bytes.len() as u64 > MAX_INPUT {
        bail!("{} is larger than 64 MiB", path.display());
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
    file: NamedTempFile,
}

impl Reserved {
    /// Makes sure that `path` can be written: opens the file that will be renamed to it.
    pub fn new(path: &Path) -> Result<Self> {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        if path.is_dir() {
            bail!("{} is a folder", path.display());
        }
        let file = tempfile::Builder::new()
            .prefix(".marblerun-")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(dir)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Puts the content in place.
    pub fn write(mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.as_file().sync_all());
        written.with_context(|| format!("writing {}", self.path.display()))?;
        self.file.persist(&self.path).with_context(|| format!("writing {}", self.path.display()))?;
        Ok(())
    }
}

/// Writes a file that must not exist yet, mode 0600.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    if path.exists() {
        bail!("open {}: file exists", path.display());
    }
    write_private(path, bytes)
}
