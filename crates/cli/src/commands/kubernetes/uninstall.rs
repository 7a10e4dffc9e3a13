//! `marblerun uninstall`: removes what `install` made. The state stays unless its end is asked for.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams};
use marblerun_install::{archives, names, parts};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::cluster::{self, Cluster, Told as _, is_absent, is_forbidden};
use super::installation::{Described, Installation, Release};
use super::ours;
use super::waiting::pods_of;
use crate::args::{Global, UninstallArgs};
use crate::failure::Failure;
use crate::output::{Output, note};
use crate::prompt::{self, Consent};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Removes MarbleRun. Twice is fine.
pub async fn run(global: &Global, output: &Output<'_>, args: &UninstallArgs) -> Result<()> {
    let cluster = Cluster::find(cluster::namespace(global)?, &args.cluster).await?;
    let found = Installation::look(&cluster).await?;
    if let Some(release) = &found.release {
        return Err(left_to_helm(release, &cluster.namespace));
    }
    if args.delete_state {
        let question =
            format!("Delete the state of MarbleRun in namespace {} of {} for ever?", cluster.namespace, cluster.server);
        if prompt::confirm(global, &question).await? == Consent::NobodyToAsk {
            return Err(Failure::usage("--delete-state needs --yes where there is nobody to ask; nothing was done"));
        }
    }
    let foreign = found.described().filter(|described| !described.is_ours);
    let pods = match &found.coordinator {
        Some(deployment) => pods_of(&cluster, deployment).await?,
        None => Vec::new(),
    };
    let mut removed = ours::remove(&cluster, &ours::find(&cluster).await?).await?;
    removed.extend(remove_certificate(&cluster).await?);
    if foreign.is_some() {
        note(
            "deployment marblerun-coordinator was not made by 'marblerun install', so it stays, as does all that belongs \
             to it; remove it with what made it",
        );
    }
    let mut kept = Vec::new();
    if args.delete_state && foreign.is_none() {
        // A Coordinator that still runs would write it again.
        await_end(&cluster, &pods, Instant::now() + Duration::from_secs(args.timeout)).await?;
        removed.extend(delete_state(&cluster, found.described().as_ref()).await?);
        removed.extend(delete_namespace(&cluster).await?);
    } else {
        kept = state(&cluster, found.described().as_ref()).await?;
    }
    for line in &removed {
        output.progress(&format!("{line} removed"));
    }
    for line in &kept {
        output.progress(&format!("{line} kept"));
    }
    output.progress("MarbleRun successfully removed from your cluster");
    output.report(&json!({"namespace": cluster.namespace, "removed": removed, "kept": kept}), String::new)
}

fn left_to_helm(release: &Release, namespace: &str) -> anyhow::Error {
    let name = &release.name;
    Failure::conflict(format!(
        "Helm keeps this installation up to date (release {name:?}), so it is left to Helm: 'helm uninstall {name} -n \
         {namespace}' removes it. Check first that the state stays (coordinator.keepVolume)"
    ))
}

/// The webhook's Secret, where cert-manager made it for our Certificate, and so without our label.
async fn remove_certificate(cluster: &Cluster) -> Result<Option<String>> {
    let secrets = cluster.here::<Secret>();
    let found = secrets.get_metadata_opt(names::WEBHOOK_SECRET).await.told("reading the webhook's Secret")?;
    let annotations = found.and_then(|found| found.metadata.annotations).unwrap_or_default();
    if annotations.get("cert-manager.io/certificate-name").is_none_or(|name| name != names::WEBHOOK_CERTIFICATE) {
        return Ok(None);
    }
    match secrets.delete(names::WEBHOOK_SECRET, &DeleteParams::default()).await {
        Ok(_) => Ok(Some(format!("secret/{}", names::WEBHOOK_SECRET))),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error).told("removing the webhook's Secret"),
    }
}

async fn await_end(cluster: &Cluster, pods: &[Pod], end: Instant) -> Result<()> {
    for name in pods.iter().filter_map(|pod| pod.metadata.name.as_deref()) {
        while cluster.here::<Pod>().get_metadata_opt(name).await.told("waiting for the end of the pods")?.is_some() {
            if Instant::now() >= end {
                return Err(Failure::conflict(format!(
                    "pod {name} has not ended, and would write the state again; it was not deleted. Run the command \
                     again when 'kubectl -n {} get pods' shows no Coordinator",
                    cluster.namespace
                )));
            }
            sleep(EVERY).await;
        }
    }
    Ok(())
}

/// Names of everything that may be state.
struct StateNames {
    secrets: Vec<String>,
    config_map: String,
    claim: String,
}

impl StateNames {
    fn of(described: Option<&Described>) -> Self {
        let secret = described.map_or(names::STATE_SECRET, |described| described.state_secret.as_str());
        let config_map = described.map_or(names::KEK_CONFIG_MAP, |described| described.kek_config_map.as_str());
        let secrets = [secret.to_owned()].into_iter().chain(archives(secret)).chain(parts(secret));
        // A volume claim of another name is the user's own.
        Self { secrets: secrets.collect(), config_map: config_map.to_owned(), claim: names::VOLUME_CLAIM.to_owned() }
    }
}

/// The state that there is.
async fn state(cluster: &Cluster, described: Option<&Described>) -> Result<Vec<String>> {
    let names = StateNames::of(described);
    let mut found = Vec::new();
    let secrets = cluster.here::<Secret>().list_metadata(&ListParams::default()).await.told("reading the Secrets")?;
    let there = secrets.items.into_iter().filter_map(|item| item.metadata.name);
    found.extend(there.filter(|name| names.secrets.contains(name)).map(|name| format!("secret/{name}")));
    let config_map =
        cluster.here::<ConfigMap>().get_metadata_opt(&names.config_map).await.told("reading the ConfigMap")?;
    found.extend(config_map.map(|_| format!("configmap/{}", names.config_map)));
    let claims = cluster.here::<PersistentVolumeClaim>();
    let claim = claims.get_metadata_opt(&names.claim).await.told("reading the volume claim")?;
    found.extend(claim.map(|_| format!("persistentvolumeclaim/{}", names.claim)));
    Ok(found)
}

async fn delete_state(cluster: &Cluster, described: Option<&Described>) -> Result<Vec<String>> {
    let found = state(cluster, described).await?;
    for object in &found {
        let Some((kind, name)) = object.split_once('/') else { continue };
        let params = DeleteParams::default();
        let deleted = match kind {
            "secret" => cluster.here::<Secret>().delete(name, &params).await.map(drop),
            "configmap" => cluster.here::<ConfigMap>().delete(name, &params).await.map(drop),
            _ => cluster.here::<PersistentVolumeClaim>().delete(name, &params).await.map(drop),
        };
        match deleted {
            Err(error) if !is_absent(&error) => return Err(error).told("deleting the state"),
            _ => {}
        }
    }
    Ok(found)
}

/// A namespace that `install` made goes, too, if nothing else has moved in.
async fn delete_namespace(cluster: &Cluster) -> Result<Option<String>> {
    let name = &cluster.namespace;
    let api = cluster.everywhere::<Namespace>();
    let found = match api.get_opt(name).await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(None),
        Err(error) if is_forbidden(&error) => return Ok(None),
        Err(error) => return Err(error).told("reading the namespace"),
    };
    let labels = found.metadata.labels.unwrap_or_default();
    if labels.get(names::MANAGED_BY).is_none_or(|manager| manager != names::MANAGER) {
        return Ok(None);
    }
    let mut others = Vec::new();
    others
        .extend(cluster.list::<Pod>().await.told("reading the pods")?.into_iter().filter_map(|pod| pod.metadata.name));
    others.extend(
        cluster.list::<Service>().await.told("reading the Services")?.into_iter().filter_map(|s| s.metadata.name),
    );
    let claims = cluster.list::<PersistentVolumeClaim>().await.told("reading the volume claims")?;
    // A claim that was just deleted may still be on its way out.
    others.extend(
        claims
            .into_iter()
            .filter(|claim| claim.metadata.deletion_timestamp.is_none())
            .filter_map(|claim| claim.metadata.name),
    );
    let secrets = cluster.here::<Secret>().list_metadata(&ListParams::default()).await.told("reading the Secrets")?;
    others.extend(secrets.items.into_iter().filter_map(|secret| secret.metadata.name));
    let maps =
        cluster.here::<ConfigMap>().list_metadata(&ListParams::default()).await.told("reading the ConfigMaps")?;
    others.extend(maps.items.into_iter().filter_map(|map| map.metadata.name).filter(|name| name != "kube-root-ca.crt"));
    if !others.is_empty() {
        note(&format!("namespace {name} stays, as others are in it: {}", others.join(", ")));
        return Ok(None);
    }
    api.delete(name, &DeleteParams::default()).await.told("deleting the namespace")?;
    Ok(Some(format!("namespace/{name}")))
}
