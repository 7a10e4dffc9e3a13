//! Marbles: is this an enclave of the package, on a platform that the package accepts?

use super::compare::{Comparison, Judged, differences, names};
use super::{Policy, TcbProblem};
use crate::{Claims, EnclaveClaims, Identity, ReportData, TcbStatus, Tee};

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
    /// Another package's VM, or evidence of another family of hardware than the package is for. Whoever shows it need
    /// not know what the package asks; [`Self::details`] tells.
    #[error("PackageProperties not compliant: {}", names(fields))]
    Vm {
        /// All that was compared.
        fields: Vec<Comparison>,
    },
}

impl Refusal {
    /// What was asked and what was found, where the text does not say it: for logs.
    #[must_use]
    pub fn details(&self) -> Option<String> {
        match self {
            Self::Vm { fields } => Some(differences(fields)),
            _ => None,
        }
    }
}

impl Policy {
    /// Whether claims are those of a Marble of the package, bound to what they should be. A Marble of a
    /// Coordinator in simulation shows nothing; that is taken as what it is.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn accepts_marble(&self, claims: &Claims, binding: &ReportData) -> Result<Acceptance, Refusal> {
        let enclave = match claims {
            Claims::Simulation => return Ok(Acceptance::Simulation),
            Claims::Enclave(enclave) => enclave,
        };
        self.accepts_platform(enclave)?;
        if enclave.report_data != *binding {
            let [expected, got] = [binding, &enclave.report_data].map(|data| hex::encode(data.0));
            return Err(Refusal::Binding { expected, got });
        }
        self.check_package(enclave)?;
        Ok(Acceptance::Enclave(enclave.tcb_status))
    }

    /// Whether the state of a platform will do, whatever runs on it.
    ///
    /// # Errors
    /// What does not fit.
    pub fn accepts_platform(&self, enclave: &EnclaveClaims) -> Result<(), Refusal> {
        let status = enclave.tcb_status;
        self.check_tcb(enclave).map_err(|problem| match problem {
            TcbProblem::Status => Refusal::TcbStatus(status),
            TcbProblem::Advisories(advisories) => Refusal::Advisories { status, advisories },
            TcbProblem::AdvisoriesUnknown => Refusal::AdvisoriesUnknown(status),
        })
    }

    fn check_package(&self, enclave: &EnclaveClaims) -> Result<(), Refusal> {
        let fields = self.compare(enclave, Judged::Marble);
        if fields.iter().all(|field| field.fits) {
            return Ok(());
        }
        let (Identity::Sgx(sgx), Tee::Sgx) = (&enclave.identity, self.tee()) else {
            return Err(Refusal::Vm { fields });
        };
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
                &hex::encode(sgx.unique_id),
                &hex::encode(sgx.signer_id),
                Some(sgx.product_id),
                Some(sgx.security_version),
            ),
        })
    }
}
