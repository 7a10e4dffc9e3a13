//! A backup that a user is given over the client API: the bytes of `sealed_data`, and an entry in the audit trail that
//! is durable, and in the copy, before the first byte leaves.

use std::io::{self, Read};
use std::sync::Arc;

use jiff::Timestamp;
use marblerun_state::{AuditEvent, Draft, Permission, State};
use marblerun_store::backup::{BackupError, Copying};
use marblerun_store::{StoreMode, StoreStatus};
use tokio::sync::OwnedSemaphorePermit;

use crate::core::answer::PeerCertificate;
use crate::core::transaction::{self, Step};
use crate::core::{Coordinator, audit, identity, off_thread};
use crate::error::{Error, ErrorKind};

/// Backups that are handed out at a time; each reads the whole file.
pub(super) const AT_A_TIME: usize = 4;

/// A copy of the sealed state on its way to a user.
pub struct BackupCopy {
    /// Its bytes.
    pub copying: Copying,
    _turn: OwnedSemaphorePermit,
}

impl Read for BackupCopy {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.copying.read(buffer)
    }
}

impl Coordinator {
    /// `GET backup`, for users who may update the manifest. May read for a while.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn backup(&self, user: Option<&PeerCertificate>) -> Result<BackupCopy, Error> {
        let copy = self.record_and_copy(user).await;
        self.noted(user, "backup", copy)
    }

    async fn record_and_copy(&self, user: Option<&PeerCertificate>) -> Result<BackupCopy, Error> {
        self.currency.decide(|state| judge(state, user).map(drop)).await?;
        if let Some(view) = self.currency.view() {
            let text = format!(
                "the state is shared and lies in {}: a copy of that object is a backup, and there is none to be had here",
                view.place
            );
            return Err(Error::new(ErrorKind::Refused, "state_is_shared", text));
        }
        let before = require_stored(self.store_status())?;
        let busy = || Error::new(ErrorKind::Unavailable, "busy", "other backups are being read; try again");
        let turn = Arc::clone(&self.backups).try_acquire_owned().map_err(|_| busy())?;

        let (peer, now) = (user.cloned(), self.settings.clock.now());
        let told = format!("sealed:{}", hex::encode(before.head.unwrap_or_default()));
        let commit = move |draft: &mut Draft| record(draft, peer.as_ref(), now, &told);
        transaction::commit(&self.currency, "", commit).await.map_err(|step| match step {
            Step::Refused(error) => error,
            Step::Stale => Error::wrong_state(),
        })?;
        let store = self.store.clone();
        let copying = off_thread(move || store.copy().map_err(|error| not_copied(&error))).await?;
        Ok(BackupCopy { copying, _turn: turn })
    }
}

fn judge(state: &State, peer: Option<&PeerCertificate>) -> Result<String, Error> {
    let user = identity::user(state, peer)?;
    if !user.is_allowed(Permission::UpdateManifest, std::iter::empty()) {
        let text = format!("user {} is not allowed to back up the state: it takes UpdateManifest", user.name);
        return Err(Error::new(ErrorKind::Forbidden, "not_allowed", text));
    }
    Ok(user.name.clone())
}

fn record(draft: &mut Draft, peer: Option<&PeerCertificate>, now: Timestamp, told: &str) -> Result<(), Step> {
    let user = judge(draft.state(), peer)?;
    audit::record(draft, [audit::entry(AuditEvent::Backup, now, &audit::user(&user), "sealed_data").after(told)])?;
    Ok(())
}

fn require_stored(status: StoreStatus) -> Result<StoreStatus, Error> {
    match status.mode {
        StoreMode::Durable => Ok(status),
        StoreMode::Volatile | StoreMode::Recovery { .. } => Err(Error::new(
            ErrorKind::Refused,
            "no_sealed_state",
            "there is no sealed state of this Coordinator to back up (no manifest yet, or SealMode Disabled)",
        )),
        StoreMode::Superseded | StoreMode::Diverged { .. } | StoreMode::ReadOnly { .. } => Err(Error::new(
            ErrorKind::Unavailable,
            "unavailable",
            "the state cannot be written, so that a backup cannot be recorded; see the status",
        )),
    }
}

fn not_copied(error: &BackupError) -> Error {
    tracing::error!(%error, "a backup could not be read");
    // Names of files are the host's business.
    Error::new(ErrorKind::Internal, "not_copied", format!("the sealed state cannot be copied ({})", error.code()))
}
