//! No hardware: evidence is empty, and that of others is not looked at, as upstream does it. Says so
//! wherever it can.

mod evidence;
mod identity;

pub(crate) use evidence::{SimulatedPeer, is_simulated};
pub use identity::{IdentityError, SimulatedIdentity};

use crate::{Claims, Evidence, IssueError, Issuer, ReportData, Tee, Verifier, VerifyError};

/// Plays a trusted execution environment where there is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Simulation;

impl Simulation {
    /// What users of a simulation must be told.
    pub const WARNING: &str = "SIMULATION: there is no trusted execution environment. Nothing is protected \
        from the host, evidence is empty, and evidence of others is not checked. Do not use for real secrets";
}

impl Issuer for Simulation {
    fn tee(&self) -> Tee {
        Tee::Simulation
    }

    fn issue(&self, _report_data: &ReportData) -> Result<Evidence, IssueError> {
        Ok(Evidence::none())
    }
}

impl Verifier for Simulation {
    fn verify(&self, _evidence: &Evidence, _now: u64) -> Result<Claims, VerifyError> {
        Ok(Claims::Simulation)
    }
}
