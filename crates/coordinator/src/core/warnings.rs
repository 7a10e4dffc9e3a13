//! What an operator should know: in one list for status and log, each entry saying what follows from it.

use marblerun_state::{Phase, State};
use marblerun_store::cluster::ClusterView;
use marblerun_store::{StoreMode, StoreStatus};

use crate::core::{Settings, sharing};

/// Collects the warnings of all parts.
pub(super) fn collect(
    state: &State,
    store: &StoreStatus,
    shared: Option<&ClusterView>,
    settings: &Settings,
    of_manifest: Vec<String>,
) -> Vec<String> {
    let mut warnings = settings.warnings.clone();
    warnings.extend(of_mode(&store.mode));
    warnings.extend(store.warnings.iter().cloned());
    warnings.extend(shared.into_iter().flat_map(sharing::warnings));
    if state.phase() == Phase::AcceptingMarbles {
        warnings.extend(of_seal_mode(state, shared));
        warnings.extend(of_manifest.into_iter().map(|finding| format!("manifest: {finding}")));
    }
    warnings
}

/// Where the state is shared, it is stored all the same: the other Coordinators need it.
fn of_seal_mode(state: &State, shared: Option<&ClusterView>) -> Option<String> {
    if state.manifest()?.manifest.config.seal_mode != "Disabled" {
        return None;
    }
    Some(match shared {
        None => "SealMode is Disabled: the state is kept nowhere, and a restart begins a new deployment".to_owned(),
        Some(view) => format!(
            "SealMode is Disabled, but the state is shared: it is stored in {} all the same, and sealed to this version of the program",
            view.place
        ),
    })
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
