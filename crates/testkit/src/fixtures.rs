//! States that the running original wrote.

use std::path::{Path, PathBuf};

/// Its standalone seal directories, by name.
#[must_use]
pub fn upstream_states() -> Vec<(&'static str, PathBuf)> {
    let names = [
        "single",
        "no-recovery-keys",
        "multi-xor-2",
        "shamir-2of3",
        "uniquekey",
        "legacy-16byte-key",
        "rotation/1-before",
        "rotation/2-after",
    ];
    names.map(|name| (name, upstream_state(name))).into()
}

/// One of them.
#[must_use]
pub fn upstream_state(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/upstream-state").join(name)
}

/// The one with every kind of store key. It is large and no part of the project; where it is not, that is said.
#[must_use]
pub fn rich_upstream_state() -> Option<PathBuf> {
    let rich = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/upstream-state/rich");
    if !rich.is_dir() {
        eprintln!("SKIPPED: {} is not there, so the state with every kind of store key is not tested", rich.display());
        return None;
    }
    Some(rich)
}
