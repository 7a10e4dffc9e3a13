//! Software sealers for simulation: an unprotected slot, and a key file that plays the host.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{KeySealer, NewSlot, SealError, SealMode, SlotKind};

/// The slot secret is stored in the clear. Simulation only.
#[derive(Debug, Default, Clone, Copy)]
pub struct Plain;

impl KeySealer for Plain {
    fn kind(&self) -> SlotKind {
        SlotKind::Plain
    }

    fn name(&self) -> &'static str {
        "plain"
    }

    fn new_slot(&self, _mode: SealMode) -> Result<NewSlot, SealError> {
        todo!()
    }

    fn slot_secret(&self, _params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        todo!()
    }
}

/// A file that plays the host's seal key (`MARBLERUN_SIMULATION_HOST_KEY`). Made if absent.
#[derive(Debug, Clone)]
pub struct HostKeyFile {
    path: PathBuf,
}

impl HostKeyFile {
    /// A sealer over that file. The file is read at every use, so that losing the "host" is noticed.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }
}

impl KeySealer for HostKeyFile {
    fn kind(&self) -> SlotKind {
        SlotKind::Platform
    }

    fn name(&self) -> &'static str {
        "host-key-file"
    }

    fn new_slot(&self, _mode: SealMode) -> Result<NewSlot, SealError> {
        let _ = &self.path;
        todo!()
    }

    fn slot_secret(&self, _params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        todo!()
    }
}
