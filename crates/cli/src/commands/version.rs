//! `marblerun version`: of this program, and of the Coordinator if one is known.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::args::{At, Global};
use crate::output::Output;
use crate::trust;

/// A version is no reason to wait long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells it. Never fails for want of a Coordinator.
pub async fn run(global: &Global, output: &Output<'_>, at: &At) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("MARBLERUN_COMMIT").unwrap_or("0000000000000000000000000000000000000000");
    let coordinator = tokio::time::timeout(PATIENCE, coordinator_version(global, at)).await.unwrap_or_default();
    let value = json!({
        "version": version,
        "commit": commit,
        "apiVersions": ["v1", "v2", "v3"],
        "coordinatorVersion": coordinator,
    });
    output.result(&value, || {
        let coordinator = match &coordinator {
            Some(version) => format!("Coordinator Version: v{version}"),
            None => "Unable to find MarbleRun Coordinator".to_owned(),
        };
        // The space is upstream's.
        format!("CLI Version: v{version} \nCommit: {commit}\n{coordinator}")
    })
}

/// As the Coordinator says, which is believed only with the certificate that is cached.
async fn coordinator_version(global: &Global, at: &At) -> Option<String> {
    let coordinator = global.coordinator(at).ok()?;
    let client = trust::cached_client(global, &coordinator, None).ok()?;
    // Others than ours do not tell.
    client.v3().status().await.ok().map(|status| status.version)
}
