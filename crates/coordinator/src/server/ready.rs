//! Health and readiness, as probes ask for them on both HTTP listeners.

use http::StatusCode;
use marblerun_api::v3::{Health, Readiness};
use marblerun_store::StoreMode;

use crate::core::Coordinator;

/// The process answers.
pub(super) fn health() -> Health {
    Health { status: "ok".to_owned() }
}

/// Whether requests should be sent here.
///
/// Recovery mode is ready: recovery secrets must get through. So is a store that cannot write: reads and most
/// activations still work, and there is nobody else to take them.
pub(super) fn readiness(coordinator: &Coordinator) -> (StatusCode, Readiness) {
    let reasons = match coordinator.store_status().mode {
        StoreMode::Superseded => {
            vec!["another file was put in place of the state; restart the Coordinator to load it".to_owned()]
        }
        StoreMode::Diverged { reason } => vec![reason],
        StoreMode::Volatile | StoreMode::Durable | StoreMode::Recovery { .. } | StoreMode::ReadOnly { .. } => {
            Vec::new()
        }
    };
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Readiness { ready, reasons })
}
