//! `marblerun status`.

use anyhow::{Context as _, Result};
use marblerun_client::Trust;
use serde_json::json;

use crate::args::Global;
use crate::output::{Output, warn};
use crate::trust;

/// Tells the state. Exit code 0 for every state.
pub async fn run(global: &Global, output: &Output<'_>, coordinator: &str) -> Result<()> {
    let client = trust::cached_client(global, coordinator, None)?;
    let (status, pinned) = match client.status().await {
        // In recovery mode the Coordinator has a temporary root: with --insecure that must not hide the answer.
        Err(error)
            if global.insecure
                && let Some(doubt) = trust::doubt(&error) =>
        {
            warn(&format!("{doubt}; its answer is not verified"));
            (trust::build(global, coordinator, Trust::Anyone, None)?.status().await, false)
        }
        other => (other, trust::is_cache_attested(global)?),
    };
    let status = status.context("retrieving Coordinator status")?;
    output.result(&json!({"code": status.code, "message": status.message, "verified": pinned}), || {
        format!("{}: {}", status.code, status.message)
    })
}
