//! May this Marble be activated? Type, evidence, limit and UUID, checked in the order in which Marbles know
//! the refusals, and tied to the one key that TLS proved.

use jiff::Timestamp;
use marblerun_attestation::{Acceptance, Backend, Evidence, Policy, ReportData, TcbStatus};
use marblerun_manifest::model::{Marble, Package};
use marblerun_pki::parse_uuid;
use marblerun_state::{ActiveManifest, Phase, State};
use uuid::Uuid;

use crate::core::answer::{ActivationError, ActivationRequest, PeerCertificate};

/// A Marble that passed all checks. Only [`admit`] makes it, so its parts belong together: this certificate's
/// key was proved by TLS, the evidence is bound to that certificate, and the UUID came with both.
pub(super) struct Admitted<'s> {
    pub(super) manifest: &'s ActiveManifest,
    pub(super) marble_type: &'s str,
    pub(super) marble: &'s Marble,
    pub(super) uuid: Uuid,
}

/// The manifest of a running Coordinator.
pub(super) fn require_running(state: &State) -> Result<&ActiveManifest, ActivationError> {
    let manifest = state.manifest().filter(|_| state.phase() == Phase::AcceptingMarbles);
    let wrong_state = || ActivationError::WrongState("cannot accept marbles in current state".to_owned());
    manifest.map(AsRef::as_ref).ok_or_else(wrong_state)
}

/// Checks everything. May block: looking through evidence can take a while.
pub(super) fn admit<'s>(
    state: &'s State,
    peer: Option<&PeerCertificate>,
    request: &ActivationRequest,
    backend: &Backend,
    now: Timestamp,
) -> Result<Admitted<'s>, ActivationError> {
    let manifest = require_running(state)?;
    let peer = peer.ok_or_else(|| ActivationError::NoCertificate("couldn't get marble TLS certificate".to_owned()))?;
    let (marble_type, marble) = manifest
        .manifest
        .marbles
        .get_key_value(&request.marble_type)
        .ok_or_else(|| refuse("unknown marble type requested"))?;
    let package =
        state.package(&marble.package).ok_or_else(|| refuse(&format!("undefined package {:?}", marble.package)))?;
    let acceptance = attest(package, peer, request, backend, now).map_err(|Refused { cause, details }| {
        tracing::warn!(marble_type, cause, details, "evidence of a Marble was refused");
        // Infrastructures are declared, not compared; but with some declared, Marbles know this text.
        let has_infrastructures = !manifest.manifest.infrastructures.is_empty();
        refuse(&if has_infrastructures {
            "invalid infrastructure".to_owned()
        } else {
            format!("invalid quote: {cause}")
        })
    })?;
    log_platform(marble_type, acceptance);
    if marble.max_activations > 0 && state.activations(marble_type) >= marble.max_activations {
        return Err(limit_reached(marble_type, marble.max_activations));
    }
    let uuid =
        parse_uuid(&request.uuid).map_err(|error| ActivationError::BadRequest(format!("invalid UUID: {error}")))?;
    if uuid.is_nil() {
        // It would stand for every instance that forgot to choose one, and they would share their secrets.
        return Err(ActivationError::BadRequest("invalid UUID: the nil UUID identifies no Marble".to_owned()));
    }
    Ok(Admitted { manifest, marble_type, marble, uuid })
}

/// The refusal of a Marble type whose activations are spent.
pub(super) fn limit_reached(marble_type: &str, limit: u64) -> ActivationError {
    refuse(&format!("reached max activations count ({limit}) for marble type {marble_type:?}"))
}

fn refuse(cause: &str) -> ActivationError {
    ActivationError::Refused(format!("marble verification failed: {cause}"))
}

/// Why evidence is refused: what its Marble is told, and what only the log is.
struct Refused {
    cause: String,
    details: Option<String>,
}

/// The evidence must be genuine, of the package in force, and made for this very certificate.
fn attest(
    package: &Package,
    peer: &PeerCertificate,
    request: &ActivationRequest,
    backend: &Backend,
    now: Timestamp,
) -> Result<Acceptance, Refused> {
    let evidence = Evidence::from_wire(request.quote.clone())
        .map_err(|error| Refused { cause: error.to_string(), details: None })?;
    let now = u64::try_from(now.as_second()).unwrap_or_default();
    let claims = backend
        .verifier
        .verify(&evidence, now)
        .map_err(|error| Refused { cause: error.for_peers().to_owned(), details: Some(error.0) })?;
    let binding = ReportData::binding(&[peer.0.as_slice()]);
    Policy::from(package)
        .accepts_marble(&claims, &binding)
        .map_err(|refusal| Refused { cause: refusal.to_string(), details: refusal.details() })
}

/// A platform that is not up to date is for the operator to know, though the package accepts it.
fn log_platform(marble_type: &str, acceptance: Acceptance) {
    match acceptance {
        Acceptance::Simulation | Acceptance::Enclave(TcbStatus::UpToDate) => {}
        Acceptance::Enclave(TcbStatus::SwHardeningNeeded) => {
            tracing::info!(marble_type, "TCB level accepted by configuration: SWHardeningNeeded");
        }
        Acceptance::Enclave(status) => {
            tracing::warn!(marble_type, %status, "TCB level invalid, but accepted by configuration");
        }
    }
}
