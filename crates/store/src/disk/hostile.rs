//! A disk in memory that does what real ones do on bad days. Writes that were not synced are lost or torn when
//! the power goes; renames that were not synced happen or not, each name for itself; a failed sync forgets
//! what it should have stored; any call can fail, or do its work and still fail.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{Access, DiskFile, FileSystem};

/// Part of a write that reaches the disk or not by itself.
const SECTOR: usize = 512;

/// What goes wrong at one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails; a write may be half done, a sync forgets.
    Fails(ErrorKind),
    /// It does its work and fails all the same.
    FailsAfterwards,
    /// A write does half of its work and says so.
    Short,
    /// From here on there is no room.
    Full,
    /// The power goes: this and all later calls fail.
    PowerGoes,
}

/// What a call does, as far as faults are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It only looks: pread, open, readdir.
    Look,
    /// It needs room: pwrite, create.
    Write,
    /// It changes or syncs: ftruncate, rename, unlink, fdatasync, fsync.
    Change,
}

impl Class {
    pub(crate) const ALL: [Self; 3] = [Self::Look, Self::Write, Self::Change];

    /// The faults that make a difference for such a call. Where the power goes at a look, it might as well go at
    /// the next call that does something.
    pub(crate) fn faults(self) -> &'static [Fault] {
        const EIO: Fault = Fault::Fails(ErrorKind::Other);
        match self {
            Self::Look => &[EIO],
            Self::Write => &[
                EIO,
                Fault::Fails(ErrorKind::StorageFull),
                Fault::FailsAfterwards,
                Fault::Short,
                Fault::Full,
                Fault::PowerGoes,
            ],
            Self::Change => &[EIO, Fault::FailsAfterwards, Fault::PowerGoes],
        }
    }
}

/// One disk. Handles belong to one life of a process; [`Hostile::restart`] begins the next.
#[derive(Debug, Clone)]
pub(crate) struct Hostile {
    disk: Arc<Mutex<Disk>>,
    life: u64,
}

#[derive(Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    /// For each name changed since the last sync: what it stood for, oldest (durable) first.
    unsynced_names: BTreeMap<String, Vec<Option<usize>>>,
    plan: Vec<(Class, u64, Fault)>,
    full: bool,
    dark: bool,
    /// By [`Class`].
    calls: [u64; 3],
    life: u64,
    random: u64,
    failed: Vec<String>,
}

#[derive(Debug, Default, Clone)]
struct Inode {
    visible: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

/// What a call is to do.
enum Verdict {
    Works,
    WorksThenFails,
    Short,
    Fails(io::Error),
}

impl Hostile {
    pub(crate) fn new() -> Self {
        Self { disk: Arc::default(), life: 0 }
    }

    /// Lets the `call`th call of that class from now (the next is 0) go wrong, besides what was planned before.
    pub(crate) fn plan(&self, class: Class, call: u64, fault: Fault) {
        let mut disk = self.lock();
        let number = disk.calls[class as usize] + call;
        disk.plan.push((class, number, fault));
        disk.random = call.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    }

    /// No more faults; there is room again.
    pub(crate) fn heal(&self) {
        let mut disk = self.lock();
        disk.plan.clear();
        disk.full = false;
    }

    /// There is no room from now on.
    pub(crate) fn fill(&self) {
        self.lock().full = true;
    }

    /// Number of calls of a class so far.
    pub(crate) fn calls(&self, class: Class) -> u64 {
        self.lock().calls[class as usize]
    }

    /// The calls that went wrong.
    pub(crate) fn what_failed(&self) -> String {
        self.lock().failed.join(", ")
    }

    /// The process is killed: all it wrote stays visible, and is as little durable as before. Its handles are dead.
    pub(crate) fn restart(&self) -> Self {
        let mut disk = self.lock();
        disk.life += 1;
        disk.plan.clear();
        disk.dark = false;
        disk.full = false;
        Self { disk: Arc::clone(&self.disk), life: disk.life }
    }

    /// The power goes, and comes back to another disk with what one possible past has left. The seed decides which.
    pub(crate) fn power_loss(&self, seed: u64) -> Self {
        let disk = self.lock();
        let mut random = seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x5DEE_CE66_D1CE_4E5B;
        let inodes: Vec<_> = disk.inodes.iter().map(|inode| inode.after_power_loss(&mut random)).collect();
        let mut names = disk.names.clone();
        for (name, past) in &disk.unsynced_names {
            let mut candidates = past.clone();
            candidates.push(disk.names.get(name).copied());
            match candidates[draw(&mut random, candidates.len())] {
                Some(inode) => names.insert(name.clone(), inode),
                None => names.remove(name),
            };
        }
        Self { disk: Arc::new(Mutex::new(Disk { inodes, names, ..Disk::default() })), life: 0 }
    }

    /// The visible content of a file, read behind the back of the process.
    pub(crate) fn peek(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.lock();
        disk.names.get(name).map(|&inode| disk.inodes[inode].visible.clone())
    }

    /// Somebody writes over a file in place (`cp`), durably.
    pub(crate) fn overwrite(&self, name: &str, bytes: &[u8]) {
        let mut disk = self.lock();
        let inode = match disk.names.get(name) {
            Some(&inode) => inode,
            None => {
                disk.inodes.push(Inode::default());
                let inode = disk.inodes.len() - 1;
                disk.names.insert(name.to_owned(), inode);
                inode
            }
        };
        disk.inodes[inode] = Inode { visible: bytes.to_vec(), durable: bytes.to_vec(), unsynced: Vec::new() };
    }

    /// Somebody puts another file under a name (`tar x`, `mv`), durably.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) {
        self.lock().names.remove(name);
        self.overwrite(name, bytes);
    }

    /// Somebody removes a file, durably.
    pub(crate) fn delete(&self, name: &str) {
        self.lock().names.remove(name);
    }

    /// Names there are.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    /// Counts a call and decides about it.
    fn call(&self, what: String, class: Class) -> io::Result<(MutexGuard<'_, Disk>, Verdict)> {
        let mut disk = self.lock();
        if disk.life != self.life || disk.dark {
            return Err(io::Error::other("the process is dead"));
        }
        let number = disk.calls[class as usize];
        let planned = disk.plan.iter().find(|&&(c, n, _)| (c, n) == (class, number)).map(|&(_, _, fault)| fault);
        disk.calls[class as usize] += 1;
        if let Some(fault) = planned {
            disk.failed.push(format!("{what} <- {fault:?}"));
        }
        let is_write = class == Class::Write;
        let verdict = match planned {
            Some(Fault::Fails(kind)) => Verdict::Fails(kind.into()),
            Some(Fault::FailsAfterwards) => Verdict::WorksThenFails,
            Some(Fault::Short) if is_write => Verdict::Short,
            Some(Fault::PowerGoes) => {
                disk.dark = true;
                Verdict::Fails(io::Error::other("the power is gone"))
            }
            Some(Fault::Full) => {
                disk.full = true;
                if is_write { Verdict::Fails(ErrorKind::StorageFull.into()) } else { Verdict::Works }
            }
            _ if disk.full && is_write => Verdict::Fails(ErrorKind::StorageFull.into()),
            _ => Verdict::Works,
        };
        Ok((disk, verdict))
    }

    /// A call that is done wholly or not at all.
    fn whole<T>(&self, what: String, class: Class, work: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let (mut disk, verdict) = self.call(what, class)?;
        match verdict {
            Verdict::Works | Verdict::Short => work(&mut disk),
            Verdict::WorksThenFails => {
                work(&mut disk)?;
                Err(io::Error::other("failed afterwards"))
            }
            Verdict::Fails(error) => Err(error),
        }
    }
}

impl Disk {
    fn set_name(&mut self, name: &str, inode: Option<usize>) {
        let before = match inode {
            Some(inode) => self.names.insert(name.to_owned(), inode),
            None => self.names.remove(name),
        };
        self.unsynced_names.entry(name.to_owned()).or_default().push(before);
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Inode {
    fn apply(bytes: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Write(offset, data) => {
                if bytes.len() < offset + data.len() {
                    bytes.resize(offset + data.len(), 0);
                }
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
            Change::Truncate(length) => bytes.resize(*length, 0),
        }
    }

    fn change(&mut self, change: Change) {
        Self::apply(&mut self.visible, &change);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            Self::apply(&mut self.durable, &change);
        }
    }

    /// Some of what should have been stored is, the rest never will be, though it is still visible.
    fn fail_to_sync(&mut self, random: &mut u64) {
        for change in std::mem::take(&mut self.unsynced) {
            if draw(random, 2) == 0 {
                Self::apply(&mut self.durable, &change);
            }
        }
    }

    fn after_power_loss(&self, random: &mut u64) -> Self {
        let mut bytes = self.durable.clone();
        let mood = draw(random, 3);
        for change in &self.unsynced {
            match (mood, change) {
                (0, _) => {}
                (1, change) => Self::apply(&mut bytes, change),
                (_, Change::Truncate(_)) if draw(random, 2) == 0 => Self::apply(&mut bytes, change),
                (_, Change::Truncate(_)) => {}
                (_, Change::Write(offset, data)) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        if draw(random, 2) == 0 {
                            Self::apply(&mut bytes, &Change::Write(offset + index * SECTOR, sector.to_vec()));
                        }
                    }
                }
            }
        }
        Self { visible: bytes.clone(), durable: bytes, unsynced: Vec::new() }
    }
}

/// xorshift: the tests must be repeatable.
fn draw(random: &mut u64, below: usize) -> usize {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    usize::try_from((*random >> 11) % below as u64).unwrap()
}

impl FileSystem for Hostile {
    fn make_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.whole("readdir".to_owned(), Class::Look, |disk| Ok(disk.names.keys().cloned().collect()))
    }

    fn open(&self, name: &str, _access: Access) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.whole(format!("open {name}"), Class::Look, |disk| disk.inode(name))?;
        Ok(Box::new(HostileFile { disk: self.clone(), inode, name: name.to_owned() }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.whole(format!("create {name}"), Class::Write, |disk| {
            if disk.names.contains_key(name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            disk.inodes.push(Inode::default());
            let inode = disk.inodes.len() - 1;
            disk.set_name(name, Some(inode));
            Ok(inode)
        })?;
        Ok(Box::new(HostileFile { disk: self.clone(), inode, name: name.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.whole(format!("rename {from} {to}"), Class::Change, |disk| {
            let inode = disk.inode(from)?;
            disk.set_name(to, Some(inode));
            disk.set_name(from, None);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.whole(format!("unlink {name}"), Class::Change, |disk| {
            disk.inode(name)?;
            disk.set_name(name, None);
            Ok(())
        })
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.whole("fsync .".to_owned(), Class::Change, |disk| {
            disk.unsynced_names.clear();
            Ok(())
        })
    }

    fn lock(&self, _name: &str, _wait: Duration) -> io::Result<Box<dyn Send>> {
        Ok(Box::new(()))
    }
}

#[derive(Debug)]
struct HostileFile {
    disk: Hostile,
    inode: usize,
    name: String,
}

impl HostileFile {
    fn sync(&self, what: &str) -> io::Result<()> {
        let (mut disk, verdict) = self.disk.call(format!("{what} {}", self.name), Class::Change)?;
        match verdict {
            Verdict::Works | Verdict::Short => {
                disk.inodes[self.inode].sync();
                Ok(())
            }
            Verdict::WorksThenFails => {
                disk.inodes[self.inode].sync();
                Err(io::Error::other("failed afterwards"))
            }
            Verdict::Fails(error) => {
                let mut random = disk.random | 1;
                // A disk without power forgets nothing yet: what is lost is decided when it comes back.
                if !disk.dark {
                    disk.inodes[self.inode].fail_to_sync(&mut random);
                }
                Err(error)
            }
        }
    }
}

impl DiskFile for HostileFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let what = format!("pread {} {} at {offset}", self.name, buffer.len());
        self.disk.whole(what, Class::Look, |disk| {
            let bytes = &disk.inodes[self.inode].visible;
            let start = usize::try_from(offset).unwrap().min(bytes.len());
            let count = buffer.len().min(bytes.len() - start);
            buffer[..count].copy_from_slice(&bytes[start..start + count]);
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let what = format!("pwrite {} {} at {offset}", self.name, bytes.len());
        let (mut disk, verdict) = self.disk.call(what, Class::Write)?;
        let offset = usize::try_from(offset).unwrap();
        let (count, result) = match verdict {
            Verdict::Works => (bytes.len(), Ok(bytes.len())),
            Verdict::Short => (bytes.len().div_ceil(2), Ok(bytes.len().div_ceil(2))),
            Verdict::WorksThenFails => (bytes.len(), Err(io::Error::other("failed afterwards"))),
            Verdict::Fails(error) => (bytes.len() / 2, Err(error)),
        };
        if count > 0 {
            disk.inodes[self.inode].change(Change::Write(offset, bytes[..count].to_vec()));
        }
        result
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.whole(format!("ftruncate {} {length}", self.name), Class::Change, |disk| {
            disk.inodes[self.inode].change(Change::Truncate(usize::try_from(length).unwrap()));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync("fdatasync")
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync("fsync")
    }
}
