//! What the nodes of a cluster can protect with: SGX as its device plugins say, TDX and SEV-SNP as labels and device
//! plugins say.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Serialize;

/// Resources of all SGX device plugins that are known; their taints have these keys, too.
pub const KNOWN_KEYS: [&str; 5] = [INTEL_EPC, "sgx.intel.com/enclave", "sgx.intel.com/provision", AZURE, ALIBABA];
/// Resources of Intel's.
const INTEL: [&str; 3] = [INTEL_EPC, "sgx.intel.com/enclave", "sgx.intel.com/provision"];
const INTEL_EPC: &str = "sgx.intel.com/epc";
const AZURE: &str = "kubernetes.azure.com/sgx_epc_mem_in_MiB";
const ALIBABA: &str = "alibabacloud.com/sgx_epc_MiB";

/// An SGX device plugin, by the resource that pods ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Plugin {
    /// Alibaba Cloud's.
    Alibaba,
    /// Azure's.
    Azure,
    /// Intel's.
    Intel,
    /// Another one, known by its resource alone.
    Other(String),
}

impl Plugin {
    /// The plugin with that resource.
    pub fn from_resource_key(key: &str) -> Self {
        match key {
            ALIBABA => Self::Alibaba,
            AZURE => Self::Azure,
            INTEL_EPC => Self::Intel,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The resource that stands for enclave memory, and the key of the taint of such nodes.
    pub fn resource_key(&self) -> &str {
        match self {
            Self::Alibaba => ALIBABA,
            Self::Azure => AZURE,
            Self::Intel => INTEL_EPC,
            Self::Other(key) => key,
        }
    }

    /// All resources that a Coordinator asks for, with their amounts.
    pub fn limits(&self) -> Vec<(&str, &'static str)> {
        match self {
            Self::Intel => INTEL.into_iter().zip(["10Mi", "1", "1"]).collect(),
            other => vec![(other.resource_key(), "10")],
        }
    }

    /// Whether a node has what this plugin offers.
    pub fn is_on(&self, node: &Node) -> bool {
        match self {
            Self::Intel => INTEL.iter().all(|key| has(node, key)),
            other => has(node, other.resource_key()),
        }
    }
}

/// What one node can protect with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeDevices {
    /// Name of the node.
    pub node: String,
    /// The SGX device plugin that offers something here.
    pub sgx: Option<Plugin>,
    /// Pods may be TDX guests here, or the node is one.
    pub tdx: bool,
    /// The same of SEV-SNP.
    pub snp: bool,
    /// Why pods may not be scheduled here, if so.
    pub unavailable: Option<String>,
}

/// Looks at the nodes.
pub fn survey(nodes: &[Node]) -> Vec<NodeDevices> {
    nodes.iter().map(of_node).collect()
}

/// The plugin to use: of the first node that has one.
pub fn choose(devices: &[NodeDevices]) -> Option<&Plugin> {
    devices.iter().find_map(|node| node.sgx.as_ref())
}

fn of_node(node: &Node) -> NodeDevices {
    // In the order in which upstream asks.
    let plugins = [Plugin::Alibaba, Plugin::Azure, Plugin::Intel];
    NodeDevices {
        node: node.metadata.name.clone().unwrap_or_default(),
        sgx: plugins.into_iter().find(|plugin| plugin.is_on(node)),
        tdx: is_labelled(
            node,
            &[
                "feature.node.kubernetes.io/cpu-security.tdx.enabled",
                "feature.node.kubernetes.io/cpu-security.tdx.protected",
            ],
        ) || ["tdx.intel.com/tdx-guest", "intel.com/tdx"].iter().any(|key| has(node, key)),
        snp: is_labelled(node, &["feature.node.kubernetes.io/cpu-security.sev.snp.enabled"])
            || has(node, "amd.com/sev-snp"),
        unavailable: why_unavailable(node),
    }
}

fn has(node: &Node, resource: &str) -> bool {
    let capacity = node.status.as_ref().and_then(|status| status.capacity.as_ref());
    capacity.and_then(|capacity| capacity.get(resource)).is_some_and(|Quantity(amount)| !is_zero(amount))
}

fn is_zero(amount: &str) -> bool {
    !amount.chars().any(|digit| matches!(digit, '1'..='9'))
}

/// Labels of Node Feature Discovery.
fn is_labelled(node: &Node, labels: &[&str]) -> bool {
    let there = node.metadata.labels.as_ref();
    labels.iter().any(|label| there.and_then(|there| there.get(*label)).is_some_and(|value| value == "true"))
}

fn why_unavailable(node: &Node) -> Option<String> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    if let Some(ready) = conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status != "True") {
        return Some(format!("not ready ({})", ready.reason.as_deref().unwrap_or("no reason given")));
    }
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false).then(|| "cordoned".to_owned())
}

/// Whether pods with these tolerations and this selector may run on a node. `None`: they may.
pub fn why_not_on(node: &Node, tolerations: &[Toleration], selector: &BTreeMap<String, String>) -> Option<String> {
    if let Some(reason) = why_unavailable(node) {
        return Some(reason);
    }
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    if let Some((key, value)) = selector.iter().find(|(key, value)| labels.get(*key) != Some(value)) {
        return Some(format!("it lacks the label {key}={value}"));
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let repels = |effect: &str| matches!(effect, "NoSchedule" | "NoExecute");
    let tolerated = |key: &str, value: &str, effect: &str| {
        tolerations.iter().any(|toleration| {
            let any_effect = toleration.effect.as_deref().unwrap_or_default().is_empty();
            let any_key = toleration.key.as_deref().unwrap_or_default().is_empty();
            let exists = toleration.operator.as_deref() == Some("Exists");
            (any_effect || toleration.effect.as_deref() == Some(effect))
                && ((any_key && exists) || toleration.key.as_deref() == Some(key))
                && (exists || toleration.value.as_deref().unwrap_or_default() == value)
        })
    };
    taints
        .iter()
        .find(|taint| {
            repels(&taint.effect) && !tolerated(&taint.key, taint.value.as_deref().unwrap_or_default(), &taint.effect)
        })
        .map(|taint| format!("it has the taint {}:{}", taint.key, taint.effect))
}

/// Device resources that a container asks for and a node does not have.
pub fn lacking(node: &Node, resources: &ResourceRequirements) -> Vec<String> {
    let limits = resources.limits.iter().flatten();
    // Devices have names with a domain; cpu and memory do not, and are counted by the scheduler.
    limits.filter(|(key, _)| key.contains('/') && !has(node, key)).map(|(key, _)| key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(capacity: Value, labels: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": labels},
            "status": {"capacity": capacity, "conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_plugin_counts_where_it_offers_something() {
        let intel = |provision: &str| json!({"sgx.intel.com/epc": "98Mi", "sgx.intel.com/enclave": "20", "sgx.intel.com/provision": provision});
        for (capacity, expected) in [
            (json!({"cpu": "4"}), None),
            (intel("20"), Some(Plugin::Intel)),
            (intel("0"), None),
            (json!({"sgx.intel.com/epc": "98Mi"}), None),
            (json!({"alibabacloud.com/sgx_epc_MiB": "0"}), None),
            (
                json!({"alibabacloud.com/sgx_epc_MiB": "10", "kubernetes.azure.com/sgx_epc_mem_in_MiB": "1"}),
                Some(Plugin::Alibaba),
            ),
            (json!({"kubernetes.azure.com/sgx_epc_mem_in_MiB": "1"}), Some(Plugin::Azure)),
        ] {
            let found = survey(&[node(capacity.clone(), json!({}))]);
            assert_eq!(choose(&found).cloned(), expected, "{capacity}");
        }
    }

    #[test]
    fn the_first_node_with_a_plugin_decides() {
        let nodes = [
            node(json!({}), json!({})),
            node(json!({"kubernetes.azure.com/sgx_epc_mem_in_MiB": "1"}), json!({})),
            node(json!({"alibabacloud.com/sgx_epc_MiB": "1"}), json!({})),
        ];
        assert_eq!(choose(&survey(&nodes)), Some(&Plugin::Azure));
    }

    #[test]
    fn confidential_virtual_machines_are_known_by_label_or_device() {
        let labelled = |label: &str| survey(&[node(json!({}), json!({label: "true"}))]).remove(0);
        assert!(labelled("feature.node.kubernetes.io/cpu-security.tdx.enabled").tdx);
        assert!(labelled("feature.node.kubernetes.io/cpu-security.sev.snp.enabled").snp);
        assert!(survey(&[node(json!({"amd.com/sev-snp": "1"}), json!({}))]).remove(0).snp);
        let none = survey(&[node(json!({}), json!({"feature.node.kubernetes.io/cpu-security.tdx.enabled": "false"}))]);
        assert!(!none[0].tdx && !none[0].snp && none[0].sgx.is_none());
    }

    #[test]
    fn a_node_is_out_for_its_taints_its_labels_and_its_condition() {
        let mut tainted = node(json!({}), json!({"kubernetes.io/os": "linux"}));
        tainted.spec =
            serde_json::from_value(json!({"taints": [{"key": "sgx.intel.com/epc", "effect": "NoSchedule"}]})).unwrap();
        let linux = BTreeMap::from([("kubernetes.io/os".to_owned(), "linux".to_owned())]);
        assert_eq!(why_not_on(&tainted, &[], &linux).unwrap(), "it has the taint sgx.intel.com/epc:NoSchedule");
        let toleration: Toleration =
            serde_json::from_value(json!({"key": "sgx.intel.com/epc", "operator": "Exists", "effect": "NoSchedule"}))
                .unwrap();
        assert_eq!(why_not_on(&tainted, std::slice::from_ref(&toleration), &linux), None);
        let windows = node(json!({}), json!({}));
        assert_eq!(why_not_on(&windows, &[], &linux).unwrap(), "it lacks the label kubernetes.io/os=linux");
        let mut down = node(json!({}), json!({}));
        down.status = serde_json::from_value(
            json!({"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}),
        )
        .unwrap();
        assert_eq!(why_not_on(&down, &[], &BTreeMap::new()).unwrap(), "not ready (NodeStatusUnknown)");
    }

    #[test]
    fn amounts_are_those_of_upstream() {
        let limits =
            |key| Plugin::from_resource_key(key).limits().iter().map(|(k, a)| format!("{k}={a}")).collect::<Vec<_>>();
        assert_eq!(
            limits("sgx.intel.com/epc"),
            ["sgx.intel.com/epc=10Mi", "sgx.intel.com/enclave=1", "sgx.intel.com/provision=1"]
        );
        assert_eq!(limits(AZURE), [format!("{AZURE}=10")]);
        assert_eq!(limits("example.com/epc"), ["example.com/epc=10"]);
    }
}
