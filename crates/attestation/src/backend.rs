//! What makes evidence and what looks through it: two small traits, and the pair that a process uses.

use std::sync::Arc;

use crate::{Claims, Evidence, ReportData, Simulation, Tee};

/// Makes evidence about this process.
pub trait Issuer: Send + Sync {
    /// What vouches for it.
    fn tee(&self) -> Tee;

    /// Makes evidence that carries `report_data`. May take a while; not for async threads.
    ///
    /// # Errors
    /// If the hardware does not answer. That is never a reason to go on without evidence.
    fn issue(&self, report_data: &ReportData) -> Result<Evidence, IssueError>;
}

/// Looks through evidence of others.
pub trait Verifier: Send + Sync {
    /// Checks that evidence is genuine at `now` (seconds since the Unix epoch), and says what it says.
    /// May take a while; not for async threads.
    ///
    /// # Errors
    /// If it is not genuine or cannot be judged.
    fn verify(&self, evidence: &Evidence, now: u64) -> Result<Claims, VerifyError>;
}

/// Hardware that does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{tee} gives no evidence: {reason}")]
pub struct IssueError {
    /// Which.
    pub tee: Tee,
    /// Cause.
    pub reason: String,
}

/// Evidence that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct VerifyError(pub String);

impl VerifyError {
    /// Begins what is wrong with sources of collateral, and not with evidence.
    const COLLATERAL: &str = "no collateral to verify the evidence with";

    /// The evidence cannot be judged for lack of collateral.
    pub(crate) fn no_collateral(error: &crate::CollateralError) -> Self {
        Self(format!("{}: {error}", Self::COLLATERAL))
    }

    /// The text for whoever showed the evidence: where collateral comes from is nothing to strangers.
    #[must_use]
    pub fn for_peers(&self) -> &str {
        if self.0.starts_with(Self::COLLATERAL) { Self::COLLATERAL } else { &self.0 }
    }
}

/// Hardware that this build knows by name only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not supported by this build yet. It is not replaced by simulation: to run without protection, \
     set MARBLERUN_TEE=simulation"
)]
pub struct Unsupported(pub Tee);

/// What a process issues and verifies evidence with, chosen once.
#[derive(Clone)]
pub struct Backend {
    /// Makes evidence.
    pub issuer: Arc<dyn Issuer>,
    /// Looks through that of others.
    pub verifier: Arc<dyn Verifier>,
}

impl Backend {
    /// Opens the backend of a TEE and logs which one it is.
    ///
    /// # Errors
    /// [`Unsupported`]; the process must not go on.
    pub fn open(tee: Tee) -> Result<Self, Unsupported> {
        match tee {
            Tee::Simulation => {
                tracing::warn!("{}", Simulation::WARNING);
                Ok(Self { issuer: Arc::new(Simulation), verifier: Arc::new(Simulation) })
            }
            Tee::Sgx | Tee::Tdx | Tee::Snp => Err(Unsupported(tee)),
        }
    }

    /// Which TEE this is.
    #[must_use]
    pub fn tee(&self) -> Tee {
        self.issuer.tee()
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Backend").field(&self.tee()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_that_is_not_supported_is_an_error_and_no_simulation() {
        for tee in [Tee::Sgx, Tee::Tdx, Tee::Snp] {
            let error = Backend::open(tee).unwrap_err();
            assert_eq!(error, Unsupported(tee));
            let text = error.to_string();
            assert!(text.starts_with(&format!("{tee} is not supported by this build yet")), "{text}");
        }
    }

    #[test]
    fn simulation_issues_nothing_and_takes_anything() {
        let backend = Backend::open(Tee::Simulation).unwrap();
        assert_eq!(backend.tee(), Tee::Simulation);
        let evidence = backend.issuer.issue(&ReportData([1; 64])).unwrap();
        assert!(evidence.is_empty());
        for bytes in [vec![], b"garbage".to_vec()] {
            let evidence = Evidence::from_wire(bytes).unwrap();
            assert_eq!(backend.verifier.verify(&evidence, 0), Ok(Claims::Simulation));
        }
    }
}
