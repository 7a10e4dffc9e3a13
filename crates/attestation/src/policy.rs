//! Which claims will do for a package: a pure decision, in upstream's order, with upstream's texts.

use crate::{Claims, EnclaveClaims, ReportData, TcbStatus};

/// What a package asks of an enclave. Empty and `None` mean "not asked".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Debug enclaves, and only those.
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

/// Claims that will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// Nothing was proven and nothing was asked: simulation.
    Simulation,
    /// A genuine enclave of the package on a platform of that status. Anything but
    /// [`TcbStatus::UpToDate`] deserves a line in the log.
    Enclave(TcbStatus),
}

/// Why claims will not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The platform's status is not accepted.
    #[error("TCB level invalid: {0}")]
    TcbStatus(TcbStatus),
    /// Advisories apply that are not accepted.
    #[error("TCB status {status} contains advisories not accepted by configuration: {advisories:?}")]
    Advisories {
        /// Status of the platform.
        status: TcbStatus,
        /// The advisories in question.
        advisories: Vec<String>,
    },
    /// The policy limits advisories, but those that apply are not known.
    #[error("TCB status {0}: the advisories that apply to the platform are not known")]
    AdvisoriesUnknown(TcbStatus),
    /// The evidence was made for another certificate.
    #[error("hash(cert) != report.Data: {expected} != {got}")]
    Binding {
        /// Hex of what it should be bound to.
        expected: String,
        /// Hex of what it is bound to.
        got: String,
    },
    /// Another package's enclave.
    #[error("PackageProperties not compliant: expected: {expected} got: {got}")]
    Package {
        /// What the package asks.
        expected: String,
        /// What the enclave is.
        got: String,
    },
}

impl Policy {
    /// Whether claims satisfy the policy and are bound to what they should be.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn accepts(&self, claims: &Claims, binding: &ReportData) -> Result<Acceptance, Refusal> {
        let enclave = match claims {
            Claims::Simulation => return Ok(Acceptance::Simulation),
            Claims::Enclave(enclave) => enclave,
        };
        self.check_tcb(enclave)?;
        if enclave.report_data != *binding {
            let [expected, got] = [binding, &enclave.report_data].map(|data| hex::encode(data.0));
            return Err(Refusal::Binding { expected, got });
        }
        self.check_package(enclave)?;
        Ok(Acceptance::Enclave(enclave.tcb_status))
    }

    fn check_tcb(&self, enclave: &EnclaveClaims) -> Result<(), Refusal> {
        let status = enclave.tcb_status;
        let listed = match self.accepted_tcb_statuses.as_slice() {
            [] => status == TcbStatus::SwHardeningNeeded,
            listed => listed.iter().any(|name| name == status.as_str()),
        };
        if status != TcbStatus::UpToDate && !listed {
            return Err(Refusal::TcbStatus(status));
        }
        // Only this status: of a worse one that is accepted by name, advisories are no news.
        if status != TcbStatus::SwHardeningNeeded || self.accepted_advisories.is_empty() {
            return Ok(());
        }
        let applying = enclave.advisories.as_ref().ok_or(Refusal::AdvisoriesUnknown(status))?;
        let accepted = |id: &String| self.accepted_advisories.iter().any(|known| known.eq_ignore_ascii_case(id));
        let refused: Vec<String> = applying.iter().filter(|id| !accepted(id)).cloned().collect();
        if refused.is_empty() { Ok(()) } else { Err(Refusal::Advisories { status, advisories: refused }) }
    }

    fn check_package(&self, enclave: &EnclaveClaims) -> Result<(), Refusal> {
        let same_id = |asked: &str, id: &[u8; 32]| asked.is_empty() || asked.eq_ignore_ascii_case(&hex::encode(id));
        let fits = self.debug == enclave.debug
            && same_id(&self.unique_id, &enclave.unique_id)
            && same_id(&self.signer_id, &enclave.signer_id)
            && self.product_id.is_none_or(|asked| asked == enclave.product_id)
            && self.security_version.is_none_or(|least| least <= enclave.security_version);
        if fits {
            return Ok(());
        }
        let number = |number: Option<u64>| number.map_or_else(|| "any".to_owned(), |number| number.to_string());
        let text = |debug, unique_id: &str, signer_id: &str, product_id, security_version| {
            format!(
                "{{Debug:{debug} UniqueID:{unique_id} SignerID:{signer_id} ProductID:{} SecurityVersion:{}}}",
                number(product_id),
                number(security_version)
            )
        };
        Err(Refusal::Package {
            expected: text(self.debug, &self.unique_id, &self.signer_id, self.product_id, self.security_version),
            got: text(
                enclave.debug,
                &hex::encode(enclave.unique_id),
                &hex::encode(enclave.signer_id),
                Some(enclave.product_id),
                Some(enclave.security_version),
            ),
        })
    }
}

#[cfg(test)]
mod tests;
