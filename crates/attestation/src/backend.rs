//! What makes evidence and what looks through it: two small traits, and the pair that a process uses.

use std::sync::Arc;
use std::time::Duration;

use crate::{AnyTee, Claims, Devices, Evidence, HighWater, ReportData, Simulation, Tee, issue};

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

    /// The newest collateral it has believed, if it needs any.
    fn high_water(&self) -> Option<&HighWater> {
        None
    }
}

/// Hardware that does not answer. It is never replaced by simulation; that only the operator can choose.
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

/// How long to wait before hardware that gave no first evidence is asked again, time after time.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

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

/// What a process issues and verifies evidence with, chosen once.
#[derive(Clone)]
pub struct Backend {
    /// Makes evidence.
    pub issuer: Arc<dyn Issuer>,
    /// Looks through that of others.
    pub verifier: Arc<dyn Verifier>,
}

impl Backend {
    /// Opens the backend of a TEE on a machine, and logs which one it is. Asks for no evidence yet
    /// ([`Self::first_evidence`]).
    ///
    /// # Errors
    /// If there is no way to ask the hardware; the process must not go on.
    pub fn open(tee: Tee, devices: &Devices) -> Result<Self, IssueError> {
        match issue::open(tee, devices)? {
            None => {
                tracing::warn!("{}", Simulation::WARNING);
                Ok(Self { issuer: Arc::new(Simulation), verifier: Arc::new(Simulation) })
            }
            Some(issuer) => {
                let libos = devices.libos.map(|libos| format!(" in {libos}")).unwrap_or_default();
                tracing::info!(
                    tee = tee.as_str(),
                    "this process runs in a trusted execution environment: {tee}{libos}"
                );
                Ok(Self { issuer, verifier: Arc::new(AnyTee::default()) })
            }
        }
    }

    /// The backend of a way to make evidence that another crate has, and logs which one it is.
    #[must_use]
    pub fn with_issuer(issuer: Arc<dyn Issuer>) -> Self {
        let tee = issuer.tee();
        tracing::info!(tee = tee.as_str(), "this process runs in a trusted execution environment: {tee}");
        Self { issuer, verifier: Arc::new(AnyTee::default()) }
    }

    /// The first evidence of a process: hardware that does not answer is asked again for some seconds. If it still does not
    /// answer, the process must not go on. Takes a while; not for async threads.
    ///
    /// # Errors
    /// The last one.
    pub fn first_evidence(&self, report_data: &ReportData) -> Result<Evidence, IssueError> {
        self.evidence_within(report_data, &PAUSES)
    }

    fn evidence_within(&self, report_data: &ReportData, pauses: &[Duration]) -> Result<Evidence, IssueError> {
        for pause in pauses {
            match self.issuer.issue(report_data) {
                Ok(evidence) => return Ok(evidence),
                Err(error) => tracing::warn!("{error}; trying again in {pause:.1?}"),
            }
            std::thread::sleep(*pause);
        }
        self.issuer.issue(report_data)
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn simulation_issues_nothing_and_takes_anything() {
        let backend = Backend::open(Tee::Simulation, &Devices::default()).unwrap();
        assert_eq!(backend.tee(), Tee::Simulation);
        let evidence = backend.first_evidence(&ReportData([1; 64])).unwrap();
        assert!(evidence.is_empty());
        for bytes in [vec![], b"garbage".to_vec()] {
            let evidence = Evidence::from_wire(bytes).unwrap();
            assert_eq!(backend.verifier.verify(&evidence, 0), Ok(Claims::Simulation));
        }
    }

    #[test]
    fn hardware_never_takes_evidence_for_simulation() {
        let devices = Devices { libos: Some(crate::LibOs::Gramine), ..Devices::default() };
        let backend = Backend::open(Tee::Sgx, &devices).unwrap();
        for bytes in [vec![], b"garbage".to_vec()] {
            backend.verifier.verify(&Evidence::from_wire(bytes).unwrap(), 0).unwrap_err();
        }
    }

    /// Answers after so many failures.
    struct Late(usize, AtomicUsize);

    impl Issuer for Late {
        fn tee(&self) -> Tee {
            Tee::Tdx
        }

        fn issue(&self, report_data: &ReportData) -> Result<Evidence, IssueError> {
            match self.1.fetch_add(1, Ordering::Relaxed) {
                asked if asked < self.0 => Err(IssueError { tee: Tee::Tdx, reason: format!("not yet ({asked})") }),
                _ => Ok(Evidence::from_wire(report_data.0.to_vec()).unwrap()),
            }
        }
    }

    #[test]
    fn hardware_that_is_late_is_waited_for_and_none_that_never_answers() {
        let within = |failures| {
            let issuer = Arc::new(Late(failures, AtomicUsize::new(0)));
            let backend = Backend { issuer: issuer.clone(), verifier: Arc::new(AnyTee::default()) };
            let evidence = backend.evidence_within(&ReportData([1; 64]), &[Duration::ZERO; 4]);
            (evidence.map(Evidence::into_bytes).map_err(|error| error.to_string()), issuer.1.load(Ordering::Relaxed))
        };
        assert_eq!(within(4), (Ok(vec![1; 64]), 5));
        assert_eq!(within(5), (Err("Intel TDX gives no evidence: not yet (4)".to_owned()), 5));
    }
}
