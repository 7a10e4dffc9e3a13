//! Coordinators: somebody is about to trust one with secrets and knows of it only what the policy says.

use super::compare::{Comparison, Judged, differences, names};
use super::{Policy, TcbProblem};
use crate::{Claims, EnclaveClaims, Identity, ReportData, TcbStatus, Tee};

/// Why a Coordinator will not do. The texts are upstream's; [`Self::details`] has what they leave out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorRefusal {
    /// Nothing was proven: simulation.
    #[error("empty report")]
    Simulation,
    /// The evidence was made for another root certificate, or without this nonce.
    #[error("report data does not match the certificate's hash")]
    Binding {
        /// Hex of what it should be bound to.
        expected: String,
        /// Hex of what it is bound to.
        got: String,
    },
    /// A signer is trusted for every version, which includes those with known holes.
    #[error("missing SecurityVersion in config")]
    NoSecurityVersion,
    /// A signer is trusted for every product.
    #[error("missing ProductID in config")]
    NoProductId,
    /// An older version than is asked.
    #[error("invalid SecurityVersion")]
    SecurityVersion {
        /// The least that is asked.
        least: u64,
        /// The Coordinator's.
        got: u64,
    },
    /// Another product of the signer.
    #[error("invalid ProductID")]
    ProductId {
        /// What is asked.
        expected: u64,
        /// The Coordinator's.
        got: u64,
    },
    /// Its memory can be read from outside.
    #[error("debug enclave not allowed")]
    Debug,
    /// Another program.
    #[error("invalid UniqueID")]
    UniqueId {
        /// What is asked.
        expected: String,
        /// The Coordinator's.
        got: String,
    },
    /// Another signer's program.
    #[error("invalid SignerID")]
    SignerId {
        /// What is asked.
        expected: String,
        /// The Coordinator's.
        got: String,
    },
    /// Another VM, or evidence of another family of hardware than the policy is for.
    #[error("the Coordinator is not what the policy asks for: {}", names(.0))]
    Vm(Vec<Comparison>),
    /// The policy would take any enclave of anybody. Upstream warns and goes on.
    #[error("configuration contains neither UniqueID nor SignerID: any enclave of anybody would be accepted")]
    NoIdentity,
    /// The platform's status is not accepted.
    #[error("invalid TCB status: {0}")]
    TcbStatus(TcbStatus),
    /// Advisories apply that are not accepted.
    #[error("invalid TCB status: {status}: advisories not accepted by configuration: [{}]", advisories.join(" "))]
    Advisories {
        /// Status of the platform.
        status: TcbStatus,
        /// The advisories in question.
        advisories: Vec<String>,
    },
    /// The policy limits advisories, but those that apply are not known.
    #[error("invalid TCB status: {0}: the advisories that apply to the platform are not known")]
    AdvisoriesUnknown(TcbStatus),
}

impl CoordinatorRefusal {
    /// What was asked and what was found, where the text does not say it.
    #[must_use]
    pub fn details(&self) -> Option<String> {
        match self {
            Self::Binding { expected, got } => Some(format!(
                "the evidence is bound to {got}, and not to this root certificate and nonce ({expected}): it was made for \
                 another Coordinator or another request"
            )),
            Self::NoSecurityVersion | Self::NoProductId => Some(
                "a policy without UniqueID must say SignerID, ProductID and SecurityVersion, none of them 0".into(),
            ),
            Self::SecurityVersion { least, got } => {
                Some(format!("the Coordinator has SecurityVersion {got}, the policy asks for {least} or more"))
            }
            Self::ProductId { expected, got } => {
                Some(format!("the Coordinator has ProductID {got}, the policy asks for {expected}"))
            }
            Self::Debug => Some("the memory of a debug enclave can be read from outside".into()),
            Self::UniqueId { expected, got } => {
                Some(format!("the Coordinator has UniqueID {got}, the policy asks for {expected}"))
            }
            Self::SignerId { expected, got } => {
                Some(format!("the Coordinator has SignerID {got}, the policy asks for {expected}"))
            }
            Self::Vm(fields) => Some(differences(fields)),
            Self::Simulation
            | Self::NoIdentity
            | Self::TcbStatus(_)
            | Self::Advisories { .. }
            | Self::AdvisoriesUnknown(_) => None,
        }
    }
}

impl Policy {
    /// Whether claims are those of a Coordinator that the policy means, bound to what they should be: its root
    /// certificate and the nonce, if there is one. Answers the status of its platform; anything but
    /// [`TcbStatus::UpToDate`] deserves a word to the user.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn accepts_coordinator(&self, claims: &Claims, binding: &ReportData) -> Result<TcbStatus, CoordinatorRefusal> {
        let enclave = match claims {
            Claims::Simulation => return Err(CoordinatorRefusal::Simulation),
            Claims::Enclave(enclave) => enclave,
        };
        if enclave.report_data != *binding {
            let [expected, got] = [binding, &enclave.report_data].map(|data| hex::encode(data.0));
            return Err(CoordinatorRefusal::Binding { expected, got });
        }
        self.check_identity(enclave)?;
        let status = enclave.tcb_status;
        self.check_tcb(enclave).map_err(|problem| match problem {
            TcbProblem::Status => CoordinatorRefusal::TcbStatus(status),
            TcbProblem::Advisories(advisories) => CoordinatorRefusal::Advisories { status, advisories },
            TcbProblem::AdvisoriesUnknown => CoordinatorRefusal::AdvisoriesUnknown(status),
        })?;
        Ok(status)
    }

    fn check_identity(&self, enclave: &EnclaveClaims) -> Result<(), CoordinatorRefusal> {
        let (Identity::Sgx(sgx), Tee::Sgx) = (&enclave.identity, self.tee()) else {
            let fields = self.compare(enclave, Judged::Coordinator);
            let fits = fields.iter().all(|field| field.fits);
            return if fits { Ok(()) } else { Err(CoordinatorRefusal::Vm(fields)) };
        };
        // Upstream's configuration cannot tell 0 from "not given".
        let given = |number: Option<u64>| number.filter(|number| *number != 0);
        let (security_version, product_id) = (given(self.security_version), given(self.product_id));
        if self.unique_id.is_empty() && security_version.is_none() {
            return Err(CoordinatorRefusal::NoSecurityVersion);
        }
        if self.unique_id.is_empty() && product_id.is_none() {
            return Err(CoordinatorRefusal::NoProductId);
        }
        if let Some(least) = security_version.filter(|least| sgx.security_version < *least) {
            return Err(CoordinatorRefusal::SecurityVersion { least, got: sgx.security_version });
        }
        if let Some(expected) = product_id.filter(|expected| sgx.product_id != *expected) {
            return Err(CoordinatorRefusal::ProductId { expected, got: sgx.product_id });
        }
        if enclave.debug && !self.debug {
            return Err(CoordinatorRefusal::Debug);
        }
        if !same_id(&self.unique_id, &sgx.unique_id) {
            let (expected, got) = (self.unique_id.clone(), hex::encode(sgx.unique_id));
            return Err(CoordinatorRefusal::UniqueId { expected, got });
        }
        if !same_id(&self.signer_id, &sgx.signer_id) {
            let (expected, got) = (self.signer_id.clone(), hex::encode(sgx.signer_id));
            return Err(CoordinatorRefusal::SignerId { expected, got });
        }
        if self.unique_id.is_empty() && self.signer_id.is_empty() {
            return Err(CoordinatorRefusal::NoIdentity);
        }
        Ok(())
    }
}

/// Whether an identity is the one that is asked, if one is.
fn same_id(asked: &str, id: &[u8; 32]) -> bool {
    asked.is_empty() || asked.eq_ignore_ascii_case(&hex::encode(id))
}

#[cfg(test)]
mod tests;
