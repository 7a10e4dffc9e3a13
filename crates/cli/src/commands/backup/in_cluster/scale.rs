//! Stopping the Coordinators, and starting as many again. How many there were is noted on the Deployment in the same
//! write that stops them, so that a restore that was interrupted anywhere can be finished by running it again.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use marblerun_install::names;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::commands::kubernetes::{Cluster, Told as _};
use crate::failure::Failure;

/// Number of Coordinators before a restore, on their Deployment.
pub const REMEMBERED: &str = "marblerun/replicas-before-restore";
/// Who writes.
const MANAGER: &str = "marblerun-restore";
/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);

/// How many Coordinators there are to be after the restore.
pub fn former(deployment: &Deployment) -> i32 {
    let noted = deployment.metadata.annotations.as_ref().and_then(|notes| notes.get(REMEMBERED));
    noted.and_then(|noted| noted.parse().ok()).unwrap_or_else(|| wanted(deployment))
}

/// Whether a restore was begun and not finished.
pub fn is_interrupted(deployment: &Deployment) -> bool {
    deployment.metadata.annotations.as_ref().is_some_and(|notes| notes.contains_key(REMEMBERED))
}

/// How many there are to be now.
pub fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Stops all.
pub async fn stop(cluster: &Cluster, deployment: &Deployment) -> Result<()> {
    if wanted(deployment) == 0 {
        return Ok(());
    }
    let change = json!({
        "metadata": {"annotations": {REMEMBERED: former(deployment).to_string()}},
        "spec": {"replicas": 0},
    });
    patch(cluster, &change, "stopping the Coordinators").await
}

/// Starts as many as there were.
pub async fn start(cluster: &Cluster, replicas: i32) -> Result<()> {
    let change = json!({"metadata": {"annotations": {REMEMBERED: null}}, "spec": {"replicas": replicas}});
    patch(cluster, &change, "starting the Coordinators again").await
}

async fn patch(cluster: &Cluster, change: &serde_json::Value, doing: &'static str) -> Result<()> {
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let deployments = cluster.here::<Deployment>();
    deployments.patch(names::COORDINATOR, &params, &Patch::Merge(change)).await.told(doing)?;
    Ok(())
}

/// Names of the pods in which a Coordinator may run.
pub async fn running(cluster: &Cluster, deployment: &Deployment) -> Result<Vec<String>> {
    let labels = deployment.spec.as_ref().and_then(|spec| spec.selector.match_labels.as_ref());
    let selector = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    let pods = cluster.here::<Pod>().list(&ListParams::default().labels(&selector.join(","))).await;
    let pods = pods.told("looking for pods of the Coordinator")?.items;
    Ok(pods.into_iter().filter(|pod| !has_ended(pod)).filter_map(|pod| pod.metadata.name).collect())
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Waits until none runs any more.
pub async fn await_end(cluster: &Cluster, end: Instant) -> Result<()> {
    loop {
        let found = cluster.here::<Deployment>().get_opt(names::COORDINATOR).await;
        let Some(deployment) = found.told("reading the Coordinator's Deployment")? else { return Ok(()) };
        let pods = running(cluster, &deployment).await?;
        if pods.is_empty() && is_observed(&deployment) {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Failure::conflict(format!(
                "pods have not ended ({}), and could write to the state; it was not replaced. Run the command again when \
                 'kubectl -n {} get pods' shows no Coordinator: it goes on where it stopped, and starts {} again",
                if pods.is_empty() {
                    "the Deployment's controller does not answer".to_owned()
                } else {
                    pods.join(", ")
                },
                cluster.namespace,
                former(&deployment),
            )));
        }
        sleep(EVERY).await;
    }
}

/// Whether the controller knows that none is wanted, and so makes no new pod. Where there is no controller it never says
/// anything.
fn is_observed(deployment: &Deployment) -> bool {
    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_none_or(|observed| observed >= deployment.metadata.generation.unwrap_or_default())
}
