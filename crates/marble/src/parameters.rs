//! What a Marble is started with.

use std::collections::BTreeMap;

use marblerun_api::marble;
use zeroize::Zeroizing;

/// Files, environment and arguments from the manifest, secrets filled in. `Debug` shows names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Path to content.
    pub files: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// Variable to value.
    pub env: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// The whole argument vector, `argv[0]` first. Empty: none is given.
    pub argv: Vec<String>,
}

/// Set by the Coordinator in every Marble: leaf and cross-signed intermediate (PEM).
pub(crate) const CERTIFICATE_CHAIN: &str = "MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN";
/// Likewise: the Coordinator's root (PEM).
pub(crate) const COORDINATOR_ROOT_CA: &str = "MARBLE_PREDEFINED_COORDINATOR_ROOT_CA";
/// What connections a runtime is to wrap in TLS.
pub(crate) const TTLS_CONFIG: &str = "MARBLE_TTLS_CONFIG";

impl From<marble::Parameters> for Parameters {
    fn from(parameters: marble::Parameters) -> Self {
        let secret = |(name, content)| (name, Zeroizing::new(content));
        Self {
            files: parameters.files.into_iter().map(secret).collect(),
            env: parameters.env.into_iter().map(secret).collect(),
            argv: parameters.argv,
        }
    }
}

impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parameters")
            .field("files", &self.files.keys())
            .field("env", &self.env.keys())
            .field("argv", &self.argv.len())
            .finish()
    }
}
