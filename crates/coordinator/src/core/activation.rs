//! Activation: a Marble proves what it is and gets its certificate, secrets and parameters.
//!
//! Runs on a snapshot, without any lock. Only Marbles with a limit on activations write something, and
//! the limit is checked again where it counts, inside the transaction. Where the state is shared, the snapshot is proved
//! to be the newest beside the work that is done on it.

use std::sync::Arc;

use jiff::Timestamp;
use marblerun_pki::{MarbleLeaf, VerifiedCsr, issue_marble_leaf, parse_uuid};
use marblerun_state::{Change, Draft, State};

use crate::core::Coordinator;
use crate::core::admission::{Admitted, admit, limit_reached, require_running};
use crate::core::answer::{Activated, ActivationError, ActivationRequest, PeerCertificate};
use crate::core::currency::Proof;
use crate::core::marble_secrets::MarbleSecrets;
use crate::core::observer::ActivationEvent;
use crate::core::parameters::{self, CompiledManifest};
use crate::core::sameness::provides_the_same;
use crate::core::transaction::{self, Step};
use crate::core::update::{Basis, is_unmoved};
use crate::error::{Error, ErrorKind};

/// What a Marble's gRPC library takes by default. A larger answer would fail there, and without a reason.
const MAX_ANSWER: usize = 4 << 20;

/// How often an activation that counts is prepared again because an update got in between.
const ATTEMPTS: usize = 8;

impl Coordinator {
    pub(super) async fn activate_marble(
        &self,
        peer: Option<&PeerCertificate>,
        request: ActivationRequest,
    ) -> Result<Activated, ActivationError> {
        let request = Arc::new(request);
        let uuid = parse_uuid(&request.uuid).ok().map(|uuid| uuid.to_string());
        let is_known =
            self.snapshot().manifest().is_some_and(|m| m.manifest.marbles.contains_key(&request.marble_type));
        self.observer.attempted(is_known.then_some(request.marble_type.as_str()), uuid.as_deref());

        let outcome = self.try_activate(peer, &request).await;
        match &outcome {
            Ok(activated) => {
                tracing::info!(marble_type = request.marble_type, uuid = activated.uuid, "Marble activated");
                self.observer.succeeded(
                    &activated.uuid,
                    ActivationEvent {
                        time: self.settings.clock.now(),
                        marble_type: request.marble_type.clone(),
                        uuid: request.uuid.clone(),
                        quote: request.quote.as_slice().into(),
                    },
                );
            }
            Err(error) => {
                // As a stranger sent it, so not as long as he likes.
                let (marble_type, uuid) = (shortened(&request.marble_type), shortened(&request.uuid));
                tracing::warn!(marble_type, uuid, error = error.message(), "Marble not activated");
            }
        }
        outcome
    }

    async fn try_activate(
        &self,
        peer: Option<&PeerCertificate>,
        request: &Arc<ActivationRequest>,
    ) -> Result<Activated, ActivationError> {
        let mut state = self.snapshot();
        for _ in 0..ATTEMPTS {
            self.currency.require_undiverged().map_err(from_error)?;
            let limit = state.manifest().and_then(|active| active.manifest.marbles.get(&request.marble_type));
            let attempted = match limit.map_or(0, |marble| marble.max_activations) {
                0 => self.activate_freely(&state, peer, request).await?,
                limit => self.activate_counted(&state, peer, request, limit).await?,
            };
            match attempted {
                Attempt::Done(activated) => {
                    self.ends_older_standing(&state, &request.marble_type, &activated);
                    return Ok(activated);
                }
                Attempt::Moved(newer) => state = newer,
            }
        }
        Err(ActivationError::Unavailable("the manifest kept changing during the activation; try again".to_owned()))
    }

    /// Without a limit nothing is written, and where the state is shared, it is proved to be the newest meanwhile.
    async fn activate_freely(
        &self,
        state: &Arc<State>,
        peer: Option<&PeerCertificate>,
        request: &Arc<ActivationRequest>,
    ) -> Result<Attempt, ActivationError> {
        let (proof, provided) = tokio::join!(self.currency.proof(), self.provide(state, peer, request));
        match (proof, provided) {
            (_, Err(error)) if !follows_from_state(&error) => Err(error),
            (Ok(Proof::Current(newest)), provided) => {
                if Arc::ptr_eq(&newest, state) || provides_the_same(&newest, state) {
                    provided.map(Attempt::Done)
                } else {
                    Ok(Attempt::Moved(newest))
                }
            }
            (Ok(Proof::Offline(age)), Ok(activated)) => {
                self.observer.activated_offline();
                let (marble_type, seconds) = (request.marble_type.as_str(), age.as_secs());
                tracing::warn!(marble_type, seconds, "activation from a state that could not be validated for so long");
                Ok(Attempt::Done(activated))
            }
            (Ok(Proof::Offline(_)), Err(_)) => Err(ActivationError::Unavailable(
                "the Marble would be refused, but the place of the shared state does not answer: that may have changed; try again".to_owned(),
            )),
            (Err(error), _) => Err(from_error(error)),
        }
    }

    /// With a limit each activation is a transaction.
    async fn activate_counted(
        &self,
        state: &Arc<State>,
        peer: Option<&PeerCertificate>,
        request: &Arc<ActivationRequest>,
        limit: u64,
    ) -> Result<Attempt, ActivationError> {
        let activated = match self.provide(state, peer, request).await {
            Ok(activated) => activated,
            Err(refusal) if self.currency.is_shared() && follows_from_state(&refusal) => {
                let newest = self.currency.validated().await.map_err(from_error)?;
                return if Arc::ptr_eq(&newest, state) { Err(refusal) } else { Ok(Attempt::Moved(newest)) };
            }
            Err(refusal) => return Err(refusal),
        };
        let basis = Basis::of(state).map_err(from_error)?;
        let (marble_type, marks) = (request.marble_type.clone(), Arc::clone(&self.collateral_marks));
        let count = move |draft: &mut Draft| {
            count(draft, &basis, &marble_type, limit)?;
            marks.take_along(draft);
            Ok(())
        };
        match transaction::commit(&self.currency, "committing store transaction: ", count).await {
            Ok(()) => Ok(Attempt::Done(activated)),
            Err(Step::Stale) => Ok(Attempt::Moved(self.snapshot())),
            Err(Step::Refused(error)) => Err(from_error(error)),
        }
    }

    /// Evidence, signatures, and RSA keys where a Marble has some: not on the threads that serve connections.
    async fn provide(
        &self,
        state: &Arc<State>,
        peer: Option<&PeerCertificate>,
        request: &Arc<ActivationRequest>,
    ) -> Result<Activated, ActivationError> {
        require_running(state)?;
        let compiled = self.compiled(state).map_err(from_error)?;
        let turn = self.turn(&compiled, &request.marble_type).await;
        let place = self.verification().await;
        self.collateral_marks.learn(state);
        let (base, peer, request) = (Arc::clone(state), peer.cloned(), Arc::clone(request));
        let (backend, now) = (self.settings.backend.clone(), self.settings.clock.now());
        let provisioning = tokio::task::spawn_blocking(move || {
            let _held = (turn, place);
            let admitted = admit(&base, peer.as_ref(), &request, &backend, now)?;
            provision(&base, &admitted, &request, &compiled, now)
        });
        let fault = |_| ActivationError::Internal("the activation was interrupted by a fault".to_owned());
        provisioning.await.map_err(fault)?
    }

    /// What the same instance got before an update counts no more once it has something newer.
    fn ends_older_standing(&self, state: &State, marble_type: &str, activated: &Activated) {
        if let Ok(uuid) = parse_uuid(&activated.uuid) {
            self.grace.activated(state, marble_type, &uuid.into_bytes(), self.settings.clock.now());
        }
    }
}

/// What came of one attempt to activate.
enum Attempt {
    Done(Activated),
    /// Another state is in force, under which this would be something else.
    Moved(Arc<State>),
}

/// Whether another state might lead to another answer.
fn follows_from_state(error: &ActivationError) -> bool {
    match error {
        ActivationError::WrongState(_) | ActivationError::Refused(_) | ActivationError::Internal(_) => true,
        ActivationError::NoCertificate(_) | ActivationError::BadRequest(_) | ActivationError::Unavailable(_) => false,
    }
}

/// Certificate, secrets and parameters for an admitted Marble.
fn provision(
    state: &State,
    admitted: &Admitted<'_>,
    request: &ActivationRequest,
    compiled: &CompiledManifest,
    now: Timestamp,
) -> Result<Activated, ActivationError> {
    let internal =
        |prefix: &str, cause: &dyn std::fmt::Display| ActivationError::Internal(format!("{prefix}: {cause}"));
    let uuid = admitted.uuid.to_string();
    let leaf = make_leaf(state, request, &uuid, now)
        .map_err(|cause| internal("generating marble authentication secrets", &cause))?;
    let secrets = MarbleSecrets::new(state, admitted.manifest, admitted.marble_type, admitted.marble, &uuid, now);

    let rendered = compiled.provide(admitted.marble_type, state.authority(), &leaf, &secrets);
    let rendered = rendered.map_err(|error| {
        // A secret that cannot be made is the cause; that the template then lacks it only follows.
        if let Some(cause) = secrets.failure() {
            let status = format!("rpc error: code = Internal desc = {cause}");
            return internal("generating marble secrets", &status);
        }
        match error {
            parameters::ProvideError::Ttls(cause) => internal("creating TTLS config", &cause),
            parameters::ProvideError::Parameter(cause) => internal("customizing marble parameters", &cause),
        }
    })?;
    let activated =
        Activated { uuid, files: rendered.files, env: rendered.env, argv: admitted.marble.parameters.argv.clone() };
    let length = answer_length(&activated);
    if length > MAX_ANSWER {
        let cause = format!("the parameters of this Marble take {length} bytes; a Marble accepts at most {MAX_ANSWER}");
        return Err(internal("customizing marble parameters", &cause));
    }
    Ok(activated)
}

fn make_leaf(state: &State, request: &ActivationRequest, uuid: &str, now: Timestamp) -> Result<MarbleLeaf, String> {
    let csr = VerifiedCsr::parse(&request.csr).map_err(|error| error.to_string())?;
    issue_marble_leaf(state.authority(), &csr, uuid, &request.marble_type, now).map_err(|error| error.to_string())
}

/// Counts one activation, if the limit still allows it.
fn count(draft: &mut Draft, basis: &Basis, marble_type: &str, limit: u64) -> Result<(), Step> {
    if !is_unmoved(draft.state(), basis) {
        return Err(Step::Stale);
    }
    let counted = draft.state().activations(marble_type);
    if counted >= limit {
        let refusal = limit_reached(marble_type, limit);
        return Err(Error::new(ErrorKind::Refused, "max_activations", refusal.message()).into());
    }
    draft.record(Change::Activations(marble_type.to_owned(), counted + 1))?;
    Ok(())
}

fn from_error(error: Error) -> ActivationError {
    match error.kind {
        ErrorKind::Refused => ActivationError::Refused(error.message),
        ErrorKind::Unavailable => ActivationError::Unavailable(error.message),
        _ => ActivationError::Internal(error.message),
    }
}

fn shortened(text: &str) -> &str {
    text.char_indices().nth(100).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// Length of the answer as protobuf writes it.
fn answer_length(activated: &Activated) -> usize {
    let field = |length: usize| 1 + prost::length_delimiter_len(length) + length;
    let entries = activated.files.iter().chain(&activated.env);
    let maps: usize = entries.map(|(name, value)| field(field(name.len()) + field(value.len()))).sum();
    let argv: usize = activated.argv.iter().map(|argument| field(argument.len())).sum();
    field(maps + argv)
}

#[cfg(test)]
mod tests;
