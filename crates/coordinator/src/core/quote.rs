//! The Coordinator's own evidence, and statements about that of others.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use marblerun_attestation::{Backend, Claims, Evidence, Incarnation, IssueError, ReportData};
use marblerun_pki::{Authority, pem};
use marblerun_state::State;

use crate::core::answer::{AttestationAnswer, QuoteAnswer};
use crate::core::currency::Proof;
use crate::core::sameness::same_authority;
use crate::core::{Coordinator, identity, off_thread};
use crate::error::{Error, ErrorKind};

/// Evidence without a nonce, made once for each root certificate: of the one that is served, and in a recovery of the one
/// that is about to be.
pub(super) type Cache = ArcSwap<Vec<Arc<Cached>>>;

/// Evidence, and the root certificate it is about.
pub(super) struct Cached {
    root_certificate: Vec<u8>,
    evidence: Evidence,
}

/// How much evidence is made at the same time: hardware makes it one by one, and threads that wait for it are missing
/// elsewhere.
pub(super) const AT_A_TIME: usize = 4;

/// Evidence without a nonce, if there is some about this root certificate.
pub(super) fn cached(authority: &Authority, nonce: &[u8], cache: &Cache) -> Option<Evidence> {
    let known = cache.load();
    let found = known.iter().find(|known| known.root_certificate == authority.root_certificate);
    found.filter(|_| nonce.is_empty()).map(|known| known.evidence.clone())
}

/// Fresh evidence over root and nonce. Blocks: hardware is asked.
pub(super) fn fresh(
    authority: &Authority,
    nonce: &[u8],
    backend: &Backend,
    cache: &Cache,
) -> Result<QuoteAnswer, Error> {
    // Whoever held the permit before may have been asked the same.
    if let Some(evidence) = cached(authority, nonce, cache) {
        return answer(authority, evidence);
    }
    let evidence = issue(backend, &ReportData::binding(&[&authority.root_certificate, nonce]))?;
    if nonce.is_empty() {
        keep(authority, evidence.clone(), cache);
    }
    answer(authority, evidence)
}

/// Fresh evidence over root, nonce and incarnation. Blocks: hardware is asked.
pub(super) fn of_incarnation(
    authority: &Authority,
    nonce: &[u8],
    incarnation: Option<Incarnation>,
    backend: &Backend,
) -> Result<AttestationAnswer, Error> {
    let report_data = ReportData::of_incarnation(&authority.root_certificate, nonce, incarnation.as_ref());
    let quote = answer(authority, issue(backend, &report_data)?)?;
    Ok(AttestationAnswer { quote, incarnation })
}

fn issue(backend: &Backend, report_data: &ReportData) -> Result<Evidence, Error> {
    backend.issuer.issue(report_data).map_err(|error| {
        tracing::error!("no quote could be made: {error}");
        Error::new(ErrorKind::Internal, "no_quote", format!("getting quote: failed to get quote: {error}"))
    })
}

/// The first evidence of a process, for the cache. Blocks, for some seconds if the hardware does not answer.
pub(super) fn first(authority: &Authority, backend: &Backend, cache: &Cache) -> Result<(), IssueError> {
    let evidence = backend.first_evidence(&ReportData::binding(&[&authority.root_certificate]))?;
    keep(authority, evidence, cache);
    Ok(())
}

/// Evidence for the cache, before its root is served; asked for once. Blocks: hardware is asked.
pub(super) fn ahead(authority: &Authority, backend: &Backend, cache: &Cache) -> Result<(), IssueError> {
    let evidence = backend.issuer.issue(&ReportData::binding(&[&authority.root_certificate]))?;
    keep(authority, evidence, cache);
    Ok(())
}

fn keep(authority: &Authority, evidence: Evidence, cache: &Cache) {
    let newest = Arc::new(Cached { root_certificate: authority.root_certificate.clone(), evidence });
    cache.rcu(|known| {
        let before = known.iter().find(|known| known.root_certificate != newest.root_certificate);
        [Some(&newest), before].into_iter().flatten().cloned().collect::<Vec<_>>()
    });
}

/// Intermediate, then root, with evidence.
pub(super) fn answer(authority: &Authority, evidence: Evidence) -> Result<QuoteAnswer, Error> {
    let mut cert = String::new();
    for certificate in [&authority.intermediate_certificate, &authority.root_certificate] {
        let block = pem::encode(pem::CERTIFICATE, certificate).map_err(|error| {
            let text = format!("loading root certificate from store: {error}");
            Error::new(ErrorKind::Internal, "certificate_unreadable", text)
        })?;
        cert.push_str(&block);
    }
    let quote = (!evidence.is_empty()).then(|| evidence.into_bytes());
    Ok(QuoteAnswer { cert, quote })
}

/// How often a statement is made again because another state came into force meanwhile.
const ATTEMPTS: usize = 8;

/// The feature gate of statements.
const FEATURE: &str = "SignQuoteEndpoint";

/// [`sign`], for the state in force; or, while a shared state cannot be validated, for the one that was for long enough.
pub(super) async fn sign_current(coordinator: &Coordinator, quote: &[u8]) -> Result<(String, Vec<u8>), Error> {
    let currency = &coordinator.currency;
    let mut state = coordinator.snapshot();
    for _ in 0..ATTEMPTS {
        let (base, settings, quote) = (Arc::clone(&state), Arc::clone(&coordinator.settings), quote.to_vec());
        let place = coordinator.verification().await;
        coordinator.collateral_marks.learn(&state);
        let signing = off_thread(move || {
            let _place = place;
            sign(&base, &quote, &settings.backend, settings.clock.now())
        });
        let (proof, signed) = tokio::join!(currency.proof(), signing);
        match proof? {
            Proof::Current(newest) => {
                if currency.is_shared() {
                    identity::require_feature(&newest, FEATURE)?;
                }
                if same_authority(newest.authority(), state.authority()) {
                    return signed;
                }
                state = newest;
            }
            Proof::Offline(age) => {
                if signed.is_ok() {
                    coordinator.observer.signed_offline();
                    let seconds = age.as_secs();
                    tracing::warn!(seconds, "a quote was signed from a state that could not be validated for so long");
                }
                return signed;
            }
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "contention",
        "the state kept changing while the quote was signed; try again",
    ))
}

/// A statement about somebody's quote: its status, and a signature by the root key over the quote as it was
/// received and that status. Simulation verifies nothing and so states nothing.
pub(super) fn sign(state: &State, quote: &[u8], backend: &Backend, now: Timestamp) -> Result<(String, Vec<u8>), Error> {
    let refuse = |cause: String| Error::new(ErrorKind::BadRequest, "quote_verification_failed", cause);
    if quote.is_empty() {
        return Err(refuse("empty report".to_owned()));
    }
    let evidence = Evidence::from_wire(quote.to_vec()).map_err(|error| refuse(error.to_string()))?;
    let now = u64::try_from(now.as_second()).unwrap_or_default();
    let verified = backend.verifier.verify(&evidence, now).map_err(|error| {
        tracing::warn!(%error, "a quote was not signed");
        refuse(error.for_peers().to_owned())
    });
    match verified? {
        Claims::Simulation => Err(refuse("OE_UNSUPPORTED".to_owned())),
        Claims::Enclave(enclave) => {
            let status = enclave.tcb_status.as_str();
            let message = format!("{}{status}", marblerun_api::bytes::encode(quote));
            let signature = state.authority().root_key.sign_sha256(message.as_bytes()).map_err(|error| {
                Error::new(ErrorKind::Internal, "signing_failed", format!("signing quote: {error}"))
            })?;
            Ok((status.to_owned(), signature))
        }
    }
}
