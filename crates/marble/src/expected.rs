//! What a Marble asks of its Coordinator before it shows anything of itself: evidence of what it runs, and which manifest is
//! in force. Both are asked over the client API; what comes of it is a root certificate, which the answer to the
//! activation must then prove ([`crate::Trust`]). So whoever attests is whoever answers.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use marblerun_attestation::{Policy, TcbStatus, Verifier};
use marblerun_client::wire::bytes::Base64;
use marblerun_client::{AttestError, AttestOptions, ClientError, Endpoint, attest};

use crate::trust::{Trust, Untrusted};

/// For one question. A verifier may have to ask the hardware's vendor.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What the Coordinator must be.
#[derive(Clone)]
pub struct Expected {
    /// Where its client API is.
    pub client_api: Endpoint,
    /// What its evidence must say; `None`: it is not asked for.
    pub policy: Option<Policy>,
    /// SHA-256 of the manifest that must be in force; `None`: any.
    pub manifest: Option<[u8; 32]>,
    /// Looks through its evidence.
    pub verifier: Arc<dyn Verifier>,
}

impl std::fmt::Debug for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expected")
            .field("client_api", &self.client_api)
            .field("policy", &self.policy)
            .field("manifest", &self.manifest.map(hex::encode))
            .finish_non_exhaustive()
    }
}

/// Why the Coordinator is not believed.
pub(crate) enum Doubt {
    /// It may be in a moment: it is not there or not ready.
    Again(String),
    Final(Untrusted),
}

impl Expected {
    /// Asks the Coordinator, which must have the pinned root if there is one. Answers what to believe from then on.
    pub(crate) async fn check(&self, pinned: &Trust) -> Result<Trust, Doubt> {
        let options = match &self.policy {
            Some(policy) => AttestOptions {
                policy: Some(policy.clone()),
                nonce: nonce()?,
                timeout: TIMEOUT,
                verifier: Arc::clone(&self.verifier),
                ..AttestOptions::default()
            },
            // The pinned root is what proves it, and nothing else.
            None => AttestOptions { timeout: TIMEOUT, incarnation: false, ..AttestOptions::insecure() },
        };
        let attested = attest(&self.client_api, &options).await.map_err(|error| self.doubt(&error))?;
        pinned.check_root(&attested.root).map_err(Doubt::Final)?;
        if let Some(claims) = &attested.claims {
            let status = claims.tcb_status;
            tracing::info!(%status, "the Coordinator's evidence is what this Marble expects");
            if status != TcbStatus::UpToDate {
                tracing::warn!(%status, "the Coordinator's platform is not up to date, which its policy accepts");
            }
        }
        if let Some(expected) = &self.manifest {
            let client = attested.client(self.client_api.clone()).timeout(TIMEOUT).build();
            let answer = client.map_err(|error| self.doubt(&error))?.manifest().await;
            let Base64(raw) = answer.map_err(|error| self.doubt(&error))?.manifest;
            let got = digest(&SHA256, &raw);
            if got.as_ref() != expected {
                return Err(Doubt::Final(Untrusted(format!(
                    "the manifest in force there has the fingerprint {}, and not {}",
                    hex::encode(got),
                    hex::encode(expected)
                ))));
            }
        }
        Ok(Trust::Root(attested.root))
    }

    /// What is not proven is final; anything else may be a Coordinator that is not ready.
    fn doubt(&self, error: &ClientError) -> Doubt {
        match error {
            ClientError::Attestation(refused) => Doubt::Final(Untrusted(match refused.as_ref() {
                AttestError::NoEvidence => "it runs in simulation and proves nothing; only a Marble for tests leaves \
                                            MARBLERUN_COORDINATOR_ERA out"
                    .to_owned(),
                AttestError::Refused(refusal) => match refusal.details() {
                    Some(details) => format!("{refusal}: {details}"),
                    None => refusal.to_string(),
                },
                other => other.to_string(),
            })),
            ClientError::Trust(_) => Doubt::Final(Untrusted(error.to_string())),
            other => {
                Doubt::Again(format!("the Coordinator's client API at {} cannot be asked: {other}", self.client_api))
            }
        }
    }
}

/// Chosen by nobody else, so the evidence is made now and for this Marble.
fn nonce() -> Result<Vec<u8>, Doubt> {
    let mut nonce = vec![0; 32];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Doubt::Again("the random source failed".to_owned()))?;
    Ok(nonce)
}
