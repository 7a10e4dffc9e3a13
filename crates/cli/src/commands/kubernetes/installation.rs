//! What of MarbleRun is in the namespace, and who put it there.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use marblerun_install::names;

use super::cluster::{Cluster, Told as _, is_forbidden};

/// The objects that decide.
#[derive(Debug, Default)]
pub struct Installation {
    /// The Coordinator's Deployment.
    pub coordinator: Option<Deployment>,
    /// The injector's.
    pub injector: Option<Deployment>,
    /// The webhook's configuration.
    pub webhook: Option<MutatingWebhookConfiguration>,
    /// The Helm release that keeps them up to date.
    pub release: Option<Release>,
}

impl Installation {
    /// Looks.
    pub async fn look(cluster: &Cluster) -> Result<Self> {
        let deployments = cluster.here::<Deployment>();
        let coordinator = deployments.get_opt(names::COORDINATOR).await.told("reading the Coordinator's Deployment")?;
        let injector = deployments.get_opt(names::INJECTOR).await.told("reading the injector's Deployment")?;
        let name = names::webhook_configuration(&cluster.namespace);
        let webhook = match cluster.everywhere::<MutatingWebhookConfiguration>().get_opt(&name).await {
            Ok(webhook) => webhook,
            // Not everyone who may use a namespace may look beside it.
            Err(error) if is_forbidden(&error) => None,
            Err(error) => return Err(error).told("reading the webhook's configuration"),
        };
        let kept = kept_releases(cluster).await?;
        let release = find_release(coordinator.as_ref().map(|deployment| &deployment.metadata), &kept);
        Ok(Self { coordinator, injector, webhook, release })
    }

    /// The Coordinator as its Deployment describes it.
    pub fn described(&self) -> Option<Described> {
        self.coordinator.as_ref().map(Described::of)
    }
}

/// A Helm release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Its newest revision, if that is known.
    pub revision: Option<u32>,
}

/// Metadata of the objects in which Helm keeps its releases.
async fn kept_releases(cluster: &Cluster) -> Result<Vec<ObjectMeta>> {
    let of_helm = ListParams::default().labels("owner=helm");
    let mut all = Vec::new();
    // $HELM_DRIVER decides which.
    match cluster.here::<Secret>().list_metadata(&of_helm).await {
        Ok(found) => all.extend(found.items.into_iter().map(|item| item.metadata)),
        Err(error) if is_forbidden(&error) => {}
        Err(error) => return Err(error).told("looking for a Helm release"),
    }
    match cluster.here::<ConfigMap>().list_metadata(&of_helm).await {
        Ok(found) => all.extend(found.items.into_iter().map(|item| item.metadata)),
        Err(error) if is_forbidden(&error) => {}
        Err(error) => return Err(error).told("looking for a Helm release"),
    }
    Ok(all)
}

/// The release that the Deployment belongs to, else one of the usual name that is not gone.
fn find_release(deployment: Option<&ObjectMeta>, kept: &[ObjectMeta]) -> Option<Release> {
    let named = |metadata: &ObjectMeta| {
        let label = metadata.labels.as_ref()?.get(names::MANAGED_BY)?;
        let annotation = metadata.annotations.as_ref()?.get("meta.helm.sh/release-name")?;
        (label == "Helm").then(|| annotation.clone())
    };
    let of_deployment = deployment.and_then(named);
    let name = of_deployment.clone().unwrap_or_else(|| "marblerun".to_owned());
    let label = |metadata: &ObjectMeta, key: &str| metadata.labels.as_ref().and_then(|all| all.get(key)).cloned();
    let revision = |metadata: &ObjectMeta| label(metadata, "version").and_then(|text| text.parse::<u32>().ok());
    let newest =
        kept.iter().filter(|kept| label(kept, "name").as_ref() == Some(&name)).max_by_key(|kept| revision(kept));
    let newest = newest.filter(|kept| label(kept, "status").as_deref() != Some("uninstalled"));
    match (of_deployment, newest) {
        (None, None) => None,
        (_, newest) => Some(Release { name, revision: newest.and_then(revision) }),
    }
}

/// What a Deployment says of its Coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Registry and path of its image.
    pub repository: Option<String>,
    /// Whether several share one state.
    pub is_distributed: bool,
    /// Whether that state is a Secret.
    pub has_state_in_secret: bool,
    /// Whether it runs without a trusted execution environment.
    pub is_simulation: bool,
    /// Whether `install` made it.
    pub is_ours: bool,
    /// Pods that are wanted.
    pub replicas: i32,
    /// Name of the Secret with the state.
    pub state_secret: String,
    /// Name of the ConfigMap with the sealed keys.
    pub kek_config_map: String,
    /// Name of the volume claim, if it has one.
    pub claim: Option<String>,
}

impl Described {
    /// Reads it, of any program's making.
    pub fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let pod = spec.and_then(|spec| spec.template.spec.as_ref());
        // The original's documents, too, speak of the pod's first container.
        let container = pod.and_then(|pod| pod.containers.first());
        let environment = container.map(environment).unwrap_or_default();
        let said = |name: &str| environment.get(name).cloned().unwrap_or_default();
        let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        let is_distributed = said("EDG_DISTRIBUTED_COORDINATOR") == "1";
        let tee = said("MARBLERUN_TEE");
        let label = |name: &str| deployment.metadata.labels.as_ref().and_then(|labels| labels.get(name));
        let claims = pod.and_then(|pod| pod.volumes.as_ref()).into_iter().flatten();
        Self {
            repository: container.and_then(|container| container.image.as_deref()).and_then(repository),
            is_distributed,
            has_state_in_secret: is_distributed && said("EDG_STORE_BACKEND") == "k8s-secret",
            is_simulation: if tee.is_empty() { said("OE_SIMULATION") == "1" } else { tee == "simulation" },
            is_ours: label(names::MANAGED_BY).is_some_and(|manager| manager == names::MANAGER),
            replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            state_secret: or(said("EDG_K8S_STATE_NAME"), names::STATE_SECRET),
            kek_config_map: or(said("EDG_K8S_KEK_MAP"), names::KEK_CONFIG_MAP),
            claim: claims
                .filter(|volume| volume.name == "coordinator-pv-storage")
                .find_map(|volume| volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone())),
        }
    }
}

fn environment(container: &Container) -> BTreeMap<String, String> {
    let variables = container.env.iter().flatten();
    variables.map(|variable| (variable.name.clone(), variable.value.clone().unwrap_or_default())).collect()
}

/// `REPOSITORY/NAME:TAG@DIGEST` without the name and what follows.
fn repository(image: &str) -> Option<String> {
    image.rsplit_once('/').map(|(repository, _)| repository.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn metadata(labels: Value, annotations: Value) -> ObjectMeta {
        serde_json::from_value(json!({"labels": labels, "annotations": annotations})).unwrap()
    }

    fn kept(name: &str, version: &str, status: &str) -> ObjectMeta {
        metadata(json!({"owner": "helm", "name": name, "version": version, "status": status}), json!({}))
    }

    #[test]
    fn a_release_is_known_by_what_helm_keeps_or_by_what_it_wrote_on_the_deployment() {
        let ours = metadata(json!({"app.kubernetes.io/managed-by": "marblerun-install"}), json!({}));
        let of_helm =
            metadata(json!({"app.kubernetes.io/managed-by": "Helm"}), json!({"meta.helm.sh/release-name": "mine"}));
        let rendered = metadata(json!({"app.kubernetes.io/managed-by": "Helm"}), json!({}));
        let release = |name: &str, revision| Some(Release { name: name.to_owned(), revision });
        for (deployment, kept, expected) in [
            (None, vec![], None),
            (Some(&ours), vec![], None),
            (Some(&rendered), vec![], None),
            (Some(&of_helm), vec![], release("mine", None)),
            (
                Some(&of_helm),
                vec![kept("mine", "3", "deployed"), kept("mine", "12", "deployed")],
                release("mine", Some(12)),
            ),
            (None, vec![kept("marblerun", "1", "failed")], release("marblerun", Some(1))),
            (None, vec![kept("marblerun", "1", "superseded"), kept("marblerun", "2", "uninstalled")], None),
            (None, vec![kept("other", "1", "deployed")], None),
        ] {
            assert_eq!(find_release(deployment, &kept), expected);
        }
    }

    #[test]
    fn a_deployment_of_upstream_and_one_of_ours_are_read_alike() {
        let deployment = |image: &str, env: Value| -> Deployment {
            serde_json::from_value(
                json!({"metadata": {}, "spec": {"replicas": 3, "selector": {}, "template": {"spec": {
                    "containers": [{"name": "coordinator", "image": image, "env": env}],
                    "volumes": [{"name": "coordinator-pv-storage", "persistentVolumeClaim": {"claimName": "mine"}}],
                }}}}),
            )
            .unwrap()
        };
        let upstream = Described::of(&deployment(
            "ghcr.io/a/b/coordinator:v1@sha256:00",
            json!([{"name": "OE_SIMULATION", "value": "1"}]),
        ));
        assert_eq!(upstream.repository.as_deref(), Some("ghcr.io/a/b"));
        assert!(upstream.is_simulation && !upstream.is_distributed && !upstream.is_ours);
        assert_eq!((upstream.claim.as_deref(), upstream.state_secret.as_str()), (Some("mine"), "marblerun-state"));
        let env = json!([
            {"name": "EDG_DISTRIBUTED_COORDINATOR", "value": "1"}, {"name": "EDG_STORE_BACKEND", "value": "k8s-secret"},
            {"name": "MARBLERUN_TEE", "value": "sgx"}, {"name": "EDG_K8S_STATE_NAME", "value": "s"},
        ]);
        let ours = Described::of(&deployment("coordinator:v1", env));
        assert!(ours.is_distributed && ours.has_state_in_secret && !ours.is_simulation && ours.repository.is_none());
        assert_eq!((ours.state_secret.as_str(), ours.replicas), ("s", 3));
    }
}
