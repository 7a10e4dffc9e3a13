//! Which trusted execution environment is this? Chosen once, and said in one line: whoever reads the log
//! must never have to guess whether anything is protected.

use std::path::Path;

use crate::config::TeeChoice;

/// What tells that a process runs inside an environment (not merely on a machine that has one).
const TRACES: [(&str, &str); 4] = [
    ("/dev/attestation/attestation_type", "sgx (Gramine)"),
    ("/dev/sgx", "sgx (Occlum)"),
    ("/dev/tdx_guest", "tdx"),
    ("/dev/sev-guest", "snp"),
];

/// The environment in use. This build has simulation alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tee {
    /// Asked for, or nothing found.
    Simulation {
        /// Why it is simulation.
        because: String,
    },
}

/// Why there is none to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TeeError {
    /// Asked for by name.
    #[error("MARBLERUN_TEE={0}: not in this build yet. Use MARBLERUN_TEE=simulation to run without protection")]
    NotInThisBuild(&'static str),
    /// Found by looking for it.
    #[error(
        "{path} says that this is {name}, which this build does not serve yet. It never falls back to simulation by itself; \
         set MARBLERUN_TEE=simulation to run without protection"
    )]
    Found {
        /// What was found.
        path: &'static str,
        /// What it stands for.
        name: &'static str,
    },
}

/// Chooses. `exists` tells whether a path is there.
pub(super) fn choose(choice: TeeChoice, dev_mode: bool, exists: &dyn Fn(&Path) -> bool) -> Result<Tee, TeeError> {
    let simulation = |because: &str| Ok(Tee::Simulation { because: because.to_owned() });
    match choice {
        TeeChoice::Simulation => simulation("MARBLERUN_TEE=simulation"),
        TeeChoice::Sgx => Err(TeeError::NotInThisBuild("sgx")),
        TeeChoice::Tdx => Err(TeeError::NotInThisBuild("tdx")),
        TeeChoice::Snp => Err(TeeError::NotInThisBuild("snp")),
        TeeChoice::Auto => match TRACES.into_iter().find(|(path, _)| exists(Path::new(path))) {
            None => simulation("no trusted execution environment was found"),
            Some((path, _)) if dev_mode => {
                simulation(&format!("EDG_COORDINATOR_DEV_MODE=1, and this build does not serve {path}"))
            }
            Some((path, name)) => Err(TeeError::Found { path, name }),
        },
    }
}

impl Tee {
    /// One line in the log.
    pub(super) fn announce(&self) {
        match self {
            Self::Simulation { because } => tracing::warn!(
                tee = "simulation",
                because,
                "SIMULATION: no hardware protects this Coordinator, its evidence proves nothing, and any Marble is believed"
            ),
        }
    }

    /// For the status.
    pub(super) fn warning(&self) -> Option<String> {
        match self {
            Self::Simulation { because } => {
                Some(format!("simulation ({because}): nothing is protected by hardware, and evidence proves nothing"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_hardware_it_is_simulation_and_says_why() {
        let Tee::Simulation { because } = choose(TeeChoice::Auto, false, &|_| false).unwrap();
        assert!(because.contains("no trusted execution environment"));
        assert!(choose(TeeChoice::Simulation, false, &|_| true).is_ok());
    }

    #[test]
    fn hardware_that_is_there_never_becomes_simulation_by_itself() {
        for (path, _) in TRACES {
            let error = choose(TeeChoice::Auto, false, &|candidate| candidate == Path::new(path)).unwrap_err();
            assert!(error.to_string().contains("MARBLERUN_TEE=simulation"), "{error}");
        }
        assert!(choose(TeeChoice::Auto, true, &|_| true).is_ok(), "unless the operator asked for it");
        for named in [TeeChoice::Sgx, TeeChoice::Tdx, TeeChoice::Snp] {
            assert!(choose(named, true, &|_| false).is_err());
        }
    }
}
