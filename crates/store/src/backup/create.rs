//! Making a backup, also while a Coordinator runs.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;

use super::BackupError;
use super::copy::{Copying, Draft, Extent};
use super::facts::Facts;
use crate::format::SEALED_DATA;

/// How often a file that is not whole, or not there, is looked at again. A Go Coordinator has no `sealed_data` for
/// an instant in every commit, and ours cuts off what a full disk did not take.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(25);

/// A backup that was made.
#[derive(Debug)]
pub struct Created {
    /// The backup file.
    pub path: PathBuf,
    /// What is in it.
    pub facts: Facts,
}

/// Copies the state in `seal_dir` to `destination`: a folder, in which the backup gets a name with time and sequence, or
/// a file that does not exist. Holds all that was acknowledged before the call. The copy is checked and durable
/// on return; nothing is overwritten.
///
/// # Errors
/// [`BackupError::NoState`], [`BackupError::Exists`], [`BackupError::NotWhole`] if the state itself is not whole, [`BackupError::Io`].
pub fn create(seal_dir: &Path, destination: &Path, now: Timestamp) -> Result<Created, BackupError> {
    let source = seal_dir.join(SEALED_DATA);
    let (file, extent) = open_whole(seal_dir, &source)?;
    let path = match destination.is_dir() {
        true => destination.join(name(extent.sequence, now)),
        false => destination.to_path_buf(),
    };
    // Taking the name first makes sure that nothing is overwritten; the content then arrives whole, by a rename.
    let reserved = Reserved::take(&path)?;
    let mut draft = Draft::create(beside(&path))?;
    draft.fill(&file, extent)?;
    let facts = draft.check(&path)?;
    draft.put_in_place(&path)?;
    reserved.keep();
    Ok(Created { path, facts })
}

/// The bytes of a backup of the state in `seal_dir`, for whoever writes them elsewhere. Holds all that was acknowledged
/// before the call, as [`create`] does; what has arrived must be checked there ([`super::Incoming`]).
///
/// # Errors
/// [`BackupError::NoState`], [`BackupError::NotWhole`], [`BackupError::Io`].
pub fn copy_of(seal_dir: &Path) -> Result<Copying, BackupError> {
    let (file, extent) = open_whole(seal_dir, &seal_dir.join(SEALED_DATA))?;
    Ok(Copying::new(file, extent))
}

/// The bytes of a backup, whole by its own marks, for whoever writes them elsewhere.
///
/// # Errors
/// [`BackupError::NotWhole`], [`BackupError::Io`].
pub fn read_whole(backup: &Path) -> Result<Vec<u8>, BackupError> {
    let path = super::sealed_data_at(backup);
    let file = File::open(&path).map_err(BackupError::io("opening", &path))?;
    let extent = Extent::whole(&file).map_err(BackupError::not_whole(&path))?;
    let mut bytes = Vec::new();
    Copying::new(file, extent).read_to_end(&mut bytes).map_err(BackupError::io("reading", &path))?;
    Ok(bytes)
}

/// Opens the state and finds how far it is whole. The open file stays what it is, whatever is renamed over it.
fn open_whole(seal_dir: &Path, source: &Path) -> Result<(File, Extent), BackupError> {
    let mut attempt = 1;
    loop {
        let error = match File::open(source) {
            Ok(file) => match Extent::whole(&file) {
                Ok(extent) => return Ok((file, extent)),
                Err(refusal) => BackupError::not_whole(source)(refusal),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                BackupError::NoState { path: seal_dir.to_path_buf() }
            }
            Err(error) => return Err(BackupError::io("opening", source)(error)),
        };
        if attempt == ATTEMPTS {
            return Err(error);
        }
        attempt += 1;
        sleep(PAUSE);
    }
}

/// `sealed_data.<time>.<sequence>`: sorts by time, and says where it comes from.
pub(super) fn name(sequence: Option<u64>, now: Timestamp) -> String {
    let what = sequence.map_or_else(|| "upstream".to_owned(), |sequence| sequence.to_string());
    format!("{SEALED_DATA}.{}.{what}", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// Where the copy is written at first.
pub(super) fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

/// The destination, taken by an empty file.
pub(super) struct Reserved(Option<PathBuf>);

impl Reserved {
    pub(super) fn take(path: &Path) -> Result<Self, BackupError> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(_) => Ok(Self(Some(path.to_path_buf()))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(BackupError::Exists { path: path.to_path_buf() })
            }
            Err(error) => Err(BackupError::io("creating", path)(error)),
        }
    }

    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = remove_file(path);
        }
    }
}
