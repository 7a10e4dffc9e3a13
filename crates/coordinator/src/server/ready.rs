//! Health and readiness, as probes ask for them on both HTTP listeners.

use http::StatusCode;
use marblerun_api::v3::{Health, Readiness};

use crate::core::Coordinator;

/// The process answers.
pub(super) fn health() -> Health {
    Health { status: "ok".to_owned() }
}

/// Whether requests should be sent here.
pub(super) fn readiness(coordinator: &Coordinator) -> (StatusCode, Readiness) {
    let reasons = coordinator.unreadiness();
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Readiness { ready, reasons })
}
