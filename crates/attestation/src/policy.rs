//! Which claims will do: a pure decision. What is asked is one type; who is asked makes the difference.
//! A Marble is judged as a member of its package (`package`), a Coordinator by somebody who knows nothing else
//! about it (`coordinator`); each in upstream's order, with upstream's texts.

mod coordinator;
mod package;
mod peer;

pub use coordinator::CoordinatorRefusal;
pub use package::{Acceptance, Refusal};
pub use peer::{PeerPolicy, PeerRefusal};

use crate::{EnclaveClaims, TcbStatus};

/// What is asked of an enclave. Empty and `None` mean "not asked".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Of a Marble: debug enclaves, and only those. Of a Coordinator: debug enclaves too.
    pub debug: bool,
    /// Hex MRENCLAVE, any case.
    pub unique_id: String,
    /// Hex MRSIGNER, any case.
    pub signer_id: String,
    /// Product id; 0 is one.
    pub product_id: Option<u64>,
    /// Least security version.
    pub security_version: Option<u64>,
    /// Statuses accepted besides `UpToDate`; empty = `SWHardeningNeeded` alone.
    pub accepted_tcb_statuses: Vec<String>,
    /// Advisories accepted with status `SWHardeningNeeded`; empty = all.
    pub accepted_advisories: Vec<String>,
}

/// What is wrong with a platform.
enum TcbProblem {
    /// Its status is not accepted.
    Status,
    /// These advisories are not accepted.
    Advisories(Vec<String>),
    /// The advisories are limited, but those that apply are not known.
    AdvisoriesUnknown,
}

impl Policy {
    fn check_tcb(&self, enclave: &EnclaveClaims) -> Result<(), TcbProblem> {
        let status = enclave.tcb_status;
        let listed = match self.accepted_tcb_statuses.as_slice() {
            [] => status == TcbStatus::SwHardeningNeeded,
            listed => listed.iter().any(|name| name == status.as_str()),
        };
        if status != TcbStatus::UpToDate && !listed {
            return Err(TcbProblem::Status);
        }
        // Only this status: of a worse one that is accepted by name, advisories are no news.
        if status != TcbStatus::SwHardeningNeeded || self.accepted_advisories.is_empty() {
            return Ok(());
        }
        let applying = enclave.advisories.as_ref().ok_or(TcbProblem::AdvisoriesUnknown)?;
        let accepted = |id: &String| self.accepted_advisories.iter().any(|known| known.eq_ignore_ascii_case(id));
        let refused: Vec<String> = applying.iter().filter(|id| !accepted(id)).cloned().collect();
        if refused.is_empty() { Ok(()) } else { Err(TcbProblem::Advisories(refused)) }
    }
}

/// Whether an identity is the one that is asked, if one is.
fn same_id(asked: &str, id: &[u8; 32]) -> bool {
    asked.is_empty() || asked.eq_ignore_ascii_case(&hex::encode(id))
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
