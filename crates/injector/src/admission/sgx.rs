//! Which resources a container asks a device plugin for, so that it gets an enclave.

use serde_json::{Map, Value, json};

use super::additions::Additions;
use super::dns::is_dns_name;
use super::labels::Labels;
use super::pod::{InvalidPod, Node};

/// Resource of Intel's plugin.
pub const INTEL: &str = "sgx.intel.com/epc";
/// Resource of Azure's plugin.
pub const AZURE: &str = "kubernetes.azure.com/sgx_epc_mem_in_MiB";
/// Resource of Alibaba's plugin.
pub const ALIBABA: &str = "alibabacloud.com/sgx_epc_MiB";

/// What Intel's plugin is asked for. The API server copies limits of such resources to the requests.
const INTEL_LIMITS: [(&str, &str); 3] =
    [(INTEL, "10Mi"), ("sgx.intel.com/enclave", "1"), ("sgx.intel.com/provision", "1")];
/// What any other plugin is asked for; those that are known count in MiB.
const OTHER_AMOUNT: &str = "10";

/// The SGX device plugin of the cluster, by its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SgxResource {
    /// There is none: confidential VMs, or simulation.
    None,
    /// Intel's.
    Intel,
    /// Another one.
    Other(String),
}

/// A name that the API server would refuse as a resource of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the resource of a device plugin, such as sgx.intel.com/epc, or none")]
pub struct NotAResource;

impl std::str::FromStr for SgxResource {
    type Err = NotAResource;

    fn from_str(text: &str) -> Result<Self, NotAResource> {
        match text {
            "" | "none" => Ok(Self::None),
            INTEL => Ok(Self::Intel),
            other => {
                let (domain, name) = other.split_once('/').ok_or(NotAResource)?;
                let is_name = |text: &str| {
                    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
                    text.chars().all(inner) && outer(text.chars().next()) && outer(text.chars().last())
                };
                let valid = is_dns_name(domain) && is_name(name) && name.len() <= 63;
                if valid { Ok(Self::Other(other.to_owned())) } else { Err(NotAResource) }
            }
        }
    }
}

impl std::fmt::Display for SgxResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.key().unwrap_or("none"))
    }
}

impl SgxResource {
    /// The resource, which is the key of the nodes' taint as well.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Intel => Some(INTEL),
            Self::Other(key) => Some(key),
        }
    }

    fn limits(&self) -> Vec<(&str, &str)> {
        match self {
            Self::None => Vec::new(),
            Self::Intel => INTEL_LIMITS.to_vec(),
            Self::Other(key) => vec![(key, OTHER_AMOUNT)],
        }
    }

    /// Whether a container needs this resource for its enclave.
    pub(super) fn is_limited(&self, resource: &str) -> bool {
        self.limits().iter().any(|(key, _)| *key == resource)
    }

    /// Whether a container that names this resource means another plugin than this one.
    pub(super) fn is_foreign(&self, resource: &str) -> bool {
        let known = INTEL_LIMITS.iter().map(|(key, _)| *key).chain([AZURE, ALIBABA]);
        known.into_iter().any(|key| key == resource) && !self.is_limited(resource)
    }

    /// Limits that the container does not have.
    pub(super) fn limit(&self, container: &Node<'_>, additions: &mut Additions) -> Result<(), InvalidPod> {
        let resources = container.child("resources")?;
        let part = |name| resources.as_ref().map_or(Ok(None), |resources| resources.child(name));
        let (limits, requests) = (part("limits")?, part("requests")?);
        let mut missing = Map::new();
        for (key, amount) in self.limits() {
            let of = |node: &Option<Node<'_>>| node.as_ref().and_then(|node| node.value(key)).cloned();
            if of(&limits).is_none() {
                // The API server takes no limit but the request's own for resources of plugins.
                missing.insert(key.to_owned(), of(&requests).unwrap_or_else(|| amount.into()));
            }
        }
        additions.insert(container, &["resources", "limits"], missing)
    }

    /// Lets the pod onto nodes that are kept for SGX.
    pub(super) fn tolerate(&self, spec: &Node<'_>, additions: &mut Additions) -> Result<(), InvalidPod> {
        let Some(key) = self.key() else { return Ok(()) };
        let toleration = json!({"key": key, "operator": "Exists", "effect": "NoSchedule"});
        for present in spec.children("tolerations")? {
            let fields = ["key", "operator", "effect"];
            if fields.iter().all(|field| present.value(field) == toleration.get(*field)) {
                return Ok(());
            }
        }
        additions.append(spec, "tolerations", vec![toleration])
    }
}

/// What of this applies to a pod with these labels.
pub(super) fn wanted<'a>(resource: &'a SgxResource, labels: &Labels<'_>) -> Option<&'a SgxResource> {
    (labels.wants_resources() && *resource != SgxResource::None).then_some(resource)
}

/// Every resource that a container names in limits or requests, once.
pub(super) fn named<'a>(container: &Node<'a>) -> Result<Vec<(&'a str, &'a Value)>, InvalidPod> {
    let mut named: Vec<(&str, &Value)> = Vec::new();
    if let Some(resources) = container.child("resources")? {
        for part in ["limits", "requests"] {
            let Some(part) = resources.child(part)? else { continue };
            for key in part.keys() {
                if let Some(amount) = part.value(key)
                    && named.iter().all(|(earlier, _)| *earlier != key)
                {
                    named.push((key, amount));
                }
            }
        }
    }
    Ok(named)
}
