//! The index of the manifest vectors as typed data, so that every layer that takes manifests can run it.

use std::path::PathBuf;

use serde::Deserialize;

/// An entry of `index.json` that sets a first manifest. Entries about updates have no `file`.
#[derive(Debug, Deserialize)]
pub struct Vector {
    /// File with the raw manifest.
    #[serde(default)]
    pub file: String,
    /// `ok` or `error`.
    #[serde(default)]
    pub expect: String,
    /// Where upstream meets the fault.
    #[serde(default)]
    pub stage: String,
    /// What is wrong, in words.
    #[serde(default)]
    pub reason_gist: String,
    /// A stricter implementation may answer differently.
    #[serde(default)]
    pub deviation_allowed: bool,
}

/// Folder of the vectors.
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../manifest/tests/fixtures/manifests"))
}

/// Every vector that sets a first manifest, with its bytes.
pub fn first_manifests() -> Vec<(Vector, Vec<u8>)> {
    let index = std::fs::read(folder().join("index.json")).unwrap();
    let entries: Vec<Vector> = serde_json::from_slice(&index).unwrap();
    let vectors = entries.into_iter().filter(|entry| !entry.file.is_empty());
    vectors.map(|vector| (std::fs::read(folder().join(&vector.file)).map(|raw| (vector, raw))).unwrap()).collect()
}
