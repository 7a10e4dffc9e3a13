//! Asking the Coordinator, again and again while it is not ready, but never after a refusal.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use marblerun_api::marble::ActivationReq;
use marblerun_api::marble::marble_client::MarbleClient;
use marblerun_attestation::{Backend, ReportData};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

use crate::address::CoordinatorAddress;
use crate::config::Config;
use crate::connection;
use crate::expected::Doubt;
use crate::identity::Identity;
use crate::parameters::{Parameters, TTLS_CONFIG};
use crate::trust::Trust;
use crate::{PremainError, retry, uuid_file};

/// For TCP, TLS and HTTP/2 together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For the answer; the Coordinator may have large keys to generate and evidence to look up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// The largest answer that is taken.
const MAX_ANSWER: usize = 64 << 20;

/// Activates this process as a Marble.
///
/// # Errors
/// [`PremainError`]; nothing but the UUID file was changed.
pub async fn activate(config: &Config, backend: &Backend, now: Timestamp) -> Result<Parameters, PremainError> {
    let (identity, request) = prepare(config, backend, now).await?;
    let tls = connection::tls_config(&identity).map_err(|error| PremainError::Identity(error.to_string()))?;
    tell_trust(config);
    tracing::info!(
        coordinator = %config.coordinator, marble_type = %config.marble_type, uuid = %request.uuid,
        "activating this Marble"
    );

    let start = Instant::now();
    let mut attempt = 0u32;
    loop {
        let reason = match ask(config, tls.clone(), &request).await {
            Ok(parameters) => return Ok(parameters),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Again(reason)) => reason,
        };
        let pause = config.backoff.pause(attempt, retry::dice());
        let left = config.timeout.saturating_sub(start.elapsed());
        if pause >= left {
            return Err(PremainError::GaveUp { after: start.elapsed(), last: reason });
        }
        tracing::warn!("{reason}; trying again in {pause:.1?}, giving up in {left:.0?}");
        sleep(pause).await;
        attempt = attempt.saturating_add(1);
    }
}

/// Whoever reads the log must not have to guess whom this Marble obeys.
fn tell_trust(config: &Config) {
    let evidence = config.expected.as_ref().is_some_and(|expected| expected.policy.is_some());
    match (&config.trust, evidence) {
        (_, true) => tracing::info!("the Coordinator must prove by evidence what it runs"),
        (Trust::Anyone, false) => tracing::warn!(
            "the Coordinator is NOT verified: whoever answers at {} decides what this Marble gets and does. \
             Set MARBLERUN_COORDINATOR_ERA to have it prove what it runs, or MARBLERUN_COORDINATOR_ROOT_CA to pin it",
            config.coordinator
        ),
        (Trust::Root(_) | Trust::Fingerprint(_), false) => {
            tracing::info!("the Coordinator's root certificate is pinned");
        }
    }
}

/// Everything that stays the same over all attempts.
async fn prepare(
    config: &Config,
    backend: &Backend,
    now: Timestamp,
) -> Result<(Identity, ActivationReq), PremainError> {
    let identity = Identity::generate(&config.names, now)?;
    let uuid = uuid_file::load_or_create(&config.uuid_file)?;
    let (backend, binding) = (backend.clone(), ReportData::binding(&[identity.certificate()]));
    let evidence = tokio::task::spawn_blocking(move || backend.first_evidence(&binding))
        .await
        .map_err(|_| PremainError::Attestation("the question for evidence was interrupted".to_owned()))?
        .map_err(|error| {
            PremainError::Attestation(format!(
                "{error}. It is not replaced by simulation: to run without protection, set MARBLERUN_TEE=simulation"
            ))
        })?;
    let request = ActivationReq {
        quote: evidence.into_bytes(),
        csr: identity.request().to_vec(),
        marble_type: config.marble_type.clone(),
        uuid: uuid.hyphenated().to_string(),
    };
    Ok((identity, request))
}

enum Failure {
    /// It may go better later.
    Again(String),
    Final(PremainError),
}

async fn ask(config: &Config, tls: Arc<rustls::ClientConfig>, request: &ActivationReq) -> Result<Parameters, Failure> {
    let unreachable =
        |reason: &str| Failure::Again(format!("the Coordinator at {} is not reachable: {reason}", config.coordinator));
    let trust = match &config.expected {
        None => config.trust.clone(),
        Some(expected) => expected.check(&config.trust).await.map_err(|doubt| match doubt {
            Doubt::Again(reason) => Failure::Again(reason),
            Doubt::Final(error) => Failure::Final(error.into()),
        })?,
    };
    let connection = timeout(CONNECT_TIMEOUT, connection::open(&config.coordinator, tls))
        .await
        .map_err(|_| unreachable("it does not answer"))?
        .map_err(|reason| unreachable(&reason))?;
    let mut client = MarbleClient::new(connection.channel).max_decoding_message_size(MAX_ANSWER);
    let answer = timeout(ANSWER_TIMEOUT, client.activate(request.clone()))
        .await
        .map_err(|_| Failure::Again(format!("the Coordinator did not answer within {ANSWER_TIMEOUT:.0?}")))?
        .map_err(|status| failure(&status, &config.coordinator))?;
    let parameters = answer.into_inner().parameters.ok_or_else(|| {
        Failure::Final(PremainError::Refused {
            code: "no parameters".to_owned(),
            message: "its answer is empty".to_owned(),
        })
    })?;
    let parameters = Parameters::from(parameters);
    trust.check(&connection.server_certificate, &parameters).map_err(|error| Failure::Final(error.into()))?;
    if parameters.env.contains_key(TTLS_CONFIG) {
        tracing::warn!("the manifest configures TTLS for this Marble, which this premain does not provide");
        return Err(Failure::Final(PremainError::Ttls));
    }
    Ok(parameters)
}

/// What an error of the call means. A status without a source was sent by the Coordinator.
fn failure(status: &Status, coordinator: &CoordinatorAddress) -> Failure {
    let broken = std::error::Error::source(status).is_some();
    // The gRPC library's words for an answer that is none; a Coordinator never says them.
    let foreign =
        ["invalid compression flag", "grpc-status header missing"].iter().any(|text| status.message().contains(text));
    match status.code() {
        Code::FailedPrecondition => Failure::Again(format!(
            "the Coordinator does not accept Marbles yet ({}): it waits for a manifest or for its recovery",
            status.message()
        )),
        Code::Unavailable | Code::DeadlineExceeded | Code::Aborted => {
            Failure::Again(format!("the Coordinator is not available: {}", status.message()))
        }
        Code::Unknown | Code::Cancelled | Code::Internal if broken => {
            Failure::Again(format!("the connection to the Coordinator broke: {}", status.message()))
        }
        _ if foreign => Failure::Final(PremainError::NoMarbleApi { address: coordinator.to_string() }),
        code => {
            Failure::Final(PremainError::Refused { code: format!("{code:?}"), message: status.message().to_owned() })
        }
    }
}
