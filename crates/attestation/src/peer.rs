//! Coordinators of one deployment among themselves: what one shows the others, and what it takes of theirs.
//!
//! In a trusted execution environment a Coordinator shows what its hardware makes and takes what [`crate::AnyTee`] believes.
//! In simulation it shows an identity by say-so and takes the same. The two never meet: simulated evidence is of a form
//! that no hardware verifier knows, and the simulated verifier knows no other.

mod message;

use std::sync::Arc;

pub use message::{MessageError, PeerMessage};

use crate::simulation::{SimulatedPeer, is_simulated};
use crate::{
    Backend, Claims, EnclaveClaims, Evidence, IssueError, Issuer, ReportData, SimulatedIdentity, Tee, Verifier,
};

/// What evidence proved about a Coordinator, or what a simulated one says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// What vouches for it.
    pub tee: Tee,
    /// What is vouched for.
    pub claims: EnclaveClaims,
}

/// Evidence of a peer that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerEvidenceError {
    /// By a peer in a trusted execution environment from one that has none.
    #[error("the evidence is simulated; a Coordinator in a trusted execution environment does not take it")]
    Simulated,
    /// Not genuine, or of the wrong kind.
    #[error("{0}")]
    NotGenuine(String),
    /// Made for another channel: relayed or replayed.
    #[error("the evidence was made for another connection")]
    Binding,
    /// Own hardware does not answer.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Makes and judges evidence among Coordinators. Chosen once, with the backend.
#[derive(Clone)]
pub struct PeerAttestation {
    issuer: Arc<dyn Issuer>,
    verifier: Arc<dyn Verifier>,
}

impl PeerAttestation {
    /// What fits a backend; the identity counts in simulation only.
    #[must_use]
    pub fn new(backend: &Backend, simulated: SimulatedIdentity) -> Self {
        match backend.tee() {
            Tee::Simulation => Self::simulated(simulated),
            Tee::Sgx | Tee::Tdx | Tee::Snp | Tee::SnpVtpm => {
                Self::hardware(Arc::clone(&backend.issuer), Arc::clone(&backend.verifier))
            }
        }
    }

    /// A simulated Coordinator with that identity.
    #[must_use]
    pub fn simulated(identity: SimulatedIdentity) -> Self {
        let peer = Arc::new(SimulatedPeer(identity));
        Self { issuer: peer.clone(), verifier: peer }
    }

    /// A Coordinator that hardware vouches for. The verifier must never answer [`Claims::Simulation`].
    #[must_use]
    pub fn hardware(issuer: Arc<dyn Issuer>, verifier: Arc<dyn Verifier>) -> Self {
        Self { issuer, verifier }
    }

    /// What vouches for this process.
    #[must_use]
    pub fn tee(&self) -> Tee {
        self.issuer.tee()
    }

    /// Makes evidence. May take a while; not for async threads.
    ///
    /// # Errors
    /// If the hardware does not answer.
    pub fn issue(&self, binding: &ReportData) -> Result<Evidence, IssueError> {
        self.issuer.issue(binding)
    }

    /// Who made evidence, for this binding alone. Whether that peer is wanted is for a [`crate::PeerPolicy`].
    /// May take a while; not for async threads.
    ///
    /// # Errors
    /// [`PeerEvidenceError`].
    pub fn verify(
        &self,
        evidence: &Evidence,
        binding: &ReportData,
        now: u64,
    ) -> Result<PeerIdentity, PeerEvidenceError> {
        if self.tee() != Tee::Simulation && is_simulated(evidence.as_bytes()) {
            return Err(PeerEvidenceError::Simulated);
        }
        let claims = self.verifier.verify(evidence, now);
        let claims = match claims.map_err(|error| PeerEvidenceError::NotGenuine(error.for_peers().to_owned()))? {
            Claims::Enclave(claims) => claims,
            Claims::Simulation => return Err(PeerEvidenceError::Simulated),
        };
        let tee = if self.tee() == Tee::Simulation { Tee::Simulation } else { claims.identity.tee() };
        if claims.report_data != *binding {
            return Err(PeerEvidenceError::Binding);
        }
        Ok(PeerIdentity { tee, claims })
    }

    /// Who this process is, as its peers see it now: the status of its platform included. May take a while; not for
    /// async threads.
    ///
    /// # Errors
    /// If the hardware does not answer, or its evidence cannot be judged here either.
    pub fn own(&self, now: u64) -> Result<PeerIdentity, PeerEvidenceError> {
        let binding = ReportData::binding(&[b"marblerun peer self"]);
        let evidence = self.issue(&binding)?;
        self.verify(&evidence, &binding, now)
    }
}

impl std::fmt::Debug for PeerAttestation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PeerAttestation").field(&self.tee()).finish()
    }
}

#[cfg(test)]
mod tests;
