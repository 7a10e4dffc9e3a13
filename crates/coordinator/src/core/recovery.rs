//! Recovery: key holders bring back a state that this host cannot open. Collecting and judging secrets is
//! the pure ceremony of `marblerun-recovery`; this is the thread that leads from an upload to a served state.
//!
//! Anybody may upload. So an upload costs little, a refused one changes nothing, and none can be left half
//! done by hanging up: what changes the session runs in a task of its own.
//!
//! Several Coordinators recover together ([`together`]): what holders upload to one is told to all, any of them may
//! get the last share, and the first that opens the state ends the recovery of all.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use marblerun_attestation::IssueError;
use marblerun_pki::Authority;
use marblerun_recovery::{Ceremony, Outcome, RecoveryRoot, Upload, is_plain_secret, verify_quorum};
use marblerun_state::{Phase, State};
use marblerun_store::{RecoverError, Store};
use tokio::sync::{Mutex, OwnedMutexGuard};
use zeroize::Zeroizing;

use crate::core::answer::{RecoverAnswer, RecoveryProgress};
use crate::error::{Error, ErrorKind};

mod ephemeral;
mod others;
mod session;
mod together;

use ephemeral::EphemeralKey;
pub use others::{Exchange, Others, Union};
use session::Session;
use together::Together;

/// Makes the quote of an authority that is about to be served. Blocks.
type MakeQuote = dyn Fn(&Authority) -> Result<(), IssueError> + Send + Sync;

/// The recovery in progress, if any.
#[derive(Clone)]
pub(super) struct Recovery {
    make_quote: Arc<MakeQuote>,
    session: Arc<Mutex<Option<Session>>>,
    ephemeral: EphemeralKey,
    together: Arc<OnceLock<Together>>,
}

/// Only the one who works on the session holds it.
type Held = OwnedMutexGuard<Option<Session>>;

impl Recovery {
    /// None is in progress. `make_quote` makes the quote of an authority that is about to be served; it may block.
    pub(super) fn new(make_quote: impl Fn(&Authority) -> Result<(), IssueError> + Send + Sync + 'static) -> Self {
        Self {
            make_quote: Arc::new(make_quote),
            session: Arc::default(),
            ephemeral: EphemeralKey::default(),
            together: Arc::default(),
        }
    }

    /// Makes the ephemeral key ahead of the first question for it.
    pub(super) fn prepare(&self) {
        self.ephemeral.prepare();
    }

    /// From now on, not alone.
    pub(super) fn join(&self, others: Arc<dyn Others>) {
        if self.together.set(Together::new(others)).is_err() {
            tracing::warn!("this Coordinator recovers together with others already");
        }
    }

    /// Forgets what was collected.
    pub(super) async fn abandon(&self) {
        self.forget(&mut *self.session.lock().await);
    }

    /// SubjectPublicKeyInfo DER of the key that secrets may be encrypted to.
    pub(super) async fn public_key(&self, store: &Store) -> Result<Vec<u8>, Error> {
        if store.snapshot().phase() != Phase::Recovery {
            return Err(Error::wrong_state());
        }
        let Some(together) = self.together.get() else { return self.ephemeral.announce().await };
        self.require_opened(together)?;
        // What is encrypted to it may be uploaded to any: the others have it before anybody else does.
        let own = self.ephemeral.announce().await?;
        together.offer(store.snapshot().authority(), self.ephemeral.private_key());
        if together.take_untold() {
            self.tell(store).await;
        }
        let first = together.all().into_iter().find(|session| !session.decryption_key.is_empty());
        let first = first.filter(|first| Some(first.id) != together.own_id());
        Ok(first.and_then(|first| self.ephemeral.public_of(first.id)).unwrap_or(own))
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
        let name = session::name(&material, self.together.get().is_some());
        Some(match session.as_ref().filter(|session| session.name() == name) {
            Some(session) => of(session.ceremony()),
            None => of(&Ceremony::new(&material.sets)),
        })
    }

    /// The authority that clients are shown while it lasts, if it is not this instance's own.
    pub(super) fn authority(&self) -> Option<Arc<Authority>> {
        self.together.get()?.authority()
    }

    /// One of the others that serves clients.
    pub(super) fn serving(&self) -> Option<String> {
        self.together.get()?.others.serving()
    }

    /// Takes one secret, plain or encrypted to an ephemeral key.
    pub(super) async fn recover(
        &self,
        store: &Store,
        secret: Zeroizing<Vec<u8>>,
        signature: Vec<u8>,
        force: bool,
    ) -> Result<RecoverAnswer, Error> {
        let secret = if is_plain_secret(secret.len()) { secret } else { self.decrypted(store, secret).await? };
        if store.snapshot().phase() != Phase::Recovery {
            return Err(Error::wrong_state());
        }
        if let Some(together) = self.together.get() {
            self.require_opened(together)?;
            require_need(together, force)?;
        }
        // Who hangs up while others are served leaves the line; who is served is served to the end.
        let session = Arc::clone(&self.session).lock_owned().await;
        let this = self.clone();
        let store = store.clone();
        let upload = Upload { secret, signature };
        let task = tokio::spawn(async move { this.take(session, &store, upload).await });
        task.await.unwrap_or_else(|_| Err(internal("the recovery was interrupted by a fault; upload the secret again")))
    }

    /// What another instance tells. Answers what this one knows then.
    pub(super) async fn hear(&self, store: &Store, theirs: Union) -> Union {
        let Some(together) = self.together.get() else { return Union::default() };
        if store.snapshot().phase() != Phase::Recovery {
            return self.ended(together);
        }
        let heard = self.learn(store, vec![theirs]).await;
        if heard.complete {
            self.open_later(store);
        }
        heard.union
    }

    /// Tells the others, and learns from them: time and again while the recovery lasts.
    pub(super) async fn round(&self, store: &Store) {
        let Some(together) = self.together.get() else { return };
        if store.snapshot().phase() != Phase::Recovery {
            // A key from a peer has opened the state, or somebody else's recovery: what was collected is not needed.
            let mut session = self.session.lock().await;
            if session.is_some() {
                self.forget(&mut session);
            }
            return;
        }
        together.offer(store.snapshot().authority(), self.ephemeral.private_key());
        together.take_untold();
        if self.tell(store).await {
            self.open_later(store);
        }
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

    async fn take(&self, mut session: Held, store: &Store, upload: Upload) -> Result<RecoverAnswer, Error> {
        let me = self.together.get().map(|together| together.others.me());
        let before = session.take();
        let (after, outcome) = add(store.clone(), before, me, upload).await?;
        *session = Some(after);

        let (mut remaining, party) = match outcome? {
            Outcome::Accepted { remaining, party } => (remaining, party),
            Outcome::Complete { root, uploads } => return self.open(session, store, root, uploads).await,
        };
        tracing::info!(party = party.as_deref().unwrap_or("unknown"), remaining, "recovery secret accepted");
        if self.together.get().is_some() {
            // Not held meanwhile: the others tell, too, and wait for each other then.
            drop(session);
            self.tell(store).await;
            session = Arc::clone(&self.session).lock_owned().await;
            if let Some(Outcome::Complete { root, uploads }) = complete_now(store, &mut session).await {
                return self.open(session, store, root, uploads).await;
            }
            if store.snapshot().phase() != Phase::Recovery {
                return Ok(successful());
            }
            remaining = session.as_ref().map_or(remaining, |session| session.ceremony().remaining());
        }
        Ok(RecoverAnswer {
            remaining,
            message: format!(
                "Secret was processed successfully. Upload the next secret. Remaining secrets: {remaining}"
            ),
        })
    }

    /// Opens the state with what has been collected.
    async fn open(
        &self,
        mut session: Held,
        store: &Store,
        root: RecoveryRoot,
        uploads: Vec<Upload>,
    ) -> Result<RecoverAnswer, Error> {
        let (make_quote, no_quote) = (Arc::clone(&self.make_quote), Arc::new(OnceLock::new()));
        let why = Arc::clone(&no_quote);
        let check = Box::new(move |state: &State| {
            let parties = check_quorum(state, &uploads)?;
            // Whoever cannot prove the root must not serve it: later there would be no way back into recovery mode.
            make_quote(state.authority()).map_err(|error| {
                let text = error.to_string();
                let _ = why.set(error);
                text
            })?;
            Ok(parties)
        });
        if let Err(error) = store.recover(root, check).await {
            if self.together.get().is_some() && store.snapshot().phase() != Phase::Recovery {
                // Another instance was first.
                self.forget(&mut session);
                return Ok(successful());
            }
            // What was accepted stays accepted: who signed wrongly signs again, and nobody else has to.
            tracing::warn!(%error, "recovery failed; the sealed state is unchanged");
            if self.together.get().is_some() {
                let (this, store) = (self.clone(), store.clone());
                drop(session);
                tokio::spawn(async move { this.tell(&store).await });
            }
            return Err(no_quote.get().map_or_else(|| failed(error), not_proved));
        }
        if let Some(together) = self.together.get() {
            if let Some(session) = session.as_ref() {
                together.finish(session.name());
            }
            // They need not wait for the next round to forget their shares.
            let ended = self.ended(together);
            tokio::spawn(together.others.exchange(ended));
        }
        self.forget(&mut session);
        tracing::warn!("recovery successful: the state was opened by its key holders");
        Ok(successful())
    }

    /// Tells the others what is known here and learns what they know. Whether the root is complete then.
    async fn tell(&self, store: &Store) -> bool {
        let Some(together) = self.together.get() else { return false };
        let mine = self.learn(store, Vec::new()).await;
        let theirs = together.others.exchange(mine.union).await;
        self.learn(store, theirs).await.complete
    }

    /// Takes what others told.
    async fn learn(&self, store: &Store, theirs: Vec<Union>) -> Heard {
        let nothing = || Heard { union: Union::default(), complete: false };
        let Some(together) = self.together.get() else { return nothing() };
        for session in theirs.iter().flat_map(|union| &union.sessions) {
            if together.merge(std::slice::from_ref(session)) {
                self.ephemeral.adopt(session.id, session.decryption_key.clone()).await;
            }
        }
        self.ephemeral.retain(&together.all().iter().map(|session| session.id).collect::<Vec<_>>());
        let mut held = Arc::clone(&self.session).lock_owned().await;
        let (before, me) = (held.take(), together.others.me());
        let ended: Vec<[u8; 32]> = theirs.iter().filter(|union| union.finished).map(|union| union.header).collect();
        let store = store.clone();
        let learning = tokio::task::spawn_blocking(move || {
            let (mut session, _) = Session::current(&store, before, Some(me))?;
            // All of them, whatever the first has brought.
            let news = theirs.iter().filter(|union| session.merge(&store, union)).count();
            let complete = news > 0 && session.complete(&store).is_some();
            Some((session, complete))
        });
        let Ok(Some((session, complete))) = learning.await else { return nothing() };
        if ended.contains(&session.name()) {
            tracing::info!("another Coordinator has been recovered: what was collected here is forgotten");
            self.forget(&mut held);
            return nothing();
        }
        let union = Union { sessions: together.all(), ..session.union() };
        *held = Some(session);
        Heard { union, complete }
    }

    /// Opens the state with what others told, if nobody else has done it after a while: the instance that got the last
    /// secret answers its holder.
    fn open_later(&self, store: &Store) {
        let Some(together) = self.together.get() else { return };
        if together.opening.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, store, pause) = (self.clone(), store.clone(), together.others.precedence());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(together) = this.together.get() {
                together.opening.store(false, Ordering::Release);
            }
            let mut session = Arc::clone(&this.session).lock_owned().await;
            if store.snapshot().phase() == Phase::Recovery
                && let Some(Outcome::Complete { root, uploads }) = complete_now(&store, &mut session).await
            {
                // Its failure is in the log.
                let _ = this.open(session, &store, root, uploads).await;
            }
        });
    }

    /// What an instance says that is not in recovery mode.
    fn ended(&self, together: &Together) -> Union {
        let finished = together.finished();
        Union { header: finished.unwrap_or_default(), finished: finished.is_some(), ..Union::default() }
    }

    fn forget(&self, session: &mut Option<Session>) {
        *session = None;
        self.ephemeral.forget();
        if let Some(together) = self.together.get() {
            together.renew();
        }
    }

    fn require_opened(&self, together: &Together) -> Result<(), Error> {
        if together.others.have_been_asked() {
            return Ok(());
        }
        let text = "the other Coordinators are being asked for the key of the state; try again in a few seconds";
        Err(Error::new(ErrorKind::Unavailable, "peers_not_asked", text))
    }
}

/// What is known after others were heard.
struct Heard {
    union: Union,
    /// Something was new, and the root is complete.
    complete: bool,
}

/// Recovery keys are not used where a peer can give the key.
fn require_need(together: &Together, force: bool) -> Result<(), Error> {
    match together.others.serving() {
        Some(address) if !force => Err(Error::new(
            ErrorKind::Conflict,
            "peer_serving",
            format!(
                "the Coordinator at {address} serves this deployment, and gives this one the key of the state unless its \
                 policy forbids it: see its log. To recover all the same, ask with force=true (marblerun recover --force)"
            ),
        )),
        _ => Ok(()),
    }
}

fn successful() -> RecoverAnswer {
    RecoverAnswer { remaining: 0, message: "Recovery successful.".to_owned() }
}

/// Adds one upload to the ceremony of the file that waits now. Off the async threads: reads the file,
/// checks a signature, tries a slot.
async fn add(
    store: Store,
    session: Option<Session>,
    me: Option<[u8; 16]>,
    upload: Upload,
) -> Result<(Session, Result<Outcome, Error>), Error> {
    let adding = tokio::task::spawn_blocking(move || {
        let (mut session, refusal) = Session::current(&store, session, me)?;
        if let Some(refusal) = refusal {
            return Some((session, Err(Error::new(ErrorKind::Refused, "sealed_state_unreadable", refusal))));
        }
        let outcome = session.add(&store, upload).map_err(|error| {
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

/// The root, if what has been collected completes it. Off the async threads.
async fn complete_now(store: &Store, session: &mut Option<Session>) -> Option<Outcome> {
    let (taken, store) = (session.take()?, store.clone());
    let completing = tokio::task::spawn_blocking(move || {
        let outcome = taken.complete(&store);
        (taken, outcome)
    });
    let (taken, outcome) = completing.await.ok()?;
    *session = Some(taken);
    outcome
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

/// The hardware failed when all secrets had been found good.
fn not_proved(error: &IssueError) -> Error {
    let text = format!(
        "the secrets open the sealed state, but no quote of its root certificate could be made: {error}. The Coordinator \
         is still in recovery mode, and keeps what was accepted: upload the last secret again when the hardware answers"
    );
    Error::new(ErrorKind::Internal, "no_quote", text)
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
        let (store, recovery) = (Store::in_memory(state), Recovery::new(|_| Ok(())));
        let being_served = Arc::clone(&recovery.session).lock_owned().await;
        for _ in 0..10 {
            let upload = recovery.recover(&store, Zeroizing::new(vec![1; 16]), Vec::new(), false);
            assert!(tokio::time::timeout(Duration::from_millis(5), upload).await.is_err());
        }
        assert_eq!(Arc::strong_count(&recovery.session), 2, "ours and that of the one being served");
        drop(being_served);
    }
}
