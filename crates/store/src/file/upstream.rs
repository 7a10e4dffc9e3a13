//! Import of upstream's two files: both are archived, then the state is founded anew in our format, with
//! upstream's data encryption key as the recovery root, so that the holders' secrets stay good.

use std::sync::Arc;

use marblerun_sealing::{SealMode, Sealers};
use marblerun_state::State;
use zeroize::Zeroizing;

use super::establish::Foundation;
use super::footprint::Footprint;
use super::key::KeyOnDisk;
use super::names::{ArchiveName, Reason};
use super::new_file::NotPlaced;
use super::{FileBackend, Mode, Waiting, seal_mode};
use crate::disk::{DiskFile, FileSystem, Readable};
use crate::format::upstream::UpstreamFront;
use crate::format::{KeyFile, Refusal, SEALED_KEY};
use crate::lives;
use crate::upstream::NotImported;

impl FileBackend {
    /// Imports at start, with the key that lies beside the file.
    pub(super) fn import_at_start(&mut self, file: &dyn DiskFile, front: &UpstreamFront, on_disk: &KeyOnDisk) {
        let result = find_state(&*self.ports.fs, &self.config.sealers, file, front, on_disk)
            .and_then(|state| {
                lives::imported(state, self.ports.clock.now_ms())
                    .map_err(|message| NotImported { code: "not_imported", message })
            })
            .and_then(|state| self.import(Arc::new(state), file));
        if let Err(not_imported) = result {
            let NotImported { code, message } = not_imported;
            self.mode = Mode::Recovery(Waiting::new(code, message, Some(file)));
        }
    }

    /// Takes an imported state over.
    pub(super) fn import(&mut self, state: Arc<State>, file: &dyn DiskFile) -> Result<(), NotImported> {
        let footprint = Footprint::of_file(file).map_err(Refusal::from)?;
        if seal_mode(&state) == SealMode::Disabled {
            let note = "the state of upstream's Coordinator has seal mode Disabled: it is loaded at each start, and no \
                        change to it is stored";
            self.notes.push(note.to_owned());
            self.mode = Mode::Volatile { beneath: Some(footprint) };
            self.state = state;
            return Ok(());
        }
        let foundation = Foundation {
            replaces: Some(footprint),
            reason: Some(Reason::Imported),
            ..Foundation::genesis(1, self.ports.clock.now_ms())
        };
        self.found(&state, &foundation).map_err(|not_placed| {
            let why = match not_placed {
                NotPlaced::Failed(why) | NotPlaced::Uncertain(why) => why,
                NotPlaced::Superseded => "it was replaced meanwhile".to_owned(),
            };
            let message =
                format!("upstream's sealed_data opens, but cannot be written in our format: {why}. Then restart");
            NotImported { code: "not_imported", message }
        })?;
        self.notes.push("the state was imported from upstream's Coordinator; its files are archived".to_owned());
        Ok(())
    }
}

fn find_state(
    fs: &dyn FileSystem,
    sealers: &Sealers,
    file: &dyn DiskFile,
    front: &UpstreamFront,
    on_disk: &KeyOnDisk,
) -> Result<State, NotImported> {
    let no_key = |reason: &str| NotImported::from(Refusal::NoKey { reason: reason.to_owned() });
    let simulated = sealers.in_simulation();
    match on_disk {
        // A bare key proves nothing about who wrote the state; only simulation takes it.
        KeyOnDisk::Upstream(_) if !simulated => {
            Err(no_key("upstream's sealed_key is a bare key, and anyone can make one"))
        }
        KeyOnDisk::Upstream(key) => read(file, front, key),
        KeyOnDisk::UpstreamHsm(envelope) => {
            let key = from_envelope(sealers, envelope).map_err(|why| no_key(&why))?;
            read(file, front, &key)
        }
        KeyOnDisk::Ours(_) if on_disk.is_pending() => {
            // A crash in the middle of an import: upstream's key was archived before ours was written.
            let archived = archived_keys(fs, sealers);
            let opened = archived.iter().find_map(|key| read(file, front, key).ok());
            opened.ok_or_else(|| no_key("an import was interrupted, and no archived sealed_key opens upstream's file"))
        }
        KeyOnDisk::Ours(_) => Err(NotImported {
            code: "older_than_witness",
            message: "sealed_data is upstream's, but this host vouches for a state of ours: an older copy was put in \
                      place. Recover with the recovery keys to accept it, or put the newer file back"
                .to_owned(),
        }),
        KeyOnDisk::Missing => Err(no_key("there is no sealed_key")),
        KeyOnDisk::Unusable(why) => Err(no_key(why)),
    }
}

/// The key in an HSM's envelope. What an HSM of the configuration released proves as much as that HSM does.
fn from_envelope(sealers: &Sealers, envelope: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let believed = sealers.iter().filter(|sealer| sealers.in_simulation() || sealer.proves_its_maker());
    let inner = believed.filter_map(|sealer| sealer.open_upstream(envelope)).next().ok_or(
        "sealed_key is sealed by an HSM of another program, and none is configured that opens it (MARBLERUN_SEAL=azure-hsm)",
    )?;
    match KeyFile::decode(&inner.map_err(|error| error.to_string())?) {
        Ok(KeyFile::UpstreamKey(key)) => Ok(key),
        _ => Err("sealed_key opens with the HSM, and holds what only the enclave that sealed it opens".to_owned()),
    }
}

fn archived_keys(fs: &dyn FileSystem, sealers: &Sealers) -> Vec<Zeroizing<Vec<u8>>> {
    let names = fs.list().unwrap_or_default();
    let archives = names.iter().filter_map(|name| ArchiveName::parse(name));
    archives
        .filter(|archive| archive.reason == Reason::Imported && archive.base == SEALED_KEY)
        .filter_map(|archive| match KeyOnDisk::read(fs, &archive.to_string()) {
            KeyOnDisk::Upstream(key) if sealers.in_simulation() => Some(key),
            KeyOnDisk::UpstreamHsm(envelope) => from_envelope(sealers, &envelope).ok(),
            _ => None,
        })
        .collect()
}

/// Decrypts and reads upstream's state.
pub(super) fn read(file: &dyn DiskFile, front: &UpstreamFront, key: &[u8]) -> Result<State, NotImported> {
    crate::upstream::read(&Readable::new(file).map_err(Refusal::from)?, front, key)
}
