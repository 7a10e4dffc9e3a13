//! Use cases, one function each, over one [`Coordinator`] value. No HTTP, no gRPC, no sockets.
//!
//! Each file holds one use case: a decision, which is a pure function over the state, and the way from a
//! request to that decision and, where it changes something, to a transaction (see `transaction`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use marblerun_api::v2;
use marblerun_attestation::{Incarnation, IssueError, Tee};
use marblerun_collateral::Counts;
use marblerun_manifest::check::Report;
use marblerun_pki::Authority;
use marblerun_recovery::RecoverySet;
use marblerun_state::{Draft, Lineage, Phase, State};
use marblerun_store::{Store, StoreStatus};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};
use crate::untrusted::{for_log, lines_for_log};

mod activation;
mod admission;
mod answer;
mod audit;
mod backup;
mod candidate;
mod collateral_marks;
mod counters;
mod currency;
mod dry_run;
mod full_update;
mod generation;
mod grace;
mod identity;
mod installation;
mod marble_secrets;
mod observer;
mod package_update;
mod parameters;
mod quote;
mod readiness;
mod recovery;
mod recovery_secrets;
mod sameness;
#[cfg(test)]
pub(crate) mod sample;
mod seal_slots;
mod secret_plan;
mod secrets;
mod set_manifest;
mod settings;
mod sharing;
mod transaction;
mod ttls;
mod update;
mod update_log;
mod update_notices;
mod warnings;

use currency::Currency;
use parameters::CompiledManifest;
use sameness::same_manifest;

pub use answer::{
    Activated, ActivationError, ActivationRequest, AttestationAnswer, ManifestAnswer, ManifestSetAnswer,
    PeerCertificate, QuoteAnswer, RecoverAnswer, RecoveryProgress, SecretUpload, UpdateAnswer,
};
pub use audit::AuditPage;
pub use backup::BackupCopy;
pub use identity::MarbleIdentity;
pub use observer::{ActivationCounts, ActivationEvent, OTHER, Observer, OfflineCounts};
pub use recovery::{Exchange, Others, Union};
pub(crate) use sameness::same_authority;
pub use seal_slots::SlotHealth;
pub use settings::{Clock, DEFAULT_MARBLE_GRACE, DEFAULT_OFFLINE_GRACE, HsmSealing, Settings};
pub(crate) use sharing::not_shared;

/// Bytes of a nonce that an attestation takes.
const ATTESTATION_NONCE: std::ops::RangeInclusive<usize> = 16..=64;

/// Verifications of evidence at a time. Most find their collateral at hand and take a millisecond.
const VERIFICATIONS: usize = 64;

/// The Coordinator: everything the shells need. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    store: Store,
    /// Which state a request may be answered from.
    currency: Currency,
    settings: Arc<Settings>,
    observer: Observer,
    recovery: recovery::Recovery,
    /// Which Marbles keep their access over an update.
    grace: grace::Grace,
    /// Compiled when first needed, and again after the manifest has changed.
    compiled: Arc<ArcSwapOption<CompiledManifest>>,
    quote_cache: Arc<quote::Cache>,
    /// Evidence that is being made: anybody may ask for it, and hardware makes it one by one.
    fresh_quotes: Arc<Semaphore>,
    /// Preparations that keep all cores busy, such as those of a manifest, run one at a time: strangers may ask for them.
    preparations: Arc<Semaphore>,
    /// Anybody may have manifests checked, so nobody else waits for that, and one at a time is enough.
    checks: Arc<Semaphore>,
    /// As many activations that make RSA keys run at a time as there are cores.
    slow_activations: Arc<Semaphore>,
    /// Verifications of hardware evidence: those that wait for collateral keep a thread each, and others need some too.
    verifications: Arc<Semaphore>,
    /// What collateral evidence was verified with, for the sealed state.
    collateral_marks: Arc<collateral_marks::CollateralMarks>,
    /// What is refused, for the audit trail.
    keeper: Arc<audit::Keeper>,
    /// Backups that are being handed out.
    backups: Arc<Semaphore>,
    /// What came of the last try of each key slot.
    slots_tried: seal_slots::SlotsTried,
}

impl Coordinator {
    /// A Coordinator over an opened store. Must be called within a Tokio runtime.
    #[must_use]
    pub fn new(store: Store, settings: Settings) -> Self {
        let currency = Currency::new(store, settings.offline_grace);
        Self::with(currency, settings)
    }

    fn with(currency: Currency, settings: Settings) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let verifier = Arc::clone(&settings.backend.verifier);
        let quote_cache = Arc::new(quote::Cache::default());
        let (backend, cache) = (settings.backend.clone(), Arc::clone(&quote_cache));
        let recovery = recovery::Recovery::new(move |authority| quote::ahead(authority, &backend, &cache));
        let coordinator = Self {
            collateral_marks: collateral_marks::CollateralMarks::new(currency.clone(), verifier),
            keeper: audit::Keeper::new(currency.clone()),
            backups: Arc::new(Semaphore::new(backup::AT_A_TIME)),
            store: currency.store().clone(),
            currency,
            grace: grace::Grace::new(settings.marble_grace),
            settings: Arc::new(settings),
            observer: Observer::default(),
            recovery,
            compiled: Arc::default(),
            quote_cache,
            fresh_quotes: Arc::new(Semaphore::new(quote::AT_A_TIME)),
            preparations: Arc::new(Semaphore::new(1)),
            checks: Arc::new(Semaphore::new(1)),
            slow_activations: Arc::new(Semaphore::new(cores)),
            slots_tried: seal_slots::SlotsTried::default(),
            verifications: Arc::new(Semaphore::new(VERIFICATIONS)),
        };
        if coordinator.snapshot().phase() == Phase::Recovery {
            coordinator.recovery.prepare();
        }
        coordinator.watch_size();
        coordinator
    }

    /// The state in force. Never waits.
    #[must_use]
    pub fn snapshot(&self) -> Arc<State> {
        self.currency.snapshot()
    }

    /// Facts about the store.
    #[must_use]
    pub fn store_status(&self) -> StoreStatus {
        self.store.status()
    }

    /// What protects this process.
    #[must_use]
    pub fn tee(&self) -> Tee {
        self.settings.backend.tee()
    }

    /// What became of requests for collateral; `None` where no service is asked.
    #[must_use]
    pub fn collateral_counts(&self) -> Option<Counts> {
        self.settings.collateral.as_ref().map(|service| service.counts())
    }

    /// Counts and events for the metrics.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// `GET status`: code and upstream's text; where the instance has diverged from the shared state, the reason for that.
    #[must_use]
    pub fn status(&self) -> (u8, Cow<'static, str>) {
        let phase = self.snapshot().phase();
        if let Err(diverged) = self.currency.require_undiverged() {
            return (phase as u8, diverged.message.into());
        }
        let text = match phase {
            Phase::Recovery => {
                "Coordinator is in recovery mode. Either upload a key to unseal the saved state, or set a new manifest. \
                 For more information on how to proceed, consult the documentation."
            }
            Phase::AcceptingManifest => "Coordinator is ready to accept a manifest.",
            Phase::AcceptingMarbles => "Coordinator is running correctly and ready to accept marbles.",
        };
        (phase as u8, text.into())
    }

    /// Warnings about manifest, store and mode, for v3 status. May take a while after the manifest has changed.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let state = self.snapshot();
        let of_manifest = self.compiled(&state).map(|compiled| compiled.warnings(self.settings.clock.now()).to_vec());
        let view = self.currency.view();
        let mut warnings = warnings::collect(
            &state,
            &self.store.status(),
            view.as_deref(),
            &self.settings,
            of_manifest.unwrap_or_default(),
        );
        warnings.extend(self.slots_tried.warnings());
        warnings
    }

    /// `GET manifest`. `None` without one.
    ///
    /// # Errors
    /// If it cannot be told now whether there is one.
    pub async fn manifest(&self) -> Result<Option<ManifestAnswer>, Error> {
        let answer = |state: &State| {
            let active = state.manifest().ok_or_else(Error::wrong_state)?;
            Ok(ManifestAnswer {
                raw: active.raw.to_vec(),
                fingerprint: hex::encode(active.fingerprint),
                signature: active.signature.clone(),
            })
        };
        match self.currency.decide(answer).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) if error.kind == ErrorKind::Refused => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `POST manifest`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_manifest(&self, raw: Vec<u8>) -> Result<ManifestSetAnswer, Error> {
        let set = self.try_to_set_manifest(raw, audit::ANYONE).await;
        self.noted(None, "set_manifest", set)
    }

    /// As [`Coordinator::set_manifest`], at the start of this process.
    pub(crate) async fn set_startup_manifest(&self, raw: Vec<u8>) -> Result<ManifestSetAnswer, Error> {
        self.try_to_set_manifest(raw, audit::COORDINATOR).await
    }

    async fn try_to_set_manifest(&self, raw: Vec<u8>, actor: &'static str) -> Result<ManifestSetAnswer, Error> {
        // Before the bytes are looked at, and before others have to wait for them.
        self.currency.decide(set_manifest::require_acceptance).await?;
        if self.settings.deny_recovery_reset && self.snapshot().phase() == Phase::Recovery {
            return Err(Error::new(
                ErrorKind::Refused,
                "recovery_reset_denied",
                "a sealed state waits for recovery, and MARBLERUN_RECOVERY_RESET=deny forbids to set a manifest over it",
            ));
        }
        let raw = Bytes::from(raw);
        let prepare = |state: Arc<State>| {
            let (raw, now, shown) = (raw.clone(), self.settings.clock.now(), self.authority_beside(&state));
            let hsm = self.settings.hsm_sealing;
            self.prepare(move || set_manifest::prepare(&state, shown, raw, actor, now, hsm))
        };
        let set = transaction::run(&self.currency, set_manifest::COMMIT_PREFIX, prepare, set_manifest::commit).await;
        let set = set.map_err(|error| self.because_of_a_peer(error));
        match &set {
            Ok(answer) => {
                for warning in lines_for_log(&answer.warnings) {
                    tracing::warn!("manifest: {warning}");
                }
                // Whatever was collected for the state before is of no use any more.
                self.recovery.abandon().await;
                tracing::info!("manifest set");
            }
            Err(error) => log_details("manifest refused", error),
        }
        set
    }

    /// A manifest that the store did not take because another Coordinator serves the state that cannot be opened here:
    /// asking again does not help, so it is no unavailability.
    fn because_of_a_peer(&self, error: Error) -> Error {
        let serves_elsewhere = || self.currency.view().is_some_and(|view| view.has_serving_peer());
        if error.code == "unavailable" && self.snapshot().phase() == Phase::Recovery && serves_elsewhere() {
            return Error { kind: ErrorKind::Refused, code: "peer_serving", ..error };
        }
        error
    }

    /// `GET quote`. `nonce` empty = cached quote; it is served whether or not the hardware still answers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn quote(&self, nonce: &[u8]) -> Result<QuoteAnswer, Error> {
        let authority = self.authority();
        if let Some(evidence) = quote::cached(&authority, nonce, &self.quote_cache) {
            return quote::answer(&authority, evidence);
        }
        // The semaphore is never closed.
        let permit = Arc::clone(&self.fresh_quotes).acquire_owned().await.map_err(|_| fault())?;
        let (this, nonce) = (self.clone(), nonce.to_vec());
        off_thread(move || {
            let _permit = permit;
            quote::fresh(&authority, &nonce, &this.settings.backend, &this.quote_cache)
        })
        .await
    }

    /// `GET attestation`: evidence over root, nonce and incarnation, made for each asker.
    ///
    /// # Errors
    /// 400 if the nonce is too short for an answer that nobody can have seen before, or too long; [`Error`].
    pub async fn attestation(&self, nonce: &[u8]) -> Result<AttestationAnswer, Error> {
        if !ATTESTATION_NONCE.contains(&nonce.len()) {
            let (least, most) = (ATTESTATION_NONCE.start(), ATTESTATION_NONCE.end());
            let text = format!("the nonce has {} bytes: {least} to {most} random ones are needed", nonce.len());
            return Err(Error::new(ErrorKind::BadRequest, "bad_nonce", text));
        }
        // The semaphore is never closed.
        let permit = Arc::clone(&self.fresh_quotes).acquire_owned().await.map_err(|_| fault())?;
        let (this, nonce) = (self.clone(), nonce.to_vec());
        off_thread(move || {
            let _permit = permit;
            // Both of one state, or a root could be shown with the life of another.
            let state = this.snapshot();
            let Lineage { incarnation: number, incarnation_id: id, .. } = *state.lineage();
            let incarnation = (state.phase() != Phase::Recovery).then_some(Incarnation { number, id });
            quote::of_incarnation(&this.authority_beside(&state), &nonce, incarnation, &this.settings.backend)
        })
        .await
    }

    /// Makes the quote that is served to whoever brings no nonce, before anybody asks. Hardware that does not answer is
    /// asked again for some seconds.
    ///
    /// # Errors
    /// If it still does not answer.
    pub async fn make_first_quote(&self) -> Result<(), IssueError> {
        let (authority, this) = (self.authority(), self.clone());
        let making =
            tokio::task::spawn_blocking(move || quote::first(&authority, &this.settings.backend, &this.quote_cache));
        let interrupted = |_| IssueError { tee: self.tee(), reason: "the question was interrupted".to_owned() };
        making.await.map_err(interrupted)?
    }

    /// `GET recover/public-key`: SPKI DER of the ephemeral RSA-4096 key.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn recovery_public_key(&self) -> Result<Vec<u8>, Error> {
        self.recovery.public_key(&self.store).await
    }

    /// `POST recover`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn recover(&self, secret: Zeroizing<Vec<u8>>, signature: Vec<u8>) -> Result<RecoverAnswer, Error> {
        self.recover_beside_others(secret, signature, false).await
    }

    /// `POST recover`. `force`: also where another Coordinator serves the deployment.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn recover_beside_others(
        &self,
        secret: Zeroizing<Vec<u8>>,
        signature: Vec<u8>,
        force: bool,
    ) -> Result<RecoverAnswer, Error> {
        let recovered = self.recovery.recover(&self.store, secret, signature, force).await;
        self.noted(None, "recover", recovered)
    }

    /// From now on, recovers together with the other Coordinators of the deployment. Once, before anything is served.
    pub fn recover_together(&self, others: Arc<dyn Others>) {
        self.recovery.join(others);
    }

    /// What another Coordinator tells of its recovery; answers what this one knows then.
    pub async fn hear_of_recovery(&self, theirs: Union) -> Union {
        self.recovery.hear(&self.store, theirs).await
    }

    /// Tells the other Coordinators what this one knows of a recovery, and learns from them.
    pub async fn tell_of_recovery(&self) {
        self.recovery.round(&self.store).await;
    }

    /// Another Coordinator that serves the deployment, if one is known to.
    #[must_use]
    pub fn serving_peer(&self) -> Option<String> {
        self.recovery.serving()
    }

    /// The authority that clients and Marbles meet: that of the state in force. Coordinators that recover together all
    /// show the temporary one of one of them.
    #[must_use]
    pub fn authority(&self) -> Arc<Authority> {
        self.authority_beside(&self.snapshot())
    }

    fn authority_beside(&self, state: &State) -> Arc<Authority> {
        let shared = if state.phase() == Phase::Recovery { self.recovery.authority() } else { None };
        shared.unwrap_or_else(|| Arc::clone(state.authority()))
    }

    /// Progress of the recovery, by name; `None` if no state waits for one.
    pub async fn recovery_progress(&self) -> Option<RecoveryProgress> {
        self.recovery.progress(&self.store).await
    }

    /// The encrypted recovery secrets in force, again, for users who may update the manifest.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn recovery_secrets(&self, user: Option<&PeerCertificate>) -> Result<Vec<RecoverySet>, Error> {
        let read = self.currency.read(|state| recovery_secrets::read(state, user)).await;
        self.noted(user, "recovery_secrets", read)
    }

    /// Everything there is to say about a manifest, without setting it.
    ///
    /// # Errors
    /// If another one is being checked, or this program has a fault.
    pub async fn check_manifest(&self, raw: Vec<u8>) -> Result<Report, Error> {
        let busy = "another manifest is being checked; try again";
        let permit = Arc::clone(&self.checks).try_acquire_owned();
        let permit = permit.map_err(|_| Error::new(ErrorKind::Unavailable, "busy", busy))?;
        let (now, hsm) = (self.settings.clock.now(), self.settings.hsm_sealing);
        off_thread(move || {
            let _permit = permit;
            Ok(candidate::review(&raw, now, hsm))
        })
        .await
    }

    /// `GET secrets`. `user` is checked against the manifest's users first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read_secrets(
        &self,
        user: Option<&PeerCertificate>,
        names: &[String],
    ) -> Result<BTreeMap<String, v2::Secret>, Error> {
        let read = self.currency.read(|state| secrets::read(state, user, names)).await;
        self.noted(user, "read_secrets", read)
    }

    /// Refuses whoever is no user of the manifest: the guard of user routes, run before the body is decoded.
    ///
    /// # Errors
    /// 401 with upstream's text.
    pub async fn authenticate_user(&self, peer: Option<&PeerCertificate>) -> Result<String, Error> {
        self.currency.decide(|state| identity::user(state, peer).map(|user| user.name.clone())).await
    }

    /// As [`Coordinator::authenticate_user`], from the newest state alone: the guard of what is read from the published
    /// state then.
    ///
    /// # Errors
    /// 401 with upstream's text; 503 if the newest state cannot be told.
    pub async fn authenticate_user_now(&self, peer: Option<&PeerCertificate>) -> Result<String, Error> {
        self.currency.read(|state| identity::user(state, peer).map(|user| user.name.clone())).await
    }

    /// `POST secrets`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn write_secrets(&self, user: Option<&PeerCertificate>, upload: SecretUpload) -> Result<(), Error> {
        let prepare = |state: Arc<State>| {
            let judged = secrets::judge(&state, user, &upload).and_then(|judged| {
                let compiled = self.compiled(&state)?;
                secrets::dry_run(&state, &judged, &compiled, self.settings.clock.now())?;
                Ok(judged)
            });
            std::future::ready(judged)
        };
        let (peer, now) = (user.cloned(), self.settings.clock.now());
        let commit =
            move |draft: &mut Draft, judged: &secrets::Upload| secrets::record(draft, judged, peer.as_ref(), now);
        let written = transaction::run(&self.currency, "", prepare, commit).await;
        self.noted(user, "write_secrets", written)
    }

    /// `GET update`: log lines.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update_log(&self) -> Result<Vec<String>, Error> {
        let answer = |state: &State| match state.phase() {
            Phase::AcceptingMarbles => Ok(state.update_log().map(str::to_owned).collect()),
            _ => Err(Error::wrong_state()),
        };
        self.currency.decide(answer).await
    }

    /// `POST update`, package or full.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update(&self, user: Option<&PeerCertificate>, raw: Vec<u8>) -> Result<UpdateAnswer, Error> {
        let known = self.currency.decide(|state| identity::user(state, user).map(drop)).await;
        self.noted(user, "update", known)?;
        let raw = Bytes::from(raw);
        let prepare = |state: Arc<State>| {
            let (user, raw, now) = (user.cloned(), raw.clone(), self.settings.clock.now());
            let hsm = self.settings.hsm_sealing;
            self.prepare(move || update::prepare(&state, user.as_ref(), &raw, now, hsm))
        };
        let (peer, grace, clock) = (user.cloned(), self.grace.clone(), self.settings.clock.clone());
        let commit = move |draft: &mut Draft, prepared: &update::Prepared| {
            grace.over(draft, clock.now(), |draft| update::commit(draft, prepared, peer.as_ref()))
        };
        let updated = transaction::run(&self.currency, update::COMMIT_PREFIX, prepare, commit).await;
        match &updated {
            Ok(answer) => {
                tracing::info!(missing_acknowledgments = answer.missing_acknowledgments, "update accepted");
            }
            Err(error) => log_details("update refused", error),
        }
        self.noted(user, "update", updated)
    }

    /// `GET update-manifest`: raw bytes and missing users.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn pending_update(&self) -> Result<(Vec<u8>, Vec<String>, i64), Error> {
        self.currency.read(full_update::view).await
    }

    /// `POST update-manifest`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn acknowledge_update(
        &self,
        user: Option<&PeerCertificate>,
        raw: Vec<u8>,
    ) -> Result<UpdateAnswer, Error> {
        let known = self.currency.decide(|state| identity::user(state, user).map(drop)).await;
        self.noted(user, "acknowledge_update", known)?;
        let raw = Bytes::from(raw);
        let prepare = |state: Arc<State>| {
            let (user, raw, now) = (user.cloned(), raw.clone(), self.settings.clock.now());
            let hsm = self.settings.hsm_sealing;
            self.prepare(move || full_update::prepare_acknowledgement(&state, user.as_ref(), &raw, now, hsm))
        };
        let (peer, grace, clock) = (user.cloned(), self.grace.clone(), self.settings.clock.clone());
        let commit = move |draft: &mut Draft, prepared: &full_update::Acknowledgement| {
            grace.over(draft, clock.now(), |draft| full_update::commit_acknowledgement(draft, prepared, peer.as_ref()))
        };
        let acknowledged = transaction::run(&self.currency, update::COMMIT_PREFIX, prepare, commit).await;
        // One that led to an update which failed was accepted all the same.
        self.noted(user, "acknowledge_update", acknowledged)?
    }

    /// `POST update-cancel`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cancel_update(&self, user: Option<&PeerCertificate>) -> Result<(), Error> {
        let (peer, now) = (user.cloned(), self.settings.clock.now());
        let commit = move |draft: &mut Draft, (): &()| full_update::cancel(draft, peer.as_ref(), now);
        let cancelled =
            transaction::run(&self.currency, update::COMMIT_PREFIX, |_| std::future::ready(Ok(())), commit).await;
        self.noted(user, "cancel_update", cancelled)
    }

    /// Refuses if a feature gate is off; run before the body is decoded.
    ///
    /// # Errors
    /// 403 with upstream's text.
    pub async fn require_feature(&self, gate: &str) -> Result<(), Error> {
        self.currency.decide(|state| identity::require_feature(state, gate)).await
    }

    /// `POST sign-quote`: TCB status and signature; [`Error`] `quote_verification_failed` with the cause as text.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn sign_quote(&self, quote: &[u8]) -> Result<(String, Vec<u8>), Error> {
        quote::sign_current(self, quote).await
    }

    /// Identifies the Marble behind a certificate (Marble root, time, usage, type, UUID).
    ///
    /// # Errors
    /// 401 with upstream's text.
    pub async fn authenticate_marble(&self, peer: Option<&PeerCertificate>) -> Result<MarbleIdentity, Error> {
        let now = self.settings.clock.now();
        self.currency.decide(|state| identity::marble(state, peer, &self.grace, now)).await
    }

    /// `POST monotonic-counter`: the value before.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_counter(&self, marble: MarbleIdentity, name: String, value: u64) -> Result<u64, Error> {
        counters::set(&self.currency, marble, name, value, self.grace.clone(), self.settings.clock.now()).await
    }

    /// `Activate`.
    ///
    /// # Errors
    /// [`ActivationError`].
    pub async fn activate(
        &self,
        peer: Option<&PeerCertificate>,
        request: ActivationRequest,
    ) -> Result<Activated, ActivationError> {
        self.activate_marble(peer, request).await
    }

    /// Lets the transactions in progress finish and ends writing.
    pub async fn close(&self) {
        self.keeper.flush(true).await;
        if let Err(step) = self.collateral_marks.flush().await {
            tracing::warn!(?step, "the newest collateral is not remembered over the restart");
        }
        self.store.close().await;
    }

    /// Counts a refusal for the audit trail, by whom it was attempted.
    fn noted<T>(
        &self,
        peer: Option<&PeerCertificate>,
        subject: &'static str,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        result.inspect_err(|error| {
            let state = self.snapshot();
            let user = identity::user(&state, peer).ok();
            self.note(user.map(|user| user.name.as_str()), subject, error);
        })
    }

    /// Counts a refusal of somebody who was not let in.
    pub(crate) fn note_stranger(&self, route: &'static str, error: &Error) {
        self.note(None, route, error);
    }

    fn note(&self, actor: Option<&str>, subject: &'static str, error: &Error) {
        // What this program or its host could not do is nobody's attempt.
        let failed = matches!(error.kind, ErrorKind::Internal | ErrorKind::Unavailable | ErrorKind::TooLarge);
        if !failed {
            self.keeper.note(actor, subject, error.code, self.settings.clock.now());
        }
    }

    /// The templates of the manifest in force.
    fn compiled(&self, state: &State) -> Result<Arc<CompiledManifest>, Error> {
        let manifest = state.manifest().ok_or_else(Error::wrong_state)?;
        if let Some(compiled) = self.compiled.load_full().filter(|known| same_manifest(&known.manifest, manifest)) {
            return Ok(compiled);
        }
        let compiled = CompiledManifest::new(Arc::clone(manifest))
            .map_err(|cause| Error::new(ErrorKind::Internal, "templates_not_compiled", cause))?;
        let compiled = Arc::new(compiled);
        self.compiled.store(Some(Arc::clone(&compiled)));
        Ok(compiled)
    }

    /// Waits where activations of this type keep a core busy for long, so that the others do not wait for them.
    async fn turn(&self, compiled: &CompiledManifest, marble_type: &str) -> Option<OwnedSemaphorePermit> {
        if !compiled.is_slow(marble_type) {
            return None;
        }
        Arc::clone(&self.slow_activations).acquire_owned().await.ok()
    }

    /// A place among those who verify evidence; in simulation nobody does.
    async fn verification(&self) -> Option<OwnedSemaphorePermit> {
        if self.tee() == Tee::Simulation {
            return None;
        }
        // The semaphore is never closed.
        Arc::clone(&self.verifications).acquire_owned().await.ok()
    }

    /// Runs what keeps all cores busy: one at a time, off the threads that serve connections.
    async fn prepare<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.preparations).acquire_owned().await.map_err(|_| fault())?;
        off_thread(move || {
            let _permit = permit;
            work()
        })
        .await
    }
}

/// Runs what may take a while, or wait for hardware, off the threads that serve connections.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| fault())?
}

fn fault() -> Error {
    Error::new(ErrorKind::Internal, "internal", "the request was interrupted by a fault in this program")
}

/// The peer is told the first finding; the log has more of them.
fn log_details(what: &str, error: &Error) {
    tracing::warn!(code = error.code, error = for_log(&error.message), "{what}");
    for detail in lines_for_log(&error.details).filter(|_| error.details.len() > 1) {
        tracing::warn!("{what}: {detail}");
    }
}
