//! Waiting until a Deployment is ready, and hearing meanwhile why it is not.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use marblerun_install::rollout::{Rollout, Trouble, troubles};
use tokio::time::{Instant, sleep_until};

use super::cluster::{Cluster, Told as _, is_forbidden};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Pods that are being made are no trouble yet.
const PATIENCE: Duration = Duration::from_secs(3);

/// How the wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All pods serve.
    Ready,
    /// There is no such Deployment.
    Absent,
    /// No pods are wanted.
    ScaledDown,
    /// The time is over.
    NotReady(Rollout, Vec<Trouble>),
}

/// What is heard while waiting.
#[derive(Debug)]
pub enum News<'a> {
    /// The numbers have changed.
    Rollout(Rollout),
    /// Something is in the way.
    Trouble(&'a Trouble),
}

/// Waits for a Deployment, at most until `end`, but looks at least once.
pub async fn until_ready(
    cluster: &Cluster,
    name: &str,
    end: Instant,
    mut hear: impl FnMut(News<'_>),
) -> Result<Outcome> {
    let begin = Instant::now();
    let mut last = None;
    let mut known: Vec<Trouble> = Vec::new();
    loop {
        let found = cluster.here::<Deployment>().get_opt(name).await.told("reading the Deployment")?;
        let Some(deployment) = found else { return Ok(Outcome::Absent) };
        let rollout = Rollout::of(&deployment);
        if rollout.is_scaled_down() {
            return Ok(Outcome::ScaledDown);
        }
        if last != Some(rollout) {
            hear(News::Rollout(rollout));
            last = Some(rollout);
        }
        if rollout.is_ready() {
            return Ok(Outcome::Ready);
        }
        let is_over = Instant::now() >= end;
        if is_over || begin.elapsed() >= PATIENCE {
            let now = look_for_trouble(cluster, &deployment).await?;
            for trouble in now.iter().filter(|trouble| !known.contains(trouble)) {
                hear(News::Trouble(trouble));
            }
            known.clone_from(&now);
            if is_over {
                return Ok(Outcome::NotReady(rollout, now));
            }
        }
        // The last look is at the end.
        sleep_until((Instant::now() + EVERY).min(end)).await;
    }
}

/// Why the pods of a Deployment are not ready, as far as the user may see.
pub async fn look_for_trouble(cluster: &Cluster, deployment: &Deployment) -> Result<Vec<Trouble>> {
    let pods = pods_of(cluster, deployment).await?;
    let warnings = ListParams::default().fields("type=Warning");
    let events = match cluster.here::<Event>().list(&warnings).await {
        Ok(events) => events.items,
        Err(error) if is_forbidden(&error) => Vec::new(),
        Err(error) => return Err(error).told("reading the events"),
    };
    Ok(troubles(deployment, &pods, &events))
}

/// The pods of a Deployment.
pub async fn pods_of(cluster: &Cluster, deployment: &Deployment) -> Result<Vec<Pod>> {
    let labels = deployment.spec.as_ref().and_then(|spec| spec.selector.match_labels.as_ref());
    let selector = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    match cluster.here::<Pod>().list(&ListParams::default().labels(&selector.join(","))).await {
        Ok(pods) => Ok(pods.items),
        Err(error) if is_forbidden(&error) => Ok(Vec::new()),
        Err(error) => Err(error).told("reading the pods"),
    }
}

/// Troubles in lines, for people.
pub fn in_lines(troubles: &[Trouble]) -> String {
    troubles.iter().map(|trouble| format!("\n  {}", in_words(trouble))).collect()
}

/// One, in words.
pub fn in_words(trouble: &Trouble) -> String {
    format!("{}: {} ({})", trouble.object, trouble.what, trouble.advice)
}
