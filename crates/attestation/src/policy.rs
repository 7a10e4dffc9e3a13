//! Which claims will do: a pure decision. What is asked is one type; who is asked makes the difference.
//! A Marble is judged as a member of its package (`package`), a Coordinator by somebody who knows nothing else
//! about it (`coordinator`); each in upstream's order, with upstream's texts.

mod compare;
mod coordinator;
mod package;
mod peer;

pub use compare::{Comparison, Judged};
pub use coordinator::CoordinatorRefusal;
pub use package::{Acceptance, Refusal};
pub use peer::{PeerPolicy, PeerRefusal};

use marblerun_manifest::model::Package;
use marblerun_manifest::vm::{SnpPackage, TdxPackage};

use crate::{EnclaveClaims, Identity, TcbStatus};

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
    /// Advisories accepted with status `SWHardeningNeeded` (VMs: with every status but `UpToDate`); empty = all.
    pub accepted_advisories: Vec<String>,
    /// A VM in TDX is asked for, and no enclave.
    pub tdx: Option<TdxPackage>,
    /// A VM in SEV-SNP is asked for, and no enclave.
    pub snp: Option<SnpPackage>,
}

impl From<&Package> for Policy {
    /// What a package of a manifest asks of a Marble.
    fn from(package: &Package) -> Self {
        Self {
            debug: package.debug,
            unique_id: package.unique_id.clone(),
            signer_id: package.signer_id.clone(),
            product_id: package.product_id,
            security_version: package.security_version,
            accepted_tcb_statuses: package.accepted_tcb_statuses.clone(),
            accepted_advisories: package.accepted_advisories.clone(),
            tdx: package.tdx.clone(),
            snp: package.snp.clone(),
        }
    }
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
        // Keys that are revoked may be in anybody's hands: what they sign proves nothing.
        if status != TcbStatus::UpToDate && (!listed || status == TcbStatus::Revoked) {
            return Err(TcbProblem::Status);
        }
        let advisories_count = match enclave.identity {
            // As upstream: of a worse status that is accepted by name, advisories are no news.
            Identity::Sgx(_) => status == TcbStatus::SwHardeningNeeded,
            Identity::Tdx(_) | Identity::Snp(_) => status != TcbStatus::UpToDate,
        };
        if !advisories_count || self.accepted_advisories.is_empty() {
            return Ok(());
        }
        let applying = enclave.advisories.as_ref().ok_or(TcbProblem::AdvisoriesUnknown)?;
        let accepted = |id: &String| self.accepted_advisories.iter().any(|known| known.eq_ignore_ascii_case(id));
        let refused: Vec<String> = applying.iter().filter(|id| !accepted(id)).cloned().collect();
        if refused.is_empty() { Ok(()) } else { Err(TcbProblem::Advisories(refused)) }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
