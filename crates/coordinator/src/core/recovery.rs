//! Recovery: key holders bring back a state that this host cannot open. Collecting and judging secrets is
//! the pure ceremony of `marblerun-recovery`; this is the thread that leads from an upload to a served state.
//!
//! Anybody may upload. So an upload costs little, a refused one changes nothing, and none can be left half
//! done by hanging up: what changes the session runs in a task of its own.

use std::sync::Arc;

use marblerun_recovery::{Ceremony, Outcome, Upload, is_plain_secret, verify_quorum};
use marblerun_state::{Phase, State};
use marblerun_store::{RecoverError, Store};
use tokio::sync::{Mutex, OwnedMutexGuard};
use zeroize::Zeroizing;

use crate::core::answer::{RecoverAnswer, RecoveryProgress};
use crate::error::{Error, ErrorKind};

mod ephemeral;

use ephemeral::EphemeralKey;

/// The recovery in progress, if any.
#[derive(Clone, Default)]
pub(super) struct Recovery {
    session: Arc<Mutex<Option<Session>>>,
    ephemeral: EphemeralKey,
}

/// A ceremony belongs to one sealed file.
struct Session {
    file_id: [u8; 32],
    ceremony: Ceremony,
}

impl Recovery {
    /// Makes the ephemeral key ahead of the first question for it.
    pub(super) fn prepare(&self) {
        self.ephemeral.prepare();
    }

    /// Forgets what was collected.
    pub(super) async fn abandon(&self) {
        *self.session.lock().await = None;
        self.ephemeral.forget();
    }

    /// SubjectPublicKeyInfo DER of the key that secrets may be encrypted to.
    pub(super) async fn public_key(&self, store: &Store) -> Result<Vec<u8>, Error> {
        if store.snapshot().phase() != Phase::Recovery {
            return Err(Error::wrong_state());
        }
        self.ephemeral.announce().await
    }

    /// How far the holders of the file that waits have come. `None` if none waits, or no secret can help.
    pub(super) async fn progress(&self, store: &Store) -> Option<RecoveryProgress> {
        let session = self.session.lock().await;
        let store = store.clone();
        let material = tokio::task::spawn_blocking(move || store.recovery_material()).await.ok()??;
        if material.refusal.is_some() {
            return None;
        }
        let of =
            |ceremony: &Ceremony| RecoveryProgress { remaining: ceremony.remaining(), parties: ceremony.progress() };
        Some(match session.as_ref().filter(|session| session.file_id == material.file_id) {
            Some(session) => of(&session.ceremony),
            None => of(&Ceremony::new(&material.sets)),
        })
    }

    /// Takes one secret, plain or encrypted to the ephemeral key.
    pub(super) async fn recover(
        &self,
        store: &Store,
        secret: Zeroizing<Vec<u8>>,
        signature: Vec<u8>,
    ) -> Result<RecoverAnswer, Error> {
        let secret = if is_plain_secret(secret.len()) { secret } else { self.decrypted(store, secret).await? };
        if store.snapshot().phase() != Phase::Recovery {
            return Err(Error::wrong_state());
        }
        // Who hangs up while others are served leaves the line; who is served is served to the end.
        let session = Arc::clone(&self.session).lock_owned().await;
        let this = self.clone();
        let store = store.clone();
        let upload = Upload { secret, signature };
        let task = tokio::spawn(async move { this.take(session, &store, upload).await });
        task.await.unwrap_or_else(|_| Err(internal("the recovery was interrupted by a fault; upload the secret again")))
    }

    async fn decrypted(&self, store: &Store, secret: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Error> {
        let decrypted = if store.snapshot().phase() == Phase::Recovery {
            self.ephemeral.decrypt(secret).await
        } else {
            Err("server is not in expected state".to_owned())
        };
        decrypted.map_err(|cause| {
            Error::new(
                ErrorKind::BadRequest,
                "recovery_secret_not_decrypted",
                format!("failed to decrypt recovery secret: {cause}"),
            )
        })
    }

    async fn take(
        &self,
        mut session: OwnedMutexGuard<Option<Session>>,
        store: &Store,
        upload: Upload,
    ) -> Result<RecoverAnswer, Error> {
        let before = session.take();
        let (after, outcome) = add(store.clone(), before, upload).await?;
        *session = Some(after);

        let (root, uploads) = match outcome? {
            Outcome::Accepted { remaining, party } => {
                tracing::info!(party = party.as_deref().unwrap_or("unknown"), remaining, "recovery secret accepted");
                return Ok(RecoverAnswer {
                    remaining,
                    message: format!(
                        "Secret was processed successfully. Upload the next secret. Remaining secrets: {remaining}"
                    ),
                });
            }
            Outcome::Complete { root, uploads } => (root, uploads),
        };
        let check = Box::new(move |state: &State| check_quorum(state, &uploads));
        if let Err(error) = store.recover(root, check).await {
            // What was accepted stays accepted: who signed wrongly signs again, and nobody else has to.
            tracing::warn!(%error, "recovery failed; the sealed state is unchanged");
            return Err(failed(error));
        }
        *session = None;
        self.ephemeral.forget();
        tracing::warn!("recovery successful: the state was opened by its key holders");
        Ok(RecoverAnswer { remaining: 0, message: "Recovery successful.".to_owned() })
    }
}

/// Adds one upload to the ceremony of the file that waits now. Off the async threads: reads the file,
/// checks a signature, tries a slot.
async fn add(
    store: Store,
    session: Option<Session>,
    upload: Upload,
) -> Result<(Session, Result<Outcome, Error>), Error> {
    let adding = tokio::task::spawn_blocking(move || {
        let material = store.recovery_material()?;
        if let Some(refusal) = material.refusal {
            // No secret can help. What was collected stays, for the file may be put back.
            let session =
                session.unwrap_or_else(|| Session { file_id: material.file_id, ceremony: Ceremony::new(&[]) });
            return Some((session, Err(Error::new(ErrorKind::Refused, "sealed_state_unreadable", refusal))));
        }
        // Another file was put in place: secrets for the one before say nothing about it.
        let mut session = session
            .filter(|session| session.file_id == material.file_id)
            .unwrap_or_else(|| Session { file_id: material.file_id, ceremony: Ceremony::new(&material.sets) });
        let outcome = session.ceremony.add(upload, &|candidate| store.opens(candidate)).map_err(|error| {
            tracing::warn!(%error, "recovery secret refused");
            Error::new(ErrorKind::Refused, "recovery_secret_refused", format!("setting recovery key: {error}"))
        });
        Some((session, outcome))
    });
    match adding.await {
        Ok(Some(added)) => Ok(added),
        Ok(None) => Err(Error::wrong_state()),
        Err(_) => Err(internal("the recovery was interrupted by a fault; all secrets must be uploaded again")),
    }
}

/// The check that decides: signatures by the recovery keys of the manifest inside the opened state.
fn check_quorum(state: &State, uploads: &[Upload]) -> Result<Vec<String>, String> {
    let active = state.manifest().ok_or("the sealed state has no manifest")?;
    let manifest = &active.manifest;
    verify_quorum(&manifest.recovery_keys, manifest.config.recovery_threshold, uploads)
        .inspect(|parties| tracing::info!(?parties, "recovery secrets verified"))
        .map_err(|error| error.to_string())
}

fn failed(error: RecoverError) -> Error {
    match error {
        RecoverError::NotInRecovery => Error::wrong_state(),
        RecoverError::Refused(cause) => Error::new(ErrorKind::Refused, "recovery_refused", cause),
        RecoverError::CannotOpen(cause) => Error::new(
            ErrorKind::Refused,
            "sealed_state_not_opened",
            format!("loading sealed state: unsealing state: {cause}"),
        ),
        RecoverError::NotStored(cause) => Error::new(ErrorKind::Internal, "not_stored", cause),
    }
}

fn internal(text: &str) -> Error {
    Error::new(ErrorKind::Internal, "internal", text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::Clock;
    use crate::start::temporary_state;

    #[tokio::test]
    async fn who_hangs_up_leaves_the_line() {
        let state = temporary_state(Phase::Recovery, "localhost", &Clock::system()).unwrap();
        let (store, recovery) = (Store::in_memory(state), Recovery::default());
        let being_served = Arc::clone(&recovery.session).lock_owned().await;
        for _ in 0..10 {
            let upload = recovery.recover(&store, Zeroizing::new(vec![1; 16]), Vec::new());
            assert!(tokio::time::timeout(Duration::from_millis(5), upload).await.is_err());
        }
        assert_eq!(Arc::strong_count(&recovery.session), 2, "ours and that of the one being served");
        drop(being_served);
    }
}
