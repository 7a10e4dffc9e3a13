//! Recovery mode: what waits, told to people and to the ceremony.

use std::io;
use std::sync::Arc;

use marblerun_recovery::RecoverySet;

use super::footprint::Footprint;
use super::{FileBackend, Mode, Waiting};
use crate::RecoveryMaterial;
use crate::backend::WaitingRoom;
use crate::disk::{Access, DiskFile, FileSystem, Readable};
use crate::format::{self, DekId, Layout, Refusal, SEALED_DATA, describe_front, read_front};

/// What who uploads a secret reads where no secret can help.
const NOT_RECOVERABLE: &str = "this state has no recovery keys, so no secret opens it: put the key of its own host back \
    (sealed_key, and the sealing key of that host) and restart, or restore a backup that has recovery keys";

impl Waiting {
    /// Why a state is not served, and what can be told of it.
    pub(super) fn new(code: &'static str, message: String, file: Option<&dyn DiskFile>) -> Self {
        let mut waiting = Self { code, message, footprint: None, sequence: 0, bytes: 0, slots: Vec::new() };
        let Some(file) = file else { return waiting };
        waiting.footprint = Footprint::of_file(file).ok();
        let Ok(source) = Readable::new(file) else { return waiting };
        waiting.bytes = source.length();
        if let Ok(Layout::Sealed(front)) = read_front(&source) {
            waiting.sequence = front.header.sequence;
            waiting.slots = describe_front(&front);
        }
        if let Ok(format::Inspected { body: Ok(body), .. }) = format::inspect(&source) {
            waiting.sequence = body.sequence;
        }
        waiting
    }

    /// From a refusal of the format.
    pub(super) fn refused(refusal: &Refusal, file: Option<&dyn DiskFile>) -> Self {
        let front = file.and_then(|file| read_front(&Readable::new(file).ok()?).ok());
        let message = match front {
            Some(Layout::Sealed(front)) if !front.is_recoverable() => refusal.without_recovery_keys(),
            _ => refusal.to_string(),
        };
        Self::new(refusal.code(), message, file)
    }
}

impl FileBackend {
    /// Key of the file that waits, as its header names it.
    pub(super) fn key_of_waiting(&self) -> Option<DekId> {
        let Mode::Recovery(_) = &self.mode else { return None };
        let file = self.ports.fs.open(SEALED_DATA, Access::Read).ok()?;
        match read_front(&Readable::new(&*file).ok()?) {
            Ok(Layout::Sealed(front)) => Some(front.header.dek_id),
            _ => None,
        }
    }
}

/// Looks at the directory afresh each time, so that a file put in place meanwhile is noticed.
pub(super) struct FileWaitingRoom {
    pub(super) fs: Arc<dyn FileSystem>,
}

impl WaitingRoom for FileWaitingRoom {
    fn material(&self) -> RecoveryMaterial {
        self.look().unwrap_or_else(|error| RecoveryMaterial {
            file_id: [0; 32],
            sets: Vec::new(),
            refusal: Some(Refusal::from(error).to_string()),
        })
    }

    fn opens(&self, candidate: &[u8]) -> bool {
        let Ok(file) = self.fs.open(SEALED_DATA, Access::Read) else { return false };
        let Ok(source) = Readable::new(&*file) else { return false };
        match read_front(&source) {
            Ok(Layout::Sealed(front)) => front.dek_from_recovery_root(candidate).is_some(),
            Ok(Layout::Upstream(front)) => format::upstream::open(&source, &front, candidate).is_ok(),
            Err(_) => false,
        }
    }
}

impl FileWaitingRoom {
    fn look(&self) -> io::Result<RecoveryMaterial> {
        let file = self.fs.open(SEALED_DATA, Access::Read)?;
        let source = Readable::new(&*file)?;
        // Upstream's files, and what cannot be read at all, have no name: their first and last bytes stand for one.
        let unnamed = || Ok::<_, io::Error>(Footprint::of_file(&*file)?.digest());
        Ok(match read_front(&source) {
            Ok(Layout::Sealed(front)) => RecoveryMaterial {
                file_id: front.file_id.0,
                refusal: (!front.is_recoverable()).then(|| NOT_RECOVERABLE.to_owned()),
                sets: front.header.recovery,
            },
            Ok(Layout::Upstream(front)) => RecoveryMaterial {
                file_id: unnamed()?,
                sets: RecoverySet::from_upstream_header(&front.header).into_iter().collect(),
                refusal: None,
            },
            Err(refusal) => {
                RecoveryMaterial { file_id: unnamed()?, sets: Vec::new(), refusal: Some(refusal.to_string()) }
            }
        })
    }
}
