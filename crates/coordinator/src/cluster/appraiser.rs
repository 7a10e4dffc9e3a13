//! Who a peer is, and what it may have. Evidence is verified once for each channel; whether its maker will do
//! is decided for each call, since what is asked for depends on the manifest in force.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use marblerun_attestation::{
    Evidence, PeerAttestation, PeerEvidenceError, PeerIdentity, PeerPolicy, PeerRefusal, ReportData,
};
use tokio::sync::Semaphore;

use super::node::Node;
use crate::core::Clock;

/// Verifications at a time, of strangers and of those that this instance called, each: the ones do not keep the others
/// from being made.
const VERIFICATIONS: usize = 4;

/// What could not be appraised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AppraisalError {
    /// The evidence is not taken, or own hardware gives none.
    #[error(transparent)]
    Evidence(#[from] PeerEvidenceError),
    /// Its maker will not do.
    #[error(transparent)]
    Refused(#[from] PeerRefusal),
    /// A fault of this program.
    #[error("the appraisal was interrupted by a fault")]
    Fault,
}

/// Appraises peers.
pub(super) struct Appraiser {
    attestation: PeerAttestation,
    least_giver: Option<u64>,
    clock: Clock,
    own: ArcSwap<(Instant, PeerIdentity)>,
    renewed: Duration,
    node: Arc<dyn Node>,
    incoming: Arc<Semaphore>,
    outgoing: Arc<Semaphore>,
}

/// Who called whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The one that called.
    Client,
    /// The one that was called.
    Server,
}

impl Role {
    /// In what evidence is bound to: evidence of the one is not evidence of the other.
    pub(super) fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Client => b"client",
            Self::Server => b"server",
        }
    }
}

impl Appraiser {
    /// Finds out who this process is.
    pub(super) async fn new(
        attestation: PeerAttestation,
        least_giver: Option<u64>,
        renewed: Duration,
        clock: Clock,
        node: Arc<dyn Node>,
    ) -> Result<Self, AppraisalError> {
        let own = ArcSwap::from_pointee((Instant::now(), own(&attestation, &clock).await?));
        let [incoming, outgoing] = [(); 2].map(|()| Arc::new(Semaphore::new(VERIFICATIONS)));
        Ok(Self { attestation, least_giver, clock, own, renewed, node, incoming, outgoing })
    }

    /// Own evidence for a channel. The status of the own platform, which counts for that of others, is looked at again
    /// once it has grown old.
    pub(super) async fn issue(&self, binding: ReportData) -> Result<Evidence, AppraisalError> {
        if self.own.load().0.elapsed() >= self.renewed {
            let own = own(&self.attestation, &self.clock).await?;
            self.own.store(Arc::new((Instant::now(), own)));
        }
        let attestation = self.attestation.clone();
        let issued = tokio::task::spawn_blocking(move || attestation.issue(&binding)).await;
        Ok(issued.map_err(|_| AppraisalError::Fault)?.map_err(PeerEvidenceError::from)?)
    }

    /// Who made evidence, which is refused if it is nobody this instance talks to.
    pub(super) async fn verify(
        &self,
        maker: Role,
        evidence: Evidence,
        binding: ReportData,
    ) -> Result<PeerIdentity, AppraisalError> {
        let room = match maker {
            Role::Client => &self.incoming,
            Role::Server => &self.outgoing,
        };
        let permit = Arc::clone(room).acquire_owned().await.map_err(|_| AppraisalError::Fault)?;
        let (attestation, now) = (self.attestation.clone(), seconds(&self.clock));
        let verified = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            attestation.verify(&evidence, &binding, now)
        });
        let peer = verified.await.map_err(|_| AppraisalError::Fault)??;
        self.meeting().accepts(&peer)?;
        Ok(peer)
    }

    /// What is asked of a peer to talk to it, and to take a key encryption key of it. Who lacks the key cannot know
    /// which builds the manifest allows; a new build could never get it if it asked its own kind alone. Whoever has
    /// the key knows, and gives it to no other.
    pub(super) fn meeting(&self) -> PeerPolicy {
        let mut policy = self.policy();
        policy.any_measurement |= !self.node.wanted_keks().is_empty();
        policy
    }

    /// What is asked of a peer to give it secrets, and to take any other secret of it.
    pub(super) fn policy(&self) -> PeerPolicy {
        let own = self.own.load();
        PeerPolicy { own: own.1.clone(), any_measurement: self.node.seal_by_product(), least_giver: self.least_giver }
    }
}

async fn own(attestation: &PeerAttestation, clock: &Clock) -> Result<PeerIdentity, AppraisalError> {
    let (attestation, now) = (attestation.clone(), seconds(clock));
    let own = tokio::task::spawn_blocking(move || attestation.own(now)).await;
    Ok(own.map_err(|_| AppraisalError::Fault)??)
}

fn seconds(clock: &Clock) -> u64 {
    u64::try_from(clock.now().as_second()).unwrap_or_default()
}
