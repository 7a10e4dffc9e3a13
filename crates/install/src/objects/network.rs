//! Who may connect to the Coordinator, and how many of them may be evicted at once.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Installation, Object, metadata, some};
use crate::names;
use crate::settings::{DisruptionBudget, Labels};
use crate::values::ValuesError;

pub(super) fn add(installation: Installation<'_>, objects: &mut Vec<Object>) -> Result<(), ValuesError> {
    let c = &installation.settings.coordinator;
    if c.network_policy.enabled {
        objects.push(Object::new(&policy(installation))?);
    }
    if installation.settings.is_distributed() && c.replicas > 1 {
        let labels = installation.coordinator_labels("disruption-budget", names::COORDINATOR);
        let selector = installation.coordinators();
        let budget = budget(installation, names::COORDINATOR, labels, selector, &c.pod_disruption_budget);
        objects.extend(budget.as_ref().map(Object::new).transpose()?);
    }
    Ok(())
}

fn policy(installation: Installation<'_>) -> NetworkPolicy {
    let c = &installation.settings.coordinator;
    let p = &c.network_policy;
    let mut ingress =
        vec![from(c.client_server_port, p.client_from.clone()), from(c.mesh_server_port, p.mesh_from.clone())];
    if c.metrics.enabled {
        ingress.push(from(c.metrics.port, p.metrics_from.clone()));
    }
    if installation.settings.is_distributed() {
        let each_other =
            NetworkPolicyPeer { pod_selector: Some(installation.coordinators()), ..NetworkPolicyPeer::default() };
        ingress.push(from(c.key_server_port, vec![each_other]));
    }
    ingress.extend(p.extra_ingress.iter().cloned());
    NetworkPolicy {
        metadata: metadata(
            installation,
            names::COORDINATOR,
            Some(installation.coordinator_labels("network-policy", names::COORDINATOR)),
        ),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(installation.coordinators()),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress),
            egress: None,
        }),
    }
}

/// One port, open to these, or to everyone.
fn from(port: u16, peers: Vec<NetworkPolicyPeer>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: some(peers),
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::Int(port.into())),
            ..NetworkPolicyPort::default()
        }]),
    }
}

/// A limit to evictions, if it is wanted.
pub(super) fn budget(
    installation: Installation<'_>,
    name: &str,
    labels: Labels,
    selector: LabelSelector,
    settings: &DisruptionBudget,
) -> Option<PodDisruptionBudget> {
    settings.enabled.then(|| PodDisruptionBudget {
        metadata: metadata(installation, name, Some(labels)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: settings.max_unavailable.clone(),
            selector: Some(selector),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
