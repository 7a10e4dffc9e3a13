//! The values as the objects need them: typed, with nothing that the chart does not know. What a `null` took away is
//! empty, as it is to the templates.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, PodSecurityContext, ResourceRequirements, SecurityContext, Toleration, Volume, VolumeMount,
};
use k8s_openapi::api::networking::v1::{NetworkPolicyIngressRule, NetworkPolicyPeer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::values::ValuesError;

/// Labels, annotations, node labels.
pub(crate) type Labels = BTreeMap<String, String>;

/// All values.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    pub(crate) global: Global,
    pub(crate) cluster_domain: String,
    #[serde(deserialize_with = "plain")]
    pub(crate) tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "plain")]
    pub(crate) node_selector: Labels,
    pub(crate) coordinator: Coordinator,
    pub(crate) marble_injector: Injector,
    pub(crate) dcap: Option<Dcap>,
}

impl Settings {
    /// Reads merged values.
    ///
    /// # Errors
    /// If one is not of its type, or the chart has none of that name.
    pub fn read(values: Value) -> Result<Self, ValuesError> {
        let settings: Self =
            serde_path_to_error::deserialize(values).map_err(|error| ValuesError::Type(error.to_string()))?;
        settings.check()?;
        Ok(settings)
    }

    /// Values that contradict each other.
    fn check(&self) -> Result<(), ValuesError> {
        let coordinator = &self.coordinator;
        let refused = |text: &str| Err(ValuesError::Type(text.to_owned()));
        if self.is_on_volume() && coordinator.replicas > 1 {
            return refused(
                "coordinator.replicas is more than 1, but the state is on one volume, which only one Coordinator can use; \
                 add --distributed-deployment",
            );
        }
        if coordinator.simulation && matches!(coordinator.tee, Tee::Tdx | Tee::Snp) {
            return refused("coordinator.simulation and coordinator.tee contradict each other; name one of them");
        }
        if coordinator.metrics.service_monitor.enabled && !coordinator.metrics.enabled {
            return refused("coordinator.metrics.serviceMonitor.enabled needs coordinator.metrics.enabled");
        }
        Ok(())
    }

    /// What the Coordinator must find to run in.
    pub fn tee(&self) -> Tee {
        if self.coordinator.simulation { Tee::Simulation } else { self.coordinator.tee }
    }

    /// Whether several Coordinators share one state.
    pub fn is_distributed(&self) -> bool {
        self.coordinator.distributed_deployment
    }

    /// Whether the state is in files on a volume.
    pub fn is_on_volume(&self) -> bool {
        !self.is_distributed() || self.coordinator.store_backend.is_empty()
    }

    /// Whether the Coordinator may run in SGX, so that it needs what the cluster's device plugin gives.
    pub fn may_use_sgx(&self) -> bool {
        matches!(self.tee(), Tee::Sgx | Tee::Auto)
    }

    /// Whether the state of a distributed deployment is a Secret.
    pub fn has_state_in_secret(&self) -> bool {
        self.is_distributed() && self.coordinator.store_backend == "k8s-secret"
    }

    /// Coordinators that are wanted.
    pub fn replicas(&self) -> i32 {
        self.coordinator.replicas
    }

    /// Registry and path of the Coordinator's image; empty if none is named.
    pub fn repository(&self) -> &str {
        &self.coordinator.repository
    }

    /// Whether the webhook is to be installed.
    pub fn has_injector(&self) -> bool {
        self.marble_injector.start
    }

    /// Whether cert-manager makes the webhook's certificate.
    pub fn uses_cert_manager(&self) -> bool {
        self.marble_injector.start && self.marble_injector.use_cert_manager
    }

    /// The CA of the webhook's certificate, if it is named.
    pub fn ca_bundle(&self) -> &str {
        &self.marble_injector.ca_bundle
    }
}

/// Trusted execution environments, as `MARBLERUN_TEE` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tee {
    /// What is found.
    #[default]
    Auto,
    /// Intel SGX.
    Sgx,
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP.
    Snp,
    /// None.
    Simulation,
}

impl Tee {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::Snp => "snp",
            Self::Simulation => "simulation",
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Global {
    #[serde(deserialize_with = "plain")]
    pub(crate) pod_annotations: Labels,
    #[serde(deserialize_with = "plain")]
    pub(crate) pod_labels: Labels,
    pub(crate) created_by: String,
    pub(crate) coordinator_component_label: String,
    pub(crate) coordinator_namespace_label: String,
    pub(crate) pull_secret: Option<String>,
}

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
pub(crate) struct DisruptionBudget {
    pub(crate) enabled: bool,
    pub(crate) max_unavailable: Option<IntOrString>,
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

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Injector {
    pub(crate) start: bool,
    pub(crate) replicas: i32,
    pub(crate) repository: String,
    pub(crate) image: String,
    pub(crate) version: String,
    pub(crate) hash: String,
    pub(crate) pull_policy: String,
    pub(crate) resource_key: String,
    pub(crate) use_cert_manager: bool,
    #[serde(rename = "CABundle")]
    pub(crate) ca_bundle: String,
    pub(crate) http_error_log_level: String,
    #[serde(deserialize_with = "plain")]
    pub(crate) object_selector: Option<LabelSelector>,
    #[serde(deserialize_with = "plain")]
    pub(crate) namespace_selector: Option<LabelSelector>,
    pub(crate) failure_policy: String,
    pub(crate) timeout_seconds: i32,
    pub(crate) pod_disruption_budget: DisruptionBudget,
    #[serde(deserialize_with = "plain")]
    pub(crate) tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "plain")]
    pub(crate) node_selector: Labels,
    #[serde(deserialize_with = "plain")]
    pub(crate) resources: Option<ResourceRequirements>,
    pub(crate) priority_class_name: String,
    #[serde(deserialize_with = "plain")]
    pub(crate) pod_security_context: Option<PodSecurityContext>,
    #[serde(deserialize_with = "plain")]
    pub(crate) security_context: Option<SecurityContext>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Dcap {
    pub(crate) qcnl_config: String,
    pub(crate) pccs_url: String,
    pub(crate) use_secure_cert: Value,
}

/// A part of an object that is taken as it stands, with quantities and the like as numbers or text. `null` is nothing, and
/// so is an empty map, as to the templates.
fn plain<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    match quantities_as_text(Value::deserialize(deserializer)?) {
        Value::Null => Ok(T::default()),
        Value::Object(map) if map.is_empty() => Ok(T::default()),
        value => serde_json::from_value(value).map_err(serde::de::Error::custom),
    }
}

/// Kubernetes takes quantities as numbers, too; the generated types do not.
fn quantities_as_text(value: Value) -> Value {
    let is_amounts = |name: &str| matches!(name, "limits" | "requests");
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| match value {
                    Value::Object(amounts) if is_amounts(&name) => {
                        let text = |value| match value {
                            Value::Number(number) => Value::String(number.to_string()),
                            other => other,
                        };
                        let amounts = amounts.into_iter().filter(|(_, amount)| !amount.is_null());
                        (name, Value::Object(amounts.map(|(key, amount)| (key, text(amount))).collect()))
                    }
                    other => (name, quantities_as_text(other)),
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(quantities_as_text).collect()),
        other => other,
    }
}

/// Text, or a number that is meant as text.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Ok(String::new()),
        other => Err(serde::de::Error::custom(format!("{other} is neither text nor a number"))),
    }
}

#[cfg(test)]
mod tests {
    use crate::chart::Chart;
    use crate::values::UserValues;

    use super::*;

    fn read(user: &str) -> Result<Settings, ValuesError> {
        Settings::read(Chart::built_in().unwrap().values.with(&UserValues::from_yaml(user).unwrap()))
    }

    #[test]
    fn every_value_of_the_chart_has_its_type() {
        let settings = read("").unwrap();
        assert_eq!((settings.tee(), settings.replicas(), settings.has_injector()), (Tee::Sgx, 1, false));
        assert_eq!(read("coordinator: {simulation: true}").unwrap().tee(), Tee::Simulation);
    }

    #[test]
    fn a_value_that_the_chart_does_not_know_or_of_another_type_is_told_with_its_place() {
        for (user, told) in [
            ("coordinator: {replica: 2}", "unknown field `replica`"),
            ("coordinator: {replicas: two}", "coordinator.replicas"),
            ("coordinator: {podSecurityContext: {runAsUser: x}}", "coordinator.podSecurityContext"),
            ("other: 1", "unknown field `other`"),
            ("coordinator: {replicas: 2}", "--distributed-deployment"),
            ("coordinator: {simulation: true, tee: snp}", "coordinator.tee"),
            ("coordinator: {metrics: {serviceMonitor: {enabled: true}}}", "coordinator.metrics.enabled"),
        ] {
            let error = read(user).unwrap_err().to_string();
            assert!(error.contains(told), "{user}: {error}");
        }
    }

    #[test]
    fn what_null_takes_away_is_gone_and_numbers_may_stand_for_quantities() {
        let settings =
            read("dcap: null\ntolerations: null\ncoordinator: {resources: {limits: null, requests: {cpu: 1}}}")
                .unwrap();
        assert!(settings.dcap.is_none() && settings.tolerations.is_empty());
        let resources = settings.coordinator.resources.unwrap();
        assert!(resources.limits.is_none());
        assert_eq!(resources.requests.unwrap()["cpu"].0, "1");
    }
}
