//! What `kubectl` shows to whoever creates the pod: nothing that is wrong enough to refuse it, but that would be
//! found only when the Marble does not start, or is not protected.

use std::net::IpAddr;

use super::dns::{dns_names, is_dns_name};
use super::environment::{Environment, UUID_FILE, find};
use super::labels::{CONTAINER, Labels, PREFIX, RESOURCE_INJECTION, TYPE};
use super::pod::{InvalidPod, Node};
use super::rules::Rules;
use super::sgx::{self, SgxResource};
use super::uuid_volume::{FILE, holds_uuid_file, mounted_instead};

/// The API server cuts longer ones.
const LONGEST: usize = 256;
/// And drops what is over 4 KiB in all.
const MOST: usize = 15;

/// A pod that becomes a Marble.
pub(super) struct Subject<'a> {
    pub(super) pod: Node<'a>,
    pub(super) spec: Option<Node<'a>>,
    pub(super) marbles: Vec<Node<'a>>,
    pub(super) labels: Labels<'a>,
    pub(super) environment: Environment,
    pub(super) namespace: &'a str,
    pub(super) rules: &'a Rules,
}

/// Everything worth saying, in order of weight.
pub(super) fn about(subject: &Subject<'_>) -> Result<Vec<String>, InvalidPod> {
    let mut warnings = Vec::new();
    about_protection(subject, &mut warnings)?;
    about_labels(subject, &mut warnings)?;
    about_names(subject, &mut warnings);
    about_network(subject, &mut warnings)?;
    for container in &subject.marbles {
        about_container(subject, container, &mut warnings)?;
    }
    let left_out = warnings.len().saturating_sub(MOST);
    if left_out > 0 {
        warnings.truncate(MOST);
        warnings.push(format!("MarbleRun has {left_out} more warnings about this pod"));
    }
    Ok(warnings.into_iter().map(shorten).collect())
}

/// Without SGX there may be confidential VMs: those of the nodes, which nobody here sees, or one for the pod, made by
/// the runtime it names.
fn about_protection(subject: &Subject<'_>, warnings: &mut Vec<String>) -> Result<(), InvalidPod> {
    let runtime = match &subject.spec {
        Some(spec) => spec.text("runtimeClassName")?,
        None => None,
    };
    if subject.rules.sgx == SgxResource::None && subject.labels.wants_resources() && runtime.is_none() {
        warnings.push(
            "MarbleRun's injector adds no SGX resources here: unless the pod runs in a confidential VM, this Marble is in simulation, which protects nothing"
                .to_owned(),
        );
    }
    Ok(())
}

fn about_labels(subject: &Subject<'_>, warnings: &mut Vec<String>) -> Result<(), InvalidPod> {
    if let Some(value) = subject.labels.resource_injection
        && !matches!(value, "disabled" | "enabled" | "")
    {
        warnings.push(format!(
            "label {RESOURCE_INJECTION}: {value:?} has no effect, only \"disabled\" keeps SGX resources from being injected"
        ));
    }
    let labels = match subject.pod.child("metadata")? {
        Some(metadata) => metadata.child("labels")?,
        None => None,
    };
    for label in labels.iter().flat_map(Node::keys) {
        if label.starts_with(PREFIX) && ![TYPE, CONTAINER, RESOURCE_INJECTION].contains(&label) {
            warnings.push(format!(
                "label {label:?} is not known to MarbleRun, only {TYPE}, {CONTAINER} and {RESOURCE_INJECTION} are"
            ));
        }
    }
    Ok(())
}

fn about_names(subject: &Subject<'_>, warnings: &mut Vec<String>) {
    let marble_type = subject.labels.marble_type;
    let names = dns_names(marble_type, subject.namespace, &subject.rules.cluster_domain);
    if let Some(name) = names.iter().find(|name| !is_dns_name(name)) {
        warnings.push(format!(
            "Marble type {marble_type:?} makes no valid DNS name: TLS clients may refuse the Marble's certificate for {name:?}"
        ));
    } else if marble_type.chars().any(char::is_uppercase) {
        warnings.push(format!(
            "the DNS names of Marble type {marble_type:?} are in lower case ({}); the manifest must have the type as labelled",
            marble_type.to_lowercase()
        ));
    }
}

/// Pods on the network of their node, or with its DNS, do not know the cluster's Services by name.
fn about_network(subject: &Subject<'_>, warnings: &mut Vec<String>) -> Result<(), InvalidPod> {
    let Some(spec) = &subject.spec else { return Ok(()) };
    let policy = spec.text("dnsPolicy")?.unwrap_or("ClusterFirst");
    let host = subject.rules.coordinator.rsplit_once(':').map_or(&*subject.rules.coordinator, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let node_dns = policy == "Default" || (policy == "ClusterFirst" && spec.is_true("hostNetwork")?);
    if node_dns && host.parse::<IpAddr>().is_err() {
        warnings.push(format!(
            "with dnsPolicy {policy} this pod asks the DNS of its node, which may not know the Coordinator ({host}); ClusterFirstWithHostNet asks the cluster's"
        ));
    }
    Ok(())
}

fn about_container(subject: &Subject<'_>, container: &Node<'_>, warnings: &mut Vec<String>) -> Result<(), InvalidPod> {
    let name = container.text("name")?.unwrap_or_default();
    for (variable, value) in subject.environment.iter() {
        let Some(present) = find(container, variable)? else { continue };
        if present.child("valueFrom")?.is_some() {
            warnings.push(format!("container {name:?} takes {variable} from elsewhere; it is left as it is"));
        } else if present.text("value")?.unwrap_or_default() != value {
            let present = present.text("value")?.unwrap_or_default();
            warnings.push(format!(
                "container {name:?} sets {variable} to {present:?}; it is left so, and not set to {value:?}"
            ));
        }
    }
    if find(container, UUID_FILE)?.is_none()
        && let Some(volume) = mounted_instead(container, &subject.labels)?
        && !is_uuid_volume(subject, volume)?
    {
        warnings.push(format!(
            "container {name:?} mounts its volume {volume:?} at {}, where the Marble's UUID is looked for: it must hold a file {FILE}",
            subject.labels.uuid_directory()
        ));
    }
    let wanted = sgx::wanted(&subject.rules.sgx, &subject.labels);
    for (resource, amount) in sgx::named(container)? {
        if subject.labels.wants_resources() && subject.rules.sgx.is_foreign(resource) {
            warnings.push(match wanted.and_then(SgxResource::key) {
                Some(own) => format!(
                    "container {name:?} asks for {resource}, of another SGX plugin than {own}, which is injected: a node may not have both"
                ),
                None => format!("container {name:?} asks for {resource}, which nodes of a cluster without SGX do not have"),
            });
        } else if wanted.is_some_and(|wanted| wanted.is_limited(resource)) && is_zero(amount) {
            warnings
                .push(format!("container {name:?} asks for {resource}: 0, which gives it no enclave; it is left so"));
        }
    }
    Ok(())
}

fn is_uuid_volume(subject: &Subject<'_>, name: &str) -> Result<bool, InvalidPod> {
    let Some(spec) = &subject.spec else { return Ok(false) };
    for volume in spec.children("volumes")? {
        if volume.text("name")? == Some(name) {
            return holds_uuid_file(&volume);
        }
    }
    Ok(false)
}

fn is_zero(amount: &serde_json::Value) -> bool {
    amount.as_u64() == Some(0) || amount.as_str() == Some("0")
}

/// In characters, as the API server counts.
fn shorten(warning: String) -> String {
    if warning.chars().count() <= LONGEST {
        return warning;
    }
    warning.chars().take(LONGEST - 1).chain(['…']).collect()
}
