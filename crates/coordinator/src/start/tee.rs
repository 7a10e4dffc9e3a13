//! Which trusted execution environment is this? Chosen once; whoever reads the log must never have to guess
//! whether anything is protected.

use marblerun_attestation::{
    Backend, Build, Devices, IssueError, ReportData, SelectError, Simulation, Tee, TeeChoice, select,
};

/// Why there is none to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TeeError {
    /// The choice cannot be made.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// What was chosen or found gives no evidence.
    #[error("{0}. It is not replaced by simulation: to run without protection, set MARBLERUN_TEE=simulation")]
    Evidence(#[from] IssueError),
    /// What the program was built for is not there, or gives no evidence.
    #[error("{0}")]
    Built(String),
}

/// Opens the backend that was chosen, or that fits the machine, and has it prove that it can do what it is there for. That
/// comes before anything else: a Coordinator without evidence must not touch a state. May take a while.
pub(super) fn open(choice: TeeChoice, build: Build, devices: &Devices) -> Result<Backend, TeeError> {
    let opened = select(choice, devices).map_err(TeeError::from).and_then(|tee| {
        let backend = match tee {
            Tee::SnpVtpm => vtpm(devices)?,
            tee => Backend::open(tee, devices)?,
        };
        backend.first_evidence(&ReportData::binding(&[b"marblerun start"]))?;
        Ok(backend)
    });
    opened.map_err(|error| match (error, build.tee()) {
        // No advice to choose for who has no choice.
        (TeeError::Select(error), Some(_)) => TeeError::Built(build.explain(&error)),
        (TeeError::Evidence(error), Some(tee)) => {
            TeeError::Built(format!("{error}. This program was built for {tee} alone, and runs in nothing else"))
        }
        (error, _) => error,
    })
}

#[cfg(feature = "tpm")]
fn vtpm(_: &Devices) -> Result<Backend, IssueError> {
    marblerun_tpm::Vtpm::backend(|name| std::env::var(name).ok())
}

#[cfg(not(feature = "tpm"))]
fn vtpm(devices: &Devices) -> Result<Backend, IssueError> {
    Backend::open(Tee::SnpVtpm, devices)
}

/// What an operator should know about the choice.
pub(super) fn warning(backend: &Backend) -> Option<String> {
    (backend.tee() == Tee::Simulation).then(|| Simulation::WARNING.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use marblerun_attestation::Kernel;

    use super::*;

    /// A machine with these files.
    fn machine(root: &Path, names: &[&str]) -> Devices {
        for name in names {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        Devices::probe(root, &Kernel::default())
    }

    const MACHINES: [(&[&str], &str, &str); 4] = [
        (&["dev/sgx_enclave"], "sgx", "Start it in Gramine or Occlum"),
        (&["dev/tdx_guest"], "tdx", "a quote needs Linux 6.7"),
        (&["dev/sev-guest"], "snp", "asking /dev/sev-guest"),
        (&["dev/attestation/quote"], "sgx", "writing /dev/attestation/user_report_data"),
    ];

    #[test]
    fn hardware_that_is_there_never_becomes_simulation_by_itself() {
        // Hardware that does not answer is waited for, so all of them at the same time.
        std::thread::scope(|scope| {
            for (names, name, part) in MACHINES {
                for choice in ["auto", name] {
                    scope.spawn(move || {
                        let root = tempfile::tempdir().unwrap();
                        let devices = machine(root.path(), names);
                        let error = open(choice.parse().unwrap(), Build::ANY, &devices).unwrap_err().to_string();
                        assert!(error.contains(part), "{choice} {name}: {error}");
                        assert!(error.contains("set MARBLERUN_TEE=simulation"), "{choice} {name}: {error}");
                    });
                }
            }
        });
    }

    #[test]
    fn what_is_fixed_and_not_there_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        for (names, name, _) in MACHINES {
            let other = if name == "snp" { "tdx" } else { "snp" };
            let folder = root.path().join(names[0].replace('/', "-"));
            let error = open(other.parse().unwrap(), Build::ANY, &machine(&folder, names)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("MARBLERUN_TEE={other}, but this machine has no")), "{error}");
        }
    }

    #[test]
    fn a_paravisors_tpm_that_is_not_there_is_no_simulation() {
        let nothing = tempfile::tempdir().unwrap();
        let error =
            open(TeeChoice::Fixed(Tee::SnpVtpm), Build::ANY, &machine(nothing.path(), &[])).unwrap_err().to_string();
        assert!(error.contains("AMD SEV-SNP below a paravisor (vTPM) gives no evidence"), "{error}");
        assert!(error.contains("set MARBLERUN_TEE=simulation"), "{error}");
    }

    #[test]
    fn a_vm_of_azure_with_a_tpm_must_be_told_what_it_is() {
        let root = tempfile::tempdir().unwrap();
        let azure = |names: &[&str]| {
            machine(root.path(), names);
            let tag = root.path().join("sys/class/dmi/id");
            std::fs::create_dir_all(&tag).unwrap();
            std::fs::write(tag.join("chassis_asset_tag"), "7783-7084-3265-9085-8269-3286-77\n").unwrap();
            open(TeeChoice::Auto, Build::ANY, &machine(root.path(), &[]))
        };
        assert_eq!(azure(&[]).unwrap().tee(), Tee::Simulation, "there is nothing to ask");
        let error = azure(&["dev/tpmrm0"]).unwrap_err().to_string();
        assert!(error.contains("VM of Azure with a TPM (/dev/tpmrm0)") && error.contains("choose snp-vtpm"), "{error}");
    }

    #[test]
    fn a_program_for_one_environment_gives_no_advice_to_choose_another() {
        for (names, name) in [(&["dev/tdx_guest"][..], "tdx"), (&[], "tdx"), (&["dev/sgx_enclave"], "sgx")] {
            let root = tempfile::tempdir().unwrap();
            let build = Build::of(Some(name));
            let choice = build.narrow(TeeChoice::Auto).unwrap();
            let error = open(choice, build, &machine(root.path(), names)).unwrap_err().to_string();
            assert!(error.contains("alone, and runs in nothing else") && !error.contains("MARBLERUN_TEE"), "{error}");
        }
    }

    #[test]
    fn the_operator_may_choose_simulation_and_is_told_what_it_is() {
        for (names, ..) in MACHINES {
            let root = tempfile::tempdir().unwrap();
            let backend = open(TeeChoice::Fixed(Tee::Simulation), Build::ANY, &machine(root.path(), names)).unwrap();
            assert!(warning(&backend).unwrap().starts_with("SIMULATION"));
            let asked = backend.issuer.issue(&ReportData([1; 64])).unwrap();
            assert!(asked.is_empty(), "and the hardware is not asked");
        }
        let nothing = tempfile::tempdir().unwrap();
        let backend = open(TeeChoice::Auto, Build::ANY, &machine(nothing.path(), &[])).unwrap();
        assert!(warning(&backend).unwrap().starts_with("SIMULATION"));
    }
}
