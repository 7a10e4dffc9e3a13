//! Putting a backup in place of the state of a seal directory.
//!
//! What is replaced is copied aside first, `sealed_key` too; `sealed_key` stays in place as well: with it the host opens
//! a backup of its own by itself. A Coordinator that runs notices the other file before its next write, writes
//! nothing any more, and loads the restored file when it is restarted.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError, read, remove_file};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::copy::{Draft, Extent, sync_parent};
use super::facts::{Facts, Sealed, facts};
use super::{BackupError, Condition, sealed_data_at};
use crate::format::{KeyFile, Layout, SEALED_DATA, SEALED_KEY, Source, read_front, upstream};

/// Held by a running Coordinator.
const LOCK: &str = "sealed_data.lock";
/// The restored file before it is in place; no trace of a state by itself.
const RESTORING: &str = "sealed_data.restoring";
/// How many states replaced by restores are kept.
const KEEP: usize = 3;
/// How long what a running Coordinator may still be writing is waited for, and in which steps.
const SETTLE: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// A restore that was done.
#[derive(Debug)]
pub struct Restored {
    /// What is in place now.
    pub facts: Facts,
    /// Where what it replaced is kept.
    pub archived: Vec<PathBuf>,
    /// A Coordinator uses the directory: it must be restarted to load the restored file.
    pub running: bool,
    /// `sealed_key` in the directory has a key for the restored file; whether the host vouches for a newer state is for the Coordinator to judge.
    pub key_here: bool,
}

/// Puts `backup` (a file, or a seal directory) in place in `seal_dir`, at once and durably.
///
/// Without `force` it refuses to replace a newer state, one of another deployment, and one that cannot be compared.
///
/// # Errors
/// [`BackupError::NotWhole`] if the backup is not whole, [`BackupError::WouldReplace`], [`BackupError::Replaced`], [`BackupError::Io`].
pub fn restore(backup: &Path, seal_dir: &Path, force: bool) -> Result<Restored, BackupError> {
    let source = sealed_data_at(backup);
    let file = File::open(&source).map_err(BackupError::io("opening", &source))?;
    let restored = facts(&file, &source)?;
    let extent = Extent::whole(&file).map_err(BackupError::not_whole(&source))?;

    DirBuilder::new().recursive(true).mode(0o700).create(seal_dir).map_err(BackupError::io("creating", seal_dir))?;
    let lock = Lock::try_take(seal_dir);
    let target = seal_dir.join(SEALED_DATA);
    let current = match File::open(&target) {
        Ok(file) => Some(Current { facts: facts(&file, &target)?, file }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(BackupError::io("opening", &target)(error)),
    };
    if let (Some(current), false) = (&current, force) {
        may_replace(&restored, &current.facts)?;
    }
    let mut draft = Draft::create_for_owner(seal_dir.join(RESTORING))?;
    draft.fill(&file, extent)?;
    draft.check(&source)?;
    let archive = current.map(|current| Archive::make(seal_dir, current)).transpose()?;
    let start = prologue(&draft.file, &target)?;
    draft.put_in_place(&target)?;

    let running = matches!(lock, Lock::HeldByAnother);
    let archived = match archive {
        Some(archive) => archive.settle(if running { SETTLE } else { 1 })?,
        None => Vec::new(),
    };
    let placed = File::open(&target).map_err(BackupError::io("opening", &target))?;
    if prologue(&placed, &target)? != start {
        return Err(BackupError::Replaced { path: target });
    }
    prune(seal_dir, &archived);
    let key_here = has_key(seal_dir, &placed);
    Ok(Restored { facts: facts(&placed, &target)?, archived, running, key_here })
}

/// What stands in the directory. Open, so that it can be read after it was replaced.
struct Current {
    facts: Facts,
    file: File,
}

/// Whether replacing `current` by `backup` loses nothing.
///
/// # Errors
/// [`BackupError::WouldReplace`].
pub fn may_replace(backup: &Facts, current: &Facts) -> Result<(), BackupError> {
    let refuse = |code, reason| Err(BackupError::WouldReplace { code, reason });
    let place = current.path.display();
    let (Some(new), Some(old)) = (&backup.sealed, &current.sealed) else {
        if same_bytes(backup, current) {
            return Ok(());
        }
        let why = match current.condition {
            Condition::Upstream => "it was written by the Go Coordinator".to_owned(),
            Condition::Refused(ref refusal) => refusal.to_string(),
            _ => "the backup was written by the Go Coordinator".to_owned(),
        };
        return refuse("unknown_state", format!("it cannot be told whether {place} is newer than the backup: {why}"));
    };
    if new.deployment_id != old.deployment_id {
        let [old, new] = [old, new].map(|sealed| hex::encode(sealed.root_fingerprint));
        let reason = format!("{place} belongs to another deployment (root certificate {old}) than the backup ({new})");
        return refuse("other_deployment", reason);
    }
    if is_newer(old, new) {
        let tell = |sealed: &Sealed| format!("sequence {} of incarnation {}", sealed.sequence, sealed.incarnation);
        let reason = format!("{place} holds a newer state ({}) than the backup ({})", tell(old), tell(new));
        return refuse("newer_state", reason);
    }
    Ok(())
}

/// Whether `old` has what `new` has not.
fn is_newer(old: &Sealed, new: &Sealed) -> bool {
    if old.incarnation_id != new.incarnation_id {
        // Another life: only one that came later is known to build on the other.
        return old.incarnation >= new.incarnation;
    }
    let forked = old.sequence == new.sequence && old.head.is_some() && old.head != new.head;
    old.sequence > new.sequence || forked
}

fn same_bytes(a: &Facts, b: &Facts) -> bool {
    a.bytes == b.bytes && matches!((read(&a.path), read(&b.path)), (Ok(a), Ok(b)) if a == b)
}

/// Copies of what is replaced.
struct Archive {
    current: Current,
    data: PathBuf,
    key: Option<PathBuf>,
    copied: Stamp,
}

/// Tells whether a file was written to.
#[derive(PartialEq, Eq)]
struct Stamp {
    length: u64,
    marks: Vec<u8>,
}

impl Archive {
    /// Durable before anything is replaced; where it cannot be made, nothing is.
    fn make(dir: &Path, current: Current) -> Result<Self, BackupError> {
        let sequence = current.facts.sealed.as_ref().map_or(0, |sealed| sealed.sequence);
        let name = |base: &str, number: u32| match number {
            1 => dir.join(format!("{base}.{sequence}.restored")),
            _ => dir.join(format!("{base}.{sequence}.restored.{number}")),
        };
        let free = |number: &u32| !name(SEALED_DATA, *number).exists() && !name(SEALED_KEY, *number).exists();
        let number = (1..u32::MAX).find(free).unwrap_or(u32::MAX);
        let (data, key) = (name(SEALED_DATA, number), name(SEALED_KEY, number));
        let copied = Self::copy(&current, &data)?;
        let key = match File::open(dir.join(SEALED_KEY)) {
            Ok(file) => {
                let mut draft = Draft::create_for_owner(unfinished(&key))?;
                let everything = Extent::everything(&file).map_err(BackupError::io("reading", &key))?;
                draft.fill(&file, everything)?;
                draft.put_in_place(&key)?;
                Some(key)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(BackupError::io("opening", &dir.join(SEALED_KEY))(error)),
        };
        Ok(Self { current, data, key, copied })
    }

    fn copy(current: &Current, data: &Path) -> Result<Stamp, BackupError> {
        let file = &current.file;
        let failed = || BackupError::io("reading", &current.facts.path);
        let stamp = Stamp::of(file).map_err(failed())?;
        let mut draft = Draft::create_for_owner(unfinished(data))?;
        draft.fill(file, Extent::everything(file).map_err(failed())?)?;
        // A copy during which the file was written to may have marks from before and records from after. Then
        // what is whole is copied, and marked as that.
        if Stamp::of(file).map_err(failed())? != stamp
            && let Ok(whole) = Extent::whole(file)
        {
            draft.fill(file, whole)?;
        }
        draft.put_in_place(data)?;
        Ok(stamp)
    }

    /// Catches up with what a running Coordinator wrote, and acknowledged, between the copy and the replacement.
    fn settle(mut self, steps: u32) -> Result<Vec<PathBuf>, BackupError> {
        for step in 0..steps {
            let now = Stamp::of(&self.current.file).map_err(BackupError::io("reading", &self.data))?;
            if now != self.copied {
                self.copied = Self::copy(&self.current, &self.data)?;
            }
            if step + 1 < steps {
                sleep(PAUSE);
            }
        }
        Ok([Some(self.data), self.key].into_iter().flatten().collect())
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let mut marks = Vec::new();
        if let Ok(Layout::Sealed(front)) = read_front(file)
            && let Some(page) = front.marks_page()
        {
            marks.resize(32, 0);
            FileExt::read_exact_at(file, &mut marks, page)?;
        }
        Ok(Self { length: file.metadata()?.len(), marks })
    }
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_file_name(format!("{RESTORING}.archive"))
}

/// Removes the oldest of the states that restores replaced. Best effort.
fn prune(dir: &Path, just_made: &[PathBuf]) {
    for base in [SEALED_DATA, SEALED_KEY] {
        let mut archives: Vec<_> = dir
            .read_dir()
            .into_iter()
            .flatten()
            .filter_map(|entry| Some((entry.as_ref().ok()?.metadata().ok()?.modified().ok()?, entry.ok()?.path())))
            .filter(|(_, path)| is_restored_archive(path, base) && !just_made.contains(path))
            .collect();
        archives.sort();
        let made = usize::from(just_made.iter().any(|path| is_restored_archive(path, base)));
        for (_, path) in archives.iter().rev().skip(KEEP - made) {
            let _ = remove_file(path);
        }
    }
    let _ = sync_parent(&dir.join(SEALED_DATA));
}

fn is_restored_archive(path: &Path, base: &str) -> bool {
    let Some(rest) = path.file_name().and_then(|name| name.to_str()?.strip_prefix(base)?.strip_prefix('.')) else {
        return false;
    };
    let mut parts = rest.split('.');
    let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u64>().is_ok());
    let begins = number(parts.next()) && parts.next() == Some("restored");
    begins && parts.next().is_none_or(|part| number(Some(part))) && parts.next().is_none()
}

/// Whether `sealed_key` has a key for the file.
fn has_key(dir: &Path, file: &File) -> bool {
    read(dir.join(SEALED_KEY)).is_ok_and(|key| is_key_for(&key, file))
}

/// Whether `sealed_key` is for this `sealed_data`. Whether anybody can open it is not asked.
pub fn is_key_for(sealed_key: &[u8], sealed_data: &(impl Source + ?Sized)) -> bool {
    match (read_front(sealed_data), KeyFile::decode(sealed_key)) {
        (Ok(Layout::Sealed(front)), Ok(KeyFile::Ours(key))) => key.entry(front.header.dek_id).is_some(),
        (Ok(Layout::Upstream(front)), Ok(KeyFile::UpstreamKey(key))) => {
            upstream::open(sealed_data, &front, &key).is_ok()
        }
        _ => false,
    }
}

fn prologue(file: &File, path: &Path) -> Result<Vec<u8>, BackupError> {
    let mut start = vec![0; 256];
    let count = file.read_at(&mut start, 0).map_err(BackupError::io("reading", path))?;
    start.truncate(count);
    Ok(start)
}

/// The lock of the directory. Taken while restoring, so that no Coordinator starts in between.
enum Lock {
    /// Held until dropped; or no Coordinator was here yet, or there are no locks.
    Taken { _file: Option<File> },
    /// A Coordinator runs.
    HeldByAnother,
}

impl Lock {
    fn try_take(dir: &Path) -> Self {
        // Not made where it is missing: it would be owned by who restores.
        let opened = OpenOptions::new().read(true).write(true).open(dir.join(LOCK));
        let Ok(file) = opened else { return Self::Taken { _file: None } };
        match file.try_lock() {
            Ok(()) => Self::Taken { _file: Some(file) },
            Err(TryLockError::WouldBlock) => Self::HeldByAnother,
            Err(TryLockError::Error(_)) => Self::Taken { _file: None },
        }
    }
}
