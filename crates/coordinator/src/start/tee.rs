//! Which trusted execution environment is this? Chosen once; whoever reads the log must never have to guess
//! whether anything is protected.

use marblerun_attestation::{Backend, Devices, SelectError, Simulation, Tee, TeeChoice, Unsupported, select};

/// Why there is none to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TeeError {
    /// The choice cannot be made.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// What was chosen or found is not served by this build.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// Opens the backend that was chosen, or that fits the machine.
///
/// `dev_mode` lets `auto` go on in simulation where something was found that this build does not serve: an
/// operator sets it on purpose, and upstream has it for that.
pub(super) fn open(choice: TeeChoice, dev_mode: bool, devices: &Devices) -> Result<Backend, TeeError> {
    let tee = select(choice, devices)?;
    match Backend::open(tee) {
        Err(unsupported) if dev_mode && choice == TeeChoice::Auto => {
            tracing::warn!(%unsupported, "EDG_COORDINATOR_DEV_MODE=1: going on in simulation");
            Ok(Backend::open(Tee::Simulation)?)
        }
        opened => Ok(opened?),
    }
}

/// What an operator should know about the choice.
pub(super) fn warning(backend: &Backend) -> Option<String> {
    (backend.tee() == Tee::Simulation).then(|| Simulation::WARNING.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sgx() -> Devices {
        Devices { sgx: Some("/dev/sgx_enclave".into()), ..Devices::default() }
    }

    #[test]
    fn hardware_that_is_there_never_becomes_simulation_by_itself() {
        let error = open(TeeChoice::Auto, false, &sgx()).unwrap_err();
        assert!(error.to_string().contains("MARBLERUN_TEE=simulation"), "{error}");
        assert!(open(TeeChoice::Fixed(Tee::Sgx), true, &sgx()).is_err(), "nor if it was asked for by name");
    }

    #[test]
    fn the_operator_may_choose_simulation_and_is_told_what_it_is() {
        for (choice, dev_mode, devices) in [
            (TeeChoice::Fixed(Tee::Simulation), false, sgx()),
            (TeeChoice::Auto, true, sgx()),
            (TeeChoice::Auto, false, Devices::default()),
        ] {
            let backend = open(choice, dev_mode, &devices).unwrap();
            assert!(warning(&backend).unwrap().starts_with("SIMULATION"));
        }
    }
}
