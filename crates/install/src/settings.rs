//! The values as the objects need them: typed, with nothing that the chart does not know. What a `null` took away is
//! empty, as it is to the templates.

mod coordinator;
mod form;
mod injector;
mod seal;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::Value;

pub(crate) use coordinator::{AzureCredentials, Coordinator};
pub(crate) use injector::Injector;

use crate::values::ValuesError;
use form::plain;

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
        seal::check(self)?;
        seal::check_hardware(self)
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

    /// Secrets and ConfigMaps that pods get files of, and that others must have made: a pod waits for ever for one that is not
    /// there. Each with its kind, and the keys that it must have.
    pub fn named_by_values(&self) -> Vec<Named<'_>> {
        seal::named(&self.coordinator)
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

/// An object in the cluster that values name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// `Secret` or `ConfigMap`.
    pub kind: &'static str,
    /// Its name.
    pub name: &'a str,
    /// What must be in it; nothing in particular if absent.
    pub key: Option<&'a str>,
    /// The value that names it.
    pub value: &'static str,
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
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Dcap {
    pub(crate) qcnl_config: String,
    pub(crate) pccs_url: String,
    pub(crate) use_secure_cert: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DisruptionBudget {
    pub(crate) enabled: bool,
    pub(crate) max_unavailable: Option<IntOrString>,
}

#[cfg(test)]
mod tests {
    use crate::chart::Chart;
    use crate::values::UserValues;

    use super::*;

    pub(super) fn read(user: &str) -> Result<Settings, ValuesError> {
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
