//! Copies kept of what is about to be replaced, and putting a state aside on request. A replacement whose
//! archive cannot be written is refused, so nothing here may fail silently but the removal of old copies.

use std::io;

use super::names::{ArchiveName, Reason, discarded, is_leftover};
use crate::disk::{Access, FileSystem, copy, read_up_to};
use crate::format::{SEALED_DATA, SEALED_KEY};

/// How many copies of a reason stay, where old ones go.
const KEEP: usize = 3;

/// Copies that were just made; can be taken back while nothing was replaced.
#[derive(Debug, Default)]
pub(super) struct Archived(Vec<String>);

impl Archived {
    /// The replacement did not happen: the copies are not needed. Best effort.
    pub(super) fn take_back(self, fs: &dyn FileSystem) {
        for name in self.0 {
            let _ = fs.remove(&name);
        }
    }

    pub(super) fn names(&self) -> &[String] {
        &self.0
    }
}

/// Copies `sealed_data` from `offset` on and, unless only a tail is kept, `sealed_key`; durable on return.
pub(super) fn archive(fs: &dyn FileSystem, reason: Reason, sequence: u64, offset: u64) -> io::Result<Archived> {
    let existing = fs.list()?;
    // Above those there are, also where lower ones are free again: the order of names is the order of age.
    let taken = existing.iter().filter_map(|name| ArchiveName::parse(name));
    let taken = taken.filter(|archive| archive.reason == reason && archive.sequence == sequence);
    let number = taken.map(|archive| archive.number).max().unwrap_or(0).saturating_add(1);
    let bases: &[&'static str] = if reason == Reason::Torn { &[SEALED_DATA] } else { &[SEALED_DATA, SEALED_KEY] };
    let mut made = Archived::default();
    for base in bases {
        if !existing.iter().any(|name| name == base) {
            continue;
        }
        let name = ArchiveName { reason, sequence, number, base }.to_string();
        made.0.push(name.clone());
        if let Err(error) = copy(fs, base, offset, &name) {
            made.take_back(fs);
            return Err(error);
        }
    }
    if let Err(error) = sync_directory(fs) {
        made.take_back(fs);
        return Err(error);
    }
    Ok(made)
}

/// Whether `sealed_data` as it is now, and `sealed_key` too if asked, was archived before for that reason.
pub(super) fn is_archived(fs: &dyn FileSystem, reason: Reason, key_too: bool) -> io::Result<bool> {
    let names = fs.list()?;
    let archives = names.iter().filter_map(|name| ArchiveName::parse(name));
    for data in archives.filter(|archive| archive.reason == reason && archive.base == SEALED_DATA) {
        let key = ArchiveName { base: SEALED_KEY, ..data.clone() }.to_string();
        if same_content(fs, SEALED_DATA, &data.to_string())?
            && (!key_too || (names.contains(&key) && same_content(fs, SEALED_KEY, &key)?))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes old copies of a reason of which only the newest are kept. Those just made are, whatever their sequence:
/// that of a restored state may be lower. Best effort.
pub(super) fn prune(fs: &dyn FileSystem, reason: Reason, just_made: &Archived) {
    let keep = match reason {
        Reason::Reset | Reason::Damaged => return,
        Reason::Rotated => 0,
        Reason::Imported | Reason::Restored | Reason::Torn => KEEP,
    };
    for base in [SEALED_DATA, SEALED_KEY] {
        let mut archives: Vec<_> = fs
            .list()
            .unwrap_or_default()
            .iter()
            .filter_map(|name| ArchiveName::parse(name))
            .filter(|archive| archive.reason == reason && archive.base == base)
            .collect();
        archives.sort_by_key(|archive| (just_made.0.contains(&archive.to_string()), archive.clone()));
        for old in archives.iter().rev().skip(keep) {
            if let Err(error) = fs.remove(&old.to_string()) {
                tracing::warn!(%error, archive = %old, "an old archive could not be removed");
            }
        }
    }
}

/// Renames archives and upstream's leftovers to `.discarded`.
pub(super) fn discard_archives(fs: &dyn FileSystem) -> io::Result<()> {
    for name in fs.list()? {
        if is_leftover(&name) || ArchiveName::parse(&name).is_some() {
            discard(fs, &name)?;
        }
    }
    sync_directory(fs)
}

/// Renames one file to `.discarded`, replacing nothing. A missing file is no error.
pub(super) fn discard(fs: &dyn FileSystem, name: &str) -> io::Result<()> {
    let existing = fs.list()?;
    if !existing.iter().any(|other| other == name) {
        return Ok(());
    }
    let free = (1..=u32::MAX).map(|number| discarded(name, number)).find(|free| !existing.contains(free));
    fs.rename(name, &free.unwrap_or_else(|| discarded(name, u32::MAX)))
}

/// Puts every trace aside, `sealed_key` last: whatever is left by a crash in between still asks for a decision.
pub(super) fn discard_everything(fs: &dyn FileSystem) -> io::Result<()> {
    discard_archives(fs)?;
    discard(fs, SEALED_DATA)?;
    sync_directory(fs)?;
    discard(fs, SEALED_KEY)?;
    sync_directory(fs)
}

/// Syncs the directory; file systems that cannot are let pass (the files themselves are synced).
pub(super) fn sync_directory(fs: &dyn FileSystem) -> io::Result<()> {
    match fs.sync_directory() {
        Err(error) if is_unsupported(&error) => Ok(()),
        other => other,
    }
}

/// Whether a file system says that it cannot sync directories at all.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
}

fn same_content(fs: &dyn FileSystem, one: &str, other: &str) -> io::Result<bool> {
    let (one, other) = (fs.open(one, Access::Read)?, fs.open(other, Access::Read)?);
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut offset = 0;
    loop {
        let count = read_up_to(&*one, &mut left, offset)?;
        if read_up_to(&*other, &mut right, offset)? != count || left.get(..count) != right.get(..count) {
            return Ok(false);
        }
        if count < left.len() {
            return Ok(true);
        }
        offset += count as u64;
    }
}
