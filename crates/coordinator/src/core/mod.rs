//! Use cases, one function each, over one [`Coordinator`] value. No HTTP, no gRPC, no sockets.
//!
//! Each file holds one use case: a decision, which is a pure function over the state, and the way from a
//! request to that decision and, where it changes something, to a transaction (see `transaction`).

use std::collections::BTreeMap;
use std::sync::Arc;

use marblerun_api::v2;
use marblerun_state::{Phase, State};
use marblerun_store::{Store, StoreStatus};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};

mod answer;
mod counters;
mod generation;
mod identity;
mod observer;
mod quote;
mod recovery;
mod secrets;
mod settings;
mod transaction;
mod update_log;

pub use answer::{
    Activated, ActivationError, ActivationRequest, ManifestAnswer, ManifestSetAnswer, PeerCertificate, QuoteAnswer,
    RecoverAnswer, SecretUpload, UpdateAnswer,
};
pub use identity::MarbleIdentity;
pub use observer::{ActivationCounts, ActivationEvent, OTHER, Observer};
pub use settings::{Clock, Settings};

/// The Coordinator: everything the shells need. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    store: Store,
    settings: Arc<Settings>,
    observer: Observer,
    recovery: recovery::Recovery,
    /// Preparations that keep all cores busy, such as those of a manifest, run one at a time: strangers may ask for them.
    preparations: Arc<Semaphore>,
}

impl Coordinator {
    /// A Coordinator over an opened store. Must be called within a Tokio runtime.
    #[must_use]
    pub fn new(store: Store, settings: Settings) -> Self {
        let coordinator = Self {
            store,
            settings: Arc::new(settings),
            observer: Observer::default(),
            recovery: recovery::Recovery::default(),
            preparations: Arc::new(Semaphore::new(1)),
        };
        if coordinator.snapshot().phase() == Phase::Recovery {
            coordinator.recovery.prepare();
        }
        coordinator
    }

    /// The state in force. Never waits.
    #[must_use]
    pub fn snapshot(&self) -> Arc<State> {
        self.store.snapshot()
    }

    /// Facts about the store.
    #[must_use]
    pub fn store_status(&self) -> StoreStatus {
        self.store.status()
    }

    /// Counts and events for the metrics.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// `GET status`: code and upstream's text.
    #[must_use]
    pub fn status(&self) -> (u8, &'static str) {
        let phase = self.snapshot().phase();
        let text = match phase {
            Phase::Recovery => {
                "Coordinator is in recovery mode. Either upload a key to unseal the saved state, or set a new manifest. \
                 For more information on how to proceed, consult the documentation."
            }
            Phase::AcceptingManifest => "Coordinator is ready to accept a manifest.",
            Phase::AcceptingMarbles => "Coordinator is running correctly and ready to accept marbles.",
        };
        (phase as u8, text)
    }

    /// Warnings about manifest, store and mode, for v3 status.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        todo!()
    }

    /// `GET manifest`. `None` without one.
    #[must_use]
    pub fn manifest(&self) -> Option<ManifestAnswer> {
        self.snapshot().manifest().map(|active| ManifestAnswer {
            raw: active.raw.to_vec(),
            fingerprint: hex::encode(active.fingerprint),
            signature: active.signature.clone(),
        })
    }

    /// `POST manifest`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_manifest(&self, _raw: Vec<u8>) -> Result<ManifestSetAnswer, Error> {
        todo!()
    }

    /// `GET quote`. `nonce` empty = cached quote.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn quote(&self, _nonce: &[u8]) -> Result<QuoteAnswer, Error> {
        quote::quote(&self.snapshot())
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
        self.recovery.recover(&self.store, secret, signature).await
    }

    /// `GET secrets`. `user` is checked against the manifest's users first.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read_secrets(
        &self,
        user: Option<&PeerCertificate>,
        names: &[String],
    ) -> Result<BTreeMap<String, v2::Secret>, Error> {
        secrets::read(&self.snapshot(), user, names)
    }

    /// Refuses whoever is no user of the manifest: the guard of user routes, run before the body is decoded.
    ///
    /// # Errors
    /// 401 with upstream's text.
    pub fn authenticate_user(&self, peer: Option<&PeerCertificate>) -> Result<String, Error> {
        identity::user(&self.snapshot(), peer).map(|user| user.name.clone())
    }

    /// `POST secrets`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn write_secrets(&self, _user: Option<&PeerCertificate>, _upload: SecretUpload) -> Result<(), Error> {
        todo!()
    }

    /// `GET update`: log lines.
    ///
    /// # Errors
    /// [`Error`].
    pub fn update_log(&self) -> Result<Vec<String>, Error> {
        let state = self.snapshot();
        if state.phase() != Phase::AcceptingMarbles {
            return Err(Error::wrong_state());
        }
        Ok(state.update_log().map(str::to_owned).collect())
    }

    /// `POST update`, package or full.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update(&self, _user: Option<&PeerCertificate>, _raw: Vec<u8>) -> Result<UpdateAnswer, Error> {
        todo!()
    }

    /// `GET update-manifest`: raw bytes and missing users.
    ///
    /// # Errors
    /// [`Error`].
    pub fn pending_update(&self) -> Result<(Vec<u8>, Vec<String>, i64), Error> {
        todo!()
    }

    /// `POST update-manifest`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn acknowledge_update(
        &self,
        _user: Option<&PeerCertificate>,
        _raw: Vec<u8>,
    ) -> Result<UpdateAnswer, Error> {
        todo!()
    }

    /// `POST update-cancel`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cancel_update(&self, _user: Option<&PeerCertificate>) -> Result<(), Error> {
        todo!()
    }

    /// Refuses if a feature gate is off; run before the body is decoded.
    ///
    /// # Errors
    /// 403 with upstream's text.
    pub fn require_feature(&self, gate: &str) -> Result<(), Error> {
        let on = self.snapshot().manifest().is_some_and(|active| active.manifest.config.has_feature(gate));
        if on {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forbidden,
            "feature_not_enabled",
            format!("{gate} feature is not enabled in the manifest"),
        ))
    }

    /// `POST sign-quote`: TCB status and signature; [`Error`] `quote_verification_failed` with the cause as text.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn sign_quote(&self, quote: &[u8]) -> Result<(String, Vec<u8>), Error> {
        quote::sign(quote)
    }

    /// Identifies the Marble behind a certificate (current Marble root, time, usage, type, UUID).
    ///
    /// # Errors
    /// 401 with upstream's text.
    pub fn authenticate_marble(&self, peer: Option<&PeerCertificate>) -> Result<MarbleIdentity, Error> {
        identity::marble(&self.snapshot(), peer, self.settings.clock.now())
    }

    /// `POST monotonic-counter`: the value before.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_counter(&self, marble: MarbleIdentity, name: String, value: u64) -> Result<u64, Error> {
        counters::set(&self.store, marble, name, value).await
    }

    /// `Activate`.
    ///
    /// # Errors
    /// [`ActivationError`].
    pub async fn activate(
        &self,
        _peer: Option<&PeerCertificate>,
        _request: ActivationRequest,
    ) -> Result<Activated, ActivationError> {
        todo!()
    }
}
