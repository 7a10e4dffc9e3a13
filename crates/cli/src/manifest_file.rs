//! Manifest files: JSON goes as it is, YAML is converted as upstream's command converts it.

use std::path::Path;

use anyhow::{Context as _, Result};

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

/// Lower-case hex SHA-256: what upstream calls the manifest's signature.
pub fn fingerprint(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}
