//! Values of the Coordinator.

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, PodSecurityContext, ResourceRequirements, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::api::networking::v1::{NetworkPolicyIngressRule, NetworkPolicyPeer};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::Value;

use super::form::{plain, text};
use super::seal::{Collateral, Seal};
use super::{DisruptionBudget, Labels, Tee};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Coordinator {
    pub(crate) replicas: i32,
    pub(crate) repository: String,
    pub(crate) image: String,
    pub(crate) version: String,
    pub(crate) hash: String,
    pub(crate) pull_policy: String,
    pub(crate) tee: Tee,
    pub(crate) simulation: bool,
    pub(crate) runtime_class_name: String,
    pub(crate) mesh_server_host: String,
    pub(crate) mesh_server_port: u16,
    pub(crate) client_server_host: String,
    pub(crate) client_server_port: u16,
    pub(crate) key_server_port: u16,
    pub(crate) hostname: String,
    pub(crate) seal_dir: String,
    pub(crate) debug_logging: bool,
    pub(crate) log_format: String,
    pub(crate) http_error_log_level: String,
    pub(crate) probes: Probes,
    pub(crate) distributed_deployment: bool,
    pub(crate) store_backend: String,
    pub(crate) state_secret_name: String,
    pub(crate) kek_config_map: String,
    #[serde(rename = "keyAPIName")]
    pub(crate) key_api_name: String,
    pub(crate) state_parts: StateParts,
    pub(crate) offline_grace: String,
    pub(crate) rollback: String,
    pub(crate) recovery_reset: String,
    pub(crate) marble_grace: String,
    #[serde(deserialize_with = "text")]
    pub(crate) peer_min_svn: String,
    pub(crate) seal: Seal,
    pub(crate) collateral: Collateral,
    pub(crate) configfs: bool,
    #[serde(deserialize_with = "plain")]
    pub(crate) devices: Vec<String>,
    #[serde(deserialize_with = "plain")]
    pub(crate) extra_env: Vec<EnvVar>,
    #[serde(deserialize_with = "plain")]
    pub(crate) extra_volumes: Vec<Volume>,
    #[serde(deserialize_with = "plain")]
    pub(crate) extra_volume_mounts: Vec<VolumeMount>,
    #[serde(deserialize_with = "plain")]
    pub(crate) resources: Option<ResourceRequirements>,
    pub(crate) storage_class: String,
    #[serde(deserialize_with = "text")]
    pub(crate) storage_size: String,
    pub(crate) pvc_name: String,
    pub(crate) keep_volume: bool,
    pub(crate) azure_credentials: AzureCredentials,
    #[serde(rename = "azureHSM")]
    pub(crate) azure_hsm: AzureHsm,
    pub(crate) rolling_update: RollingUpdate,
    pub(crate) pod_anti_affinity: String,
    #[serde(deserialize_with = "plain")]
    pub(crate) affinity: Option<Affinity>,
    pub(crate) topology_spread: TopologySpread,
    pub(crate) pod_disruption_budget: DisruptionBudget,
    pub(crate) priority_class_name: String,
    pub(crate) termination_grace_period_seconds: i64,
    #[serde(deserialize_with = "plain")]
    pub(crate) pod_security_context: Option<PodSecurityContext>,
    #[serde(deserialize_with = "plain")]
    pub(crate) security_context: Option<SecurityContext>,
    pub(crate) network_policy: NetworkPolicy,
    pub(crate) metrics: Metrics,
}

/// Any fields of a Kubernetes probe.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Probes {
    pub(crate) readiness: Option<Value>,
    pub(crate) liveness: Option<Value>,
    pub(crate) startup: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StateParts {
    pub(crate) enabled: bool,
    #[serde(deserialize_with = "text")]
    pub(crate) inline_max: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AzureCredentials {
    #[serde(rename = "clientID")]
    pub(crate) client_id: String,
    pub(crate) secret_name: String,
    #[serde(rename = "tenantID")]
    pub(crate) tenant_id: String,
    pub(crate) client_secret: String,
    pub(crate) enable_workload_identity: bool,
}

impl AzureCredentials {
    /// Whether they stand in the values as a whole.
    pub(crate) fn is_whole(&self) -> bool {
        [&self.client_id, &self.tenant_id, &self.client_secret].iter().all(|text| !text.is_empty())
    }
}

impl std::fmt::Debug for AzureCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AzureCredentials").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AzureHsm {
    pub(crate) key_name: String,
    pub(crate) key_version: String,
    #[serde(rename = "vaultURL")]
    pub(crate) vault_url: String,
    #[serde(rename = "maaURL")]
    pub(crate) maa_url: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RollingUpdate {
    pub(crate) max_unavailable: Option<IntOrString>,
    pub(crate) max_surge: Option<IntOrString>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TopologySpread {
    pub(crate) max_skew: i32,
    pub(crate) topology_key: String,
    pub(crate) when_unsatisfiable: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NetworkPolicy {
    pub(crate) enabled: bool,
    #[serde(deserialize_with = "plain")]
    pub(crate) client_from: Vec<NetworkPolicyPeer>,
    #[serde(deserialize_with = "plain")]
    pub(crate) mesh_from: Vec<NetworkPolicyPeer>,
    #[serde(deserialize_with = "plain")]
    pub(crate) metrics_from: Vec<NetworkPolicyPeer>,
    #[serde(deserialize_with = "plain")]
    pub(crate) extra_ingress: Vec<NetworkPolicyIngressRule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Metrics {
    pub(crate) enabled: bool,
    pub(crate) port: u16,
    pub(crate) service_monitor: ServiceMonitor,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ServiceMonitor {
    pub(crate) enabled: bool,
    pub(crate) interval: String,
    #[serde(deserialize_with = "plain")]
    pub(crate) labels: Labels,
}
