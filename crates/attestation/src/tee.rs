//! Which trusted execution environment to use. Decided once, at start: what the operator fixed, else what
//! the machine has. A machine that has one never ends in simulation by itself.

mod build;
mod machine;

use std::path::PathBuf;
use std::str::FromStr;

pub use build::{Build, OtherBuild};
pub use machine::{Devices, Kernel, LibOs};

/// What vouches for this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tee {
    /// Nothing.
    Simulation,
    /// Intel SGX.
    Sgx,
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP.
    Snp,
    /// AMD SEV-SNP below a paravisor, which plays a TPM (Azure).
    SnpVtpm,
}

impl Tee {
    /// The name in `MARBLERUN_TEE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Simulation => "simulation",
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::Snp => "snp",
            Self::SnpVtpm => "snp-vtpm",
        }
    }
}

impl std::fmt::Display for Tee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Simulation => "simulation",
            Self::Sgx => "Intel SGX",
            Self::Tdx => "Intel TDX",
            Self::Snp => "AMD SEV-SNP",
            Self::SnpVtpm => "AMD SEV-SNP below a paravisor (vTPM)",
        })
    }
}

/// What the operator asks for (`MARBLERUN_TEE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TeeChoice {
    /// Whatever the machine has.
    #[default]
    Auto,
    /// This one.
    Fixed(Tee),
}

/// A value of `MARBLERUN_TEE` that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown trusted execution environment {0:?}: expected auto, simulation, sgx, tdx, snp or snp-vtpm")]
pub struct UnknownTee(pub String);

impl FromStr for TeeChoice {
    type Err = UnknownTee;

    /// Any case; empty = `auto`.
    fn from_str(text: &str) -> Result<Self, UnknownTee> {
        if text.is_empty() || text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        [Tee::Simulation, Tee::Sgx, Tee::Tdx, Tee::Snp, Tee::SnpVtpm]
            .into_iter()
            .find(|tee| text.eq_ignore_ascii_case(tee.as_str()))
            .map(Self::Fixed)
            .ok_or_else(|| UnknownTee(text.to_owned()))
    }
}

/// Why the choice cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// The operator fixed one that is not there. Going on without would be simulation in disguise.
    #[error("MARBLERUN_TEE={name}, but this machine has no device file of {0}", name = .0.as_str())]
    Missing(Tee),
    /// There is, or may be, one that cannot be used. Going on without would be simulation in disguise.
    #[error(
        "it cannot be told which trusted execution environment this is: {0}. Put that right, or choose one with \
         MARBLERUN_TEE; to run without protection, set MARBLERUN_TEE=simulation"
    )]
    Unclear(String),
    /// The machine has several, and which one is meant cannot be guessed.
    #[error("this machine has several trusted execution environments ({0}): choose one with MARBLERUN_TEE")]
    Ambiguous(String),
}

/// Chooses. Pure: what the machine has is an argument.
///
/// # Errors
/// [`SelectError`]; the process must not go on.
pub fn select(choice: TeeChoice, devices: &Devices) -> Result<Tee, SelectError> {
    let present: Vec<(Tee, &PathBuf)> = [(Tee::Sgx, &devices.sgx), (Tee::Tdx, &devices.tdx), (Tee::Snp, &devices.snp)]
        .into_iter()
        .filter_map(|(tee, device)| device.as_ref().map(|device| (tee, device)))
        .collect();
    let unclear = devices.unclear.as_ref().map(|reason| SelectError::Unclear(reason.clone()));
    match (choice, present.as_slice()) {
        (TeeChoice::Fixed(Tee::Simulation), _) => Ok(Tee::Simulation),
        // No file tells it: the TPM is asked, and is where its own settings say.
        (TeeChoice::Fixed(Tee::SnpVtpm), _) => Ok(Tee::SnpVtpm),
        (TeeChoice::Auto, []) => unclear.map_or(Ok(Tee::Simulation), Err),
        (TeeChoice::Fixed(tee), _) if present.iter().any(|(found, _)| *found == tee) => Ok(tee),
        (TeeChoice::Fixed(tee), _) => Err(unclear.unwrap_or(SelectError::Missing(tee))),
        (TeeChoice::Auto, [(only, _)]) => Ok(*only),
        (TeeChoice::Auto, several) => {
            let names: Vec<String> =
                several.iter().map(|(tee, device)| format!("{tee}: {}", device.display())).collect();
            Err(SelectError::Ambiguous(names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(names: &[&str]) -> Devices {
        let root = tempfile::tempdir().unwrap();
        for name in names {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        Devices::probe(root.path(), &Kernel::default())
    }

    #[test]
    fn a_machine_without_devices_simulates() {
        assert_eq!(select(TeeChoice::Auto, &devices(&["dev/null"])), Ok(Tee::Simulation));
    }

    #[test]
    fn a_machine_with_a_device_uses_it() {
        for (name, tee) in [
            ("dev/attestation/quote", Tee::Sgx),
            ("dev/sgx_enclave", Tee::Sgx),
            ("dev/sgx", Tee::Sgx),
            ("dev/tdx_guest", Tee::Tdx),
            ("dev/sev-guest", Tee::Snp),
        ] {
            assert_eq!(select(TeeChoice::Auto, &devices(&[name])), Ok(tee), "{name}");
        }
    }

    #[test]
    fn only_the_operator_makes_a_machine_with_a_device_simulate() {
        let devices = devices(&["dev/sgx_enclave", "dev/sev-guest"]);
        assert_eq!(select(TeeChoice::Fixed(Tee::Simulation), &devices), Ok(Tee::Simulation));
        assert_eq!(select(TeeChoice::Fixed(Tee::Snp), &devices), Ok(Tee::Snp));
        let error = select(TeeChoice::Auto, &devices).unwrap_err().to_string();
        assert!(error.contains("Intel SGX: /dev/sgx_enclave, AMD SEV-SNP: /dev/sev-guest"), "{error}");
    }

    #[test]
    fn a_fixed_choice_that_is_not_there_is_an_error() {
        let error = select(TeeChoice::Fixed(Tee::Tdx), &devices(&["dev/sgx_enclave"])).unwrap_err();
        assert_eq!(error.to_string(), "MARBLERUN_TEE=tdx, but this machine has no device file of Intel TDX");
    }

    #[test]
    fn what_cannot_be_told_is_no_simulation_and_no_other_tee() {
        let devices = Devices { unclear: Some("/x: Permission denied".to_owned()), ..Devices::default() };
        for choice in [TeeChoice::Auto, TeeChoice::Fixed(Tee::Tdx)] {
            let error = select(choice, &devices).unwrap_err().to_string();
            assert!(error.contains("/x: Permission denied") && error.contains("MARBLERUN_TEE=simulation"), "{error}");
        }
        assert_eq!(select(TeeChoice::Fixed(Tee::Simulation), &devices), Ok(Tee::Simulation));
        let known = Devices { snp: Some("/dev/sev-guest".into()), ..devices };
        assert_eq!(select(TeeChoice::Auto, &known), Ok(Tee::Snp));
    }

    #[test]
    fn names_are_read_in_any_case_and_nothing_else() {
        assert_eq!("".parse(), Ok(TeeChoice::Auto));
        assert_eq!("Auto".parse(), Ok(TeeChoice::Auto));
        assert_eq!("SIMULATION".parse(), Ok(TeeChoice::Fixed(Tee::Simulation)));
        assert_eq!("snp".parse(), Ok(TeeChoice::Fixed(Tee::Snp)));
        assert_eq!("snp-vtpm".parse(), Ok(TeeChoice::Fixed(Tee::SnpVtpm)));
        let error = "magic".parse::<TeeChoice>().unwrap_err();
        assert!(error.to_string().contains("\"magic\": expected auto, simulation, sgx, tdx, snp or snp-vtpm"));
    }

    proptest::proptest! {
        #[test]
        fn auto_never_ends_in_simulation_where_there_is_a_device(sgx: bool, tdx: bool, snp: bool, unclear: bool) {
            let device = |there: bool| there.then(|| PathBuf::from("/dev/x"));
            let unclear = unclear.then(|| "locked".to_owned());
            let is_unclear = unclear.is_some();
            let devices = Devices { sgx: device(sgx), tdx: device(tdx), snp: device(snp), unclear, ..Devices::default() };
            let simulates = select(TeeChoice::Auto, &devices) == Ok(Tee::Simulation);
            proptest::prop_assert_eq!(simulates, !(sgx || tdx || snp || is_unclear));
            for tee in [Tee::Sgx, Tee::Tdx, Tee::Snp, Tee::SnpVtpm] {
                // What is fixed is used or an error, and nothing else.
                let selected = select(TeeChoice::Fixed(tee), &devices);
                proptest::prop_assert!(selected == Ok(tee) || selected.is_err());
            }
        }
    }
}
