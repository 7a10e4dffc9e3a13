//! Values of the injector.

use k8s_openapi::api::core::v1::{PodSecurityContext, ResourceRequirements, SecurityContext, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use super::form::plain;
use super::{DisruptionBudget, Labels};

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
