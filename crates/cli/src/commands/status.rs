//! `marblerun status`.

use anyhow::{Context as _, Result};
use marblerun_api::v2;
use marblerun_client::{Client, ClientError};
use serde_json::json;

use crate::args::{At, Global};
use crate::output::{Output, shown, warn};
use crate::trust;

/// As the API names it.
const SIMULATION: &str = "simulation";
/// State codes of the API.
const RECOVERY: i64 = 1;
const ACCEPTING_MANIFEST: i64 = 2;
const ACCEPTING_MARBLES: i64 = 3;

/// Tells the state. Exit code 0 for every state, unless `--exit-code` asks to tell them apart.
pub async fn run(global: &Global, output: &Output<'_>, at: &At) -> Result<()> {
    let coordinator = global.coordinator(at)?;
    let client = trust::connect(global, &coordinator, None).await?;
    let (told, verified) = match ask(&client).await {
        Err(error) => match trust::doubt(&error) {
            Some(doubt) => (unverified(global, &coordinator, error, doubt).await, false),
            None => (Err(error), false),
        },
        other => (other, trust::is_root_verified(global, &coordinator)?),
    };
    let (status, tee) = told.context("retrieving Coordinator status")?;
    // Beside the data, which scripts read, and before it.
    if tee.as_deref() == Some(SIMULATION) {
        warn(trust::SIMULATION_WARNING);
    }
    if global.exit_code {
        output.set_code(exit_code(status.code));
    }
    output.result(&json!({"code": status.code, "message": status.message, "tee": tee, "verified": verified}), || {
        format!("{}: {}", status.code, shown(&status.message))
    })
}

/// The state, and the trusted execution environment. The original's Coordinators do not tell theirs, and it is no reason to
/// fail that ours did not answer twice.
async fn ask(client: &Client) -> Result<(v2::Status, Option<String>), ClientError> {
    let status = client.status().await?;
    Ok((status, client.v3().status().await.ok().map(|status| status.tee)))
}

/// In recovery mode a Coordinator has a temporary root, as the one that is cached is sealed. So "recovery" is taken from
/// anyone, and told as unverified; anything else only if the user asked not to be protected.
async fn unverified(
    global: &Global,
    coordinator: &str,
    untrusted: ClientError,
    doubt: &str,
) -> Result<(v2::Status, Option<String>), ClientError> {
    let Ok((status, tee)) = ask(&trust::build_anyone(global, coordinator)?).await else { return Err(untrusted) };
    // The callers' choice: with --insecure they want to hear it all.
    let insecure = global.is_insecure_at(coordinator).unwrap_or(false);
    if status.code != RECOVERY && !insecure {
        return Err(untrusted);
    }
    if status.code == RECOVERY {
        warn("in recovery mode the Coordinator has a temporary certificate: this answer is not verified");
    } else {
        warn(&format!("{doubt}; its answer is not verified"));
    }
    Ok((status, tee))
}

/// Exit codes of `status --exit-code`.
fn exit_code(state: i64) -> u8 {
    match state {
        ACCEPTING_MARBLES => 0,
        RECOVERY => 3,
        ACCEPTING_MANIFEST => 4,
        _ => 5,
    }
}
