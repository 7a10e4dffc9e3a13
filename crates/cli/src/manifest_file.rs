//! Manifests: of files, where JSON goes as it is and YAML is converted as upstream's command converts it; and the one in
//! force.

use std::path::Path;

use anyhow::{Context as _, Result};
use marblerun_api::v2;
use marblerun_client::Client;

use crate::files;
use crate::output::warn;

/// The bytes that are hashed and sent for a manifest file.
pub fn load(path: &Path) -> Result<Vec<u8>> {
    let bytes = files::read(path)?;
    let (json, warnings) =
        marblerun_manifest::yaml::load(&bytes).with_context(|| format!("reading manifest {}", path.display()))?;
    for warning in warnings {
        match warning.line {
            0 => warn(&format!("{}: {}", path.display(), warning.text)),
            line => warn(&format!("{}:{line}: {}", path.display(), warning.text)),
        }
    }
    Ok(json)
}

/// The manifest in force. Its fingerprint and signature have been checked.
pub async fn in_force(client: &Client) -> Result<v2::Manifest> {
    let answer = client.manifest().await.context("retrieving Coordinator manifest")?;
    if !answer.manifest.0.is_empty() && answer.manifest_signature_root_ecdsa.0.is_empty() {
        warn("the Coordinator did not sign its manifest (old versions do not)");
    }
    Ok(answer)
}

/// Lower-case hex SHA-256: what upstream calls the manifest's signature.
pub fn fingerprint(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}
