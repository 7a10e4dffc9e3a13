//! The start-up manifest: a file that is set as if a user had sent it.
//!
//! It begins a deployment and nothing else. A restart finds its own manifest in force and goes on; another
//! manifest in force (there may have been updates) and a state that waits for recovery are left alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use marblerun_api::bytes::Base64;
use marblerun_api::v2;
use marblerun_manifest::Manifest;
use marblerun_state::Phase;

use crate::core::Coordinator;

/// Why the start-up manifest is not in force.
#[derive(Debug, thiserror::Error)]
pub enum StartupManifestError {
    /// The file cannot be read.
    #[error("the start-up manifest {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// File.
        path: PathBuf,
        /// Cause.
        reason: std::io::Error,
    },
    /// There is no place for its recovery data, so it was not set.
    #[error(
        "the recovery data of the start-up manifest cannot be written to {}: {reason}. Nothing was set; see MARBLERUN_STARTUP_RECOVERY_DATA",
        path.display()
    )]
    NoPlaceForRecoveryData {
        /// File.
        path: PathBuf,
        /// Cause.
        reason: String,
    },
    /// The Coordinator refused it.
    #[error("the start-up manifest {} was refused: {reason}", path.display())]
    Refused {
        /// File.
        path: PathBuf,
        /// Cause.
        reason: String,
    },
    /// It is set, but the recovery data could not be kept.
    #[error(
        "the start-up manifest is set, but its recovery data could not be written to {}: {reason}. \
         Unless MARBLERUN_RECOVERY_IN_HEADER is off, they also stand, encrypted, in the header of sealed_data",
        path.display()
    )]
    RecoveryDataLost {
        /// File.
        path: PathBuf,
        /// Cause.
        reason: std::io::Error,
    },
}

/// A start-up manifest that was read.
pub(super) struct StartupManifest {
    path: PathBuf,
    raw: Vec<u8>,
    recovery_data: PathBuf,
}

impl StartupManifest {
    pub(super) fn read(path: &Path, recovery_data: &Path) -> Result<Self, StartupManifestError> {
        let raw = std::fs::read(path)
            .map_err(|reason| StartupManifestError::Unreadable { path: path.to_path_buf(), reason })?;
        // JSON stays as it is; YAML becomes what the command line would send, so that the fingerprints agree.
        let (raw, warnings) = marblerun_manifest::yaml::load(&raw)
            .map_err(|error| StartupManifestError::Refused { path: path.to_path_buf(), reason: error.to_string() })?;
        for warning in warnings {
            tracing::warn!(line = warning.line, "start-up manifest: {}", warning.text);
        }
        Ok(Self { path: path.to_path_buf(), raw, recovery_data: recovery_data.to_path_buf() })
    }

    /// Sets it where there is no state, and leaves every state alone.
    pub(super) async fn set(self, coordinator: &Coordinator) -> Result<(), StartupManifestError> {
        let state = coordinator.snapshot();
        match (state.phase(), state.manifest()) {
            (Phase::AcceptingManifest, _) => {}
            (Phase::Recovery, _) => {
                tracing::warn!("the start-up manifest is not set: a sealed state waits for recovery");
                return Ok(());
            }
            (Phase::AcceptingMarbles, Some(active)) if active.raw[..] == self.raw[..] => {
                tracing::info!("the start-up manifest is in force already");
                return Ok(());
            }
            (Phase::AcceptingMarbles, _) => {
                tracing::warn!("the start-up manifest is not set: another manifest is in force");
                return Ok(());
            }
        }
        drop(state);

        let place = self.reserve_place()?;
        let answer = coordinator.set_startup_manifest(self.raw.clone()).await.map_err(|error| {
            if let Some(place) = &place {
                // Nothing was written to it.
                let _ = std::fs::remove_file(&place.unfinished);
            }
            StartupManifestError::Refused { path: self.path.clone(), reason: error.message }
        })?;
        if let Some(place) = place {
            place.keep(answer.recovery_secrets).map_err(|reason| StartupManifestError::RecoveryDataLost {
                path: self.recovery_data.clone(),
                reason,
            })?;
            tracing::info!(file = %self.recovery_data.display(), "recovery data of the start-up manifest saved");
        }
        Ok(())
    }

    /// Makes sure that recovery data can be written before there are any. `None`: there will be none.
    fn reserve_place(&self) -> Result<Option<Place>, StartupManifestError> {
        // What does not decode is refused when it is set, with a better text.
        let has_keys = Manifest::decode(&self.raw).is_ok_and(|manifest| !manifest.recovery_keys.is_empty());
        if !has_keys {
            return Ok(None);
        }
        let fail =
            |reason: String| StartupManifestError::NoPlaceForRecoveryData { path: self.recovery_data.clone(), reason };
        if self.recovery_data.symlink_metadata().is_ok() {
            return Err(fail("the file exists, and what it holds may be the only copy. Move it away first".to_owned()));
        }
        let mut unfinished = self.recovery_data.clone().into_os_string();
        unfinished.push(".new");
        let unfinished = PathBuf::from(unfinished);
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
        let file = file.map_err(|error| fail(error.to_string()))?;
        Ok(Some(Place { file, unfinished, path: self.recovery_data.clone() }))
    }
}

/// An open file that becomes the recovery data.
struct Place {
    file: File,
    unfinished: PathBuf,
    path: PathBuf,
}

impl Place {
    /// In the form in which the command line saves them.
    fn keep(mut self, secrets: BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
        let secrets = secrets.into_iter().map(|(name, secret)| (name, Base64(secret))).collect();
        let text = serde_json::to_vec(&v2::ManifestSet { recovery_secrets: secrets })?;
        self.file.write_all(&text)?;
        self.file.sync_all()?;
        std::fs::rename(&self.unfinished, &self.path)?;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        File::open(dir)?.sync_all()
    }
}
