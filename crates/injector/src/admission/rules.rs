//! What is the same for every pod.

use super::sgx::SgxResource;

/// What Marbles are told about the cluster they run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Address of the Coordinator's Marble API.
    pub coordinator: String,
    /// Domain of the cluster's Services.
    pub cluster_domain: String,
    /// SGX device plugin.
    pub sgx: SgxResource,
}
