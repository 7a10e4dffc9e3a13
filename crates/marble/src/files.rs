//! Writes the files of a Marble: all of them, or none. Each is first written beside its target; then all
//! are put in place, and taken back if one cannot be. Links are replaced, never followed.
//!
//! The keys of Gramine's encrypted mounts are none of these. They are pseudo files of the enclave that take one value in one
//! write, and they come before all others, which may lie in those mounts. They are gone with the process.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

/// Why the files were not written. None was changed.
#[derive(Debug, thiserror::Error)]
#[error("file {}: {reason}", .path.display())]
pub struct FileError {
    /// The file in question, as the manifest names it.
    pub path: PathBuf,
    /// Cause.
    pub reason: String,
}

/// Files that stand beside their targets, ready to be put in place. Dropped, they vanish.
#[derive(Debug, Default)]
pub struct Staged {
    files: Vec<StagedFile>,
    /// Directories made for them, outermost first.
    directories: Vec<PathBuf>,
}

#[derive(Debug)]
struct StagedFile {
    target: PathBuf,
    /// Where the new contents are; after [`Staged::commit`] nothing is there.
    new: PathBuf,
    /// Where what stood at the target is kept until all is in place.
    old: PathBuf,
}

/// Where Gramine shows its pseudo files.
const GRAMINE: &str = "/dev/attestation";

/// Sets Gramine's keys, then writes all other files beside their targets, sorted by name, relative ones below `base`. Missing directories
/// are made with mode 0700, files with 0600; where a file stands already, its mode is kept.
///
/// # Errors
/// [`FileError`]; then keys of Gramine may have been set, and no file was changed.
pub fn stage(files: &BTreeMap<String, Zeroizing<Vec<u8>>>, base: &Path) -> Result<Staged, FileError> {
    stage_in(files, base, Path::new(GRAMINE))
}

/// As [`stage`], with Gramine's pseudo files elsewhere.
fn stage_in(files: &BTreeMap<String, Zeroizing<Vec<u8>>>, base: &Path, gramine: &Path) -> Result<Staged, FileError> {
    let mut staged = Staged::default();
    let failed = |name: &str, error: io::Error| FileError { path: name.into(), reason: error.to_string() };
    // Elsewhere than in Gramine these are files as all others.
    let is_gramine = gramine.is_dir();
    let (keys, others): (Vec<_>, Vec<_>) =
        files.iter().partition(|(name, _)| is_gramine && plain(&base.join(name)).starts_with(gramine));
    for (name, contents) in keys {
        set_key(&plain(&base.join(name)), contents).map_err(|error| failed(name, error))?;
    }
    for (name, contents) in others {
        staged.add(&base.join(name), contents).map_err(|error| failed(name, error))?;
    }
    if let Some(both) = staged.files.iter().find(|file| staged.directories.contains(&file.target)) {
        let reason = "is to be a file and, for another file, a directory".to_owned();
        return Err(FileError { path: both.target.clone(), reason });
    }
    Ok(staged)
}

/// A path without `.` and `..`: pseudo files have no links that would give these another meaning.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

/// One value, in one write, to a pseudo file that is there: Gramine takes no other names than those of its manifest.
fn set_key(path: &Path, value: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    match file.write(value)? {
        written if written == value.len() => Ok(()),
        written => {
            Err(io::Error::new(ErrorKind::WriteZero, format!("only {written} of {} bytes were taken", value.len())))
        }
    }
}

impl Staged {
    /// Puts all files in place.
    ///
    /// # Errors
    /// [`FileError`]; then everything is as it was before.
    pub fn commit(mut self) -> Result<(), FileError> {
        let mut placed = Vec::new();
        for file in &self.files {
            if let Err(error) = file.place() {
                let failed = FileError { path: file.target.clone(), reason: error.to_string() };
                for file in placed.into_iter().rev() {
                    StagedFile::take_back(file);
                }
                return Err(failed);
            }
            placed.push(file);
        }
        for file in self.files.drain(..) {
            discard(&file.old);
        }
        self.directories.clear();
        Ok(())
    }

    fn add(&mut self, target: &Path, contents: &[u8]) -> io::Result<()> {
        let invalid = |reason| io::Error::new(ErrorKind::InvalidInput, reason);
        // `file_name` passes over a trailing slash; nothing but a directory is meant by it.
        if target.file_name().is_none() || target.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(invalid("is not the name of a file"));
        }
        let directory = target.parent().ok_or_else(|| invalid("is not the name of a file"))?;
        self.make_directories(directory)?;
        let mode = match fs::symlink_metadata(target) {
            Ok(there) if there.is_file() => there.permissions().mode() & 0o777,
            Ok(there) if there.is_symlink() => 0o600,
            Ok(there) if there.is_dir() => return Err(invalid("is a directory")),
            Ok(_) => return Err(invalid("is neither a file nor a link")),
            Err(error) if error.kind() == ErrorKind::NotFound => 0o600,
            Err(error) => return Err(error),
        };
        let unique = uuid::Uuid::new_v4().simple();
        let new = directory.join(format!(".premain-{unique}.new"));
        let old = directory.join(format!(".premain-{unique}.old"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        self.files.push(StagedFile { target: target.to_owned(), new, old });
        file.write_all(contents)?;
        if mode != 0o600 {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    fn make_directories(&mut self, directory: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = directory
            .ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
            .collect();
        for directory in missing.into_iter().rev() {
            DirBuilder::new().mode(0o700).create(directory)?;
            self.directories.push(directory.to_owned());
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for file in &self.files {
            discard(&file.new);
        }
        // Innermost first; one that somebody else uses meanwhile stays.
        for directory in self.directories.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}

impl StagedFile {
    fn place(&self) -> io::Result<()> {
        match fs::rename(&self.target, &self.old) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::rename(&self.new, &self.target).inspect_err(|_| self.take_back())
    }

    fn take_back(&self) {
        let undone = match fs::rename(&self.old, &self.target) {
            Err(error) if error.kind() == ErrorKind::NotFound => fs::remove_file(&self.target),
            other => other,
        };
        if let Err(error) = undone
            && error.kind() != ErrorKind::NotFound
        {
            tracing::error!("file {} could not be put back: {error}", self.target.display());
        }
    }
}

fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!("file {} could not be removed: {error}", path.display());
    }
}

#[cfg(test)]
mod tests;
