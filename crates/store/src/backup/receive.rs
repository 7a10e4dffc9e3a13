//! A backup whose bytes arrive piece by piece, from a Coordinator elsewhere. Nothing stands under its name until it
//! has arrived whole and was checked.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::BackupError;
use super::copy::Draft;
use super::create::{Created, Reserved, beside, name};
use super::facts::facts;

/// A backup on its way. Dropped before its end, it leaves nothing.
pub struct Incoming {
    draft: Draft,
    destination: Destination,
}

enum Destination {
    /// Gets its name from what has arrived.
    Folder(PathBuf),
    /// The name is taken already.
    File(PathBuf, Reserved),
}

impl Incoming {
    /// Prepares a place: in a folder, or under a name that does not exist.
    ///
    /// # Errors
    /// [`BackupError::Exists`], [`BackupError::Io`].
    pub fn begin(destination: &Path) -> Result<Self, BackupError> {
        if destination.is_dir() {
            let draft = Draft::create(beside(&destination.join("incoming")))?;
            return Ok(Self { draft, destination: Destination::Folder(destination.to_path_buf()) });
        }
        let reserved = Reserved::take(destination)?;
        let draft = Draft::create(beside(destination))?;
        Ok(Self { draft, destination: Destination::File(destination.to_path_buf(), reserved) })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.draft.file.write_all(bytes).map_err(BackupError::io("writing", self.draft.path()))
    }

    /// Checks what has arrived, as [`super::create`] checks its copy, and puts it in place durably.
    ///
    /// # Errors
    /// [`BackupError::NotWhole`], [`BackupError::Exists`], [`BackupError::Io`].
    pub fn finish(self, now: Timestamp) -> Result<Created, BackupError> {
        let Self { draft, destination } = self;
        draft.file.sync_all().map_err(BackupError::io("syncing", draft.path()))?;
        let (path, reserved) = match destination {
            Destination::File(path, reserved) => (path, reserved),
            Destination::Folder(folder) => {
                let path =
                    folder.join(name(facts(&draft.file, draft.path())?.sealed.map(|sealed| sealed.sequence), now));
                let reserved = Reserved::take(&path)?;
                (path, reserved)
            }
        };
        let facts = draft.check(&path)?;
        draft.put_in_place(&path)?;
        reserved.keep();
        Ok(Created { path, facts })
    }
}
