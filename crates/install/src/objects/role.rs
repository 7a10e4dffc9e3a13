//! As whom the Coordinator speaks to the Kubernetes API, and what it may do there: nothing that it does not use, on no
//! object that is not its own.

use k8s_openapi::api::core::v1::{LocalObjectReference, ServiceAccount};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::labels::both;
use super::{Installation, Object, given, metadata};
use crate::names;
use crate::values::ValuesError;

/// States that a decision of an operator replaced are kept in as many Secrets.
const ARCHIVES: usize = 5;
/// Banks and Secrets of each, for what does not fit into the first.
const PARTS: ([&str; 3], std::ops::RangeInclusive<usize>) = (["a", "b", "c"], 1..=15);

pub(super) fn add(installation: Installation<'_>, objects: &mut Vec<Object>) -> Result<(), ValuesError> {
    objects.push(Object::new(&account(installation))?);
    if !installation.settings.is_distributed() {
        return Ok(());
    }
    objects.push(Object::new(&Role {
        metadata: metadata(installation, names::COORDINATOR, None),
        rules: Some(rules(installation)),
    })?);
    objects.push(Object::new(&RoleBinding {
        metadata: metadata(installation, names::COORDINATOR, None),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: names::COORDINATOR.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: names::COORDINATOR.to_owned(),
            namespace: Some(installation.namespace.to_owned()),
            api_group: None,
        }]),
    })?);
    Ok(())
}

fn account(installation: Installation<'_>) -> ServiceAccount {
    let azure = &installation.settings.coordinator.azure_credentials;
    let labels = installation.coordinator_labels("controller", names::COORDINATOR);
    let mut metadata =
        metadata(installation, names::COORDINATOR, Some(both(labels, installation.control_plane("controller"))));
    if azure.enable_workload_identity {
        metadata.annotations = Some([("azure.workload.identity/client-id".to_owned(), azure.client_id.clone())].into());
    }
    ServiceAccount {
        metadata,
        // The pod decides: only a distributed Coordinator uses the Kubernetes API.
        automount_service_account_token: Some(false),
        image_pull_secrets: pull_secrets(installation),
        ..ServiceAccount::default()
    }
}

/// Credentials of the image registry.
pub(super) fn pull_secrets(installation: Installation<'_>) -> Option<Vec<LocalObjectReference>> {
    let name = installation.settings.global.pull_secret.as_deref().and_then(given)?;
    Some(vec![LocalObjectReference { name }])
}

fn rules(installation: Installation<'_>) -> Vec<PolicyRule> {
    let c = &installation.settings.coordinator;
    let state = &c.state_secret_name;
    let mut rules = Vec::new();
    if installation.settings.has_state_in_secret() {
        let watched = ["get", "list", "watch", "create", "update", "patch"];
        let written = ["get", "create", "update", "patch"];
        rules.push(rule("", "secrets", vec![state.clone()], &watched));
        rules.push(rule("", "secrets", archives(state), &written));
        if c.state_parts.enabled {
            rules.push(rule("", "secrets", parts(state), &written));
        }
        let keys = ["get", "list", "watch", "create", "patch"];
        rules.push(rule("", "configmaps", vec![c.kek_config_map.clone()], &keys));
    }
    rules.push(rule("discovery.k8s.io", "endpointslices", Vec::new(), &["list", "watch"]));
    rules.push(rule("", "events", Vec::new(), &["create"]));
    rules
}

/// Secrets with states that were replaced.
pub fn archives(state: &str) -> Vec<String> {
    (0..ARCHIVES).map(|number| format!("{state}-archive-{number}")).collect()
}

/// Secrets with what does not fit into the first.
pub fn parts(state: &str) -> Vec<String> {
    let (banks, numbers) = PARTS;
    banks.iter().flat_map(|bank| numbers.clone().map(move |number| format!("{state}-{bank}{number}"))).collect()
}

fn rule(group: &str, resource: &str, names: Vec<String>, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        resource_names: super::some(names),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        non_resource_urls: None,
    }
}
