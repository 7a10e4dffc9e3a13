//! Copying a sealed file so that the copy is whole by its own marks, durable, and in place at once.

use std::borrow::Borrow;
use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use marblerun_state::Lineage;

use super::facts::{Facts, facts};
use super::{BackupError, Condition};
use crate::format::{self, Inspected, Layout, Marks, Refusal, read_front};

/// What of a file is worth copying.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Up to the end of the last whole record.
    length: u64,
    /// Where the marks stand.
    marks: Option<u64>,
    /// Of the last whole record, where there are records.
    pub(super) sequence: Option<u64>,
    /// Which life of which deployment, by the readable header.
    lineage: Option<Lineage>,
}

impl Extent {
    /// All that is whole. Of a file of the Go Coordinator, which has no marks: all there is.
    pub(super) fn whole(source: &File) -> Result<Self, Refusal> {
        match read_front(source)? {
            Layout::Upstream(front) => Ok(Self { length: front.length, marks: None, sequence: None, lineage: None }),
            Layout::Sealed(_) => {
                let Inspected { front, body, .. } = format::inspect(source)?;
                let (body, marks) = (body?, front.marks_page());
                let lineage = Some(front.header.lineage);
                Ok(Self { length: body.end, marks, sequence: Some(body.sequence), lineage })
            }
        }
    }

    /// Every byte, whatever it is worth.
    pub(super) fn everything(source: &File) -> io::Result<Self> {
        Ok(Self { length: source.metadata()?.len(), marks: None, sequence: None, lineage: None })
    }
}

/// The bytes of a copy, read while the source grows. The marks of the copy say what the copy has: those of the
/// source may have moved on meanwhile.
pub struct Copying<F = File> {
    source: F,
    extent: Extent,
    position: u64,
}

impl<F: Borrow<File>> Copying<F> {
    pub(super) fn new(source: F, extent: Extent) -> Self {
        Self { source, extent, position: 0 }
    }

    /// How many bytes there are in all.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.extent.length
    }

    /// Which life of which deployment, as the readable header says; `None` for a file of the Go Coordinator.
    #[must_use]
    pub fn lineage(&self) -> Option<&Lineage> {
        self.extent.lineage.as_ref()
    }
}

impl<F: Borrow<File>> Read for Copying<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.extent.length - self.position;
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(buffer) = buffer.get_mut(..wanted).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let count = self.source.borrow().read_at(buffer, self.position)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(page) = self.extent.marks {
            let mark = Marks::empty(page).advance(self.extent.length);
            // One mark, and none where the other would stand.
            let marks = mark.bytes.iter().chain(&[0; 16]);
            for (at, byte) in (mark.offset..).zip(marks) {
                let index = at.checked_sub(self.position).and_then(|index| usize::try_from(index).ok());
                if let Some(target) = index.filter(|index| *index < count).and_then(|index| buffer.get_mut(index)) {
                    *target = *byte;
                }
            }
        }
        self.position += count as u64;
        Ok(count)
    }
}

/// A file that is being written under a name of its own. Removed again unless it is put in place.
pub(super) struct Draft {
    pub(super) file: File,
    path: PathBuf,
    in_place: bool,
}

impl Draft {
    /// Creates it, mode 0600, replacing what an interrupted call has left.
    pub(super) fn create(path: PathBuf) -> Result<Self, BackupError> {
        match remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BackupError::io("removing", &path)(error));
            }
            _ => {}
        }
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        Ok(Self { file: opened.map_err(BackupError::io("creating", &path))?, path, in_place: false })
    }

    /// As [`Draft::create`], in a directory of a Coordinator: where that runs as another user, who restores as root must
    /// not lock it out.
    pub(super) fn create_for_owner(path: PathBuf) -> Result<Self, BackupError> {
        let draft = Self::create(path)?;
        let owner = parent(&draft.path).metadata().map_err(BackupError::io("reading", parent(&draft.path)))?;
        let mine = draft.file.metadata().map_err(BackupError::io("reading", &draft.path))?;
        if (mine.uid(), mine.gid()) != (owner.uid(), owner.gid()) {
            // Only root may; anybody else restores as the user of the Coordinator, or with rights of its group.
            let _ = fchown(&draft.file, Some(owner.uid()), Some(owner.gid()));
        }
        Ok(draft)
    }

    /// Copies from `source` and makes the copy durable.
    pub(super) fn fill(&mut self, source: &File, extent: Extent) -> Result<(), BackupError> {
        self.try_fill(source, extent).map_err(BackupError::io("writing", &self.path))
    }

    fn try_fill(&mut self, source: &File, extent: Extent) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        io::copy(&mut Copying::new(source, extent), &mut self.file)?;
        self.file.sync_all()
    }

    /// What the copy is, which must be whole.
    pub(super) fn check(&self, path: &Path) -> Result<Facts, BackupError> {
        let copied = facts(&self.file, path)?;
        let refusal = match copied.condition {
            Condition::Whole | Condition::Upstream => return Ok(copied),
            Condition::Refused(refusal) => refusal,
            Condition::Torn { .. } => Refusal::damaged("the copy differs from what was read before"),
        };
        Err(BackupError::NotWhole { path: path.to_path_buf(), refusal })
    }

    /// Where it is being written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames it to `target`, replacing that, and makes the name durable.
    pub(super) fn put_in_place(mut self, target: &Path) -> Result<(), BackupError> {
        rename(&self.path, target).map_err(BackupError::io("renaming to", target))?;
        self.in_place = true;
        sync_parent(target)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.in_place {
            // Best effort: the error that led here is the one to tell.
            let _ = remove_file(&self.path);
        }
    }
}

/// Makes the names in the directory of a file durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), BackupError> {
    let parent = parent(path);
    match File::open(parent).and_then(|dir| dir.sync_all()) {
        // Some file systems cannot sync a directory; the file itself was synced.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result.map_err(BackupError::io("syncing", parent)),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
