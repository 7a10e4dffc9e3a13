//! What an operator should know: in one list for status and log, each entry saying what follows from it.

use marblerun_state::{Phase, State};
use marblerun_store::{StoreMode, StoreStatus};

use crate::core::Settings;

/// Collects the warnings of all parts.
pub(super) fn collect(
    state: &State,
    store: &StoreStatus,
    settings: &Settings,
    of_manifest: Vec<String>,
) -> Vec<String> {
    let mut warnings = settings.warnings.clone();
    warnings.extend(of_mode(&store.mode));
    warnings.extend(store.warnings.iter().cloned());
    if state.phase() == Phase::AcceptingMarbles {
        if is_forgotten(state) {
            warnings.push(
                "SealMode is Disabled: the state is kept nowhere, and a restart begins a new deployment".to_owned(),
            );
        }
        warnings.extend(of_manifest.into_iter().map(|finding| format!("manifest: {finding}")));
    }
    warnings
}

fn is_forgotten(state: &State) -> bool {
    state.manifest().is_some_and(|active| active.manifest.config.seal_mode == "Disabled")
}

fn of_mode(mode: &StoreMode) -> Option<String> {
    match mode {
        StoreMode::Volatile | StoreMode::Durable => None,
        StoreMode::Recovery { code, message } => Some(format!("recovery mode ({code}): {message}")),
        StoreMode::Superseded => Some(
            "another state file was put in place: nothing is written any more; a restart loads that file".to_owned(),
        ),
        StoreMode::Diverged { reason } => Some(format!("nothing is written and nobody admitted: {reason}")),
        StoreMode::ReadOnly { reason } => {
            Some(format!("changes cannot be stored ({reason}); reads and activations go on"))
        }
    }
}
