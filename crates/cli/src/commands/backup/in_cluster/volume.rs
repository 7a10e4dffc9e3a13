//! Restoring into the volume of the only Coordinator.

use std::path::Path;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use marblerun_store::backup::{self, read_whole};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::came_back::{self, Return};
use super::pod::{Exec, Volume};
use super::restore::How;
use super::{tell_lost_writes, to_json};
use crate::args::Global;
use crate::commands::kubernetes::{Cluster, Told as _, in_lines, is_absent};
use crate::failure::Failure;
use crate::output::{Output, shown};
use crate::prompt;
use crate::state_secret::Source;

const EVERY: Duration = Duration::from_millis(500);

/// Copies the backup into the pod beside the state, puts it in place, and starts the pod anew.
pub async fn restore(
    global: &Global,
    output: &Output<'_>,
    cluster: &Cluster,
    path: &Path,
    source: &Source,
    how: How<'_>,
) -> Result<()> {
    let facts = source.inspect()?;
    let bytes = match source {
        Source::File(path) => read_whole(path)?,
        Source::Secret(sealed) => sealed.sealed_data.clone(),
    };
    let volume = Volume::new(Exec::find(cluster).await?);
    let pod = volume.shell().name().to_owned();
    let current = volume.state().await?;
    let is_done = current.as_ref().is_some_and(|(there, _)| *there == bytes);
    if let (Some((_, there)), false, false) = (&current, is_done, how.force) {
        backup::may_replace(&facts, there)?;
    }
    let restarts = !how.options.no_scale;
    let mut steps = Vec::new();
    if !is_done {
        if current.is_some() {
            steps.push("keep its sealed_data as sealed_data.<sequence>.restored beside it".to_owned());
        }
        steps.push("put the backup in place of it, at once".to_owned());
    }
    if restarts {
        steps.push(format!("delete pod {pod}, so that its Deployment starts another one"));
    }
    if how.options.dry_run {
        let value = json!({"dryRun": true, "backup": to_json(&facts), "pod": pod, "steps": steps});
        return output.result(&value, || {
            let steps = steps.iter().map(|step| format!("\n  {step}")).collect::<String>();
            format!("A restore of {} into pod {pod} would{steps}", path.display())
        });
    }
    let steps = steps.iter().map(|step| format!("\n  {step}")).collect::<String>();
    let question = format!("Restore {} into pod {pod} of {}?{steps}\n", path.display(), cluster.server);
    prompt::confirm(global, &question).await?;
    let mut kept = None;
    if !is_done {
        tell_lost_writes();
        kept = volume.replace(&bytes, current.as_ref()).await?;
    }
    let mut outcome = None;
    if restarts {
        restart(cluster, &pod, how.end).await?;
        if !how.options.no_wait {
            outcome = Some(came_back::wait(cluster, how.end).await?);
        }
    }
    let mut value = to_json(&facts);
    if let Value::Object(map) = &mut value {
        map.insert("pod".to_owned(), json!(pod));
        map.insert("archived".to_owned(), json!(kept));
        map.insert("outcome".to_owned(), json!(outcome.as_ref().map(Return::code)));
    }
    output.result(&value, || {
        let mut lines = vec![format!("Restored {} into the volume of pod {pod}", path.display())];
        lines.extend(kept.iter().map(|name| format!("What it replaced is kept beside it as {name}")));
        lines.push(match &outcome {
            Some(Return::Serving) => "The Coordinator runs again, and opened it by itself.".to_owned(),
            Some(Return::Recovery) => format!(
                "The Coordinator runs again, and is in recovery mode: recover with the keys of the time of the backup ({}).",
                came_back::recoverers(&facts)
            ),
            Some(Return::Ready) => "The Coordinator runs again; 'marblerun status' tells how it is.".to_owned(),
            Some(Return::NotReady(_)) => "The Coordinator is starting.".to_owned(),
            None if restarts => "The Coordinator is starting.".to_owned(),
            None => format!(
                "The Coordinator writes nothing any more. Start it anew to load the backup: kubectl -n {} delete pod {pod}",
                cluster.namespace
            ),
        });
        lines.join("\n")
    })?;
    match &outcome {
        Some(Return::NotReady(troubles)) => Err(Failure::conflict(format!(
            "the backup is in place, but the Coordinator was not ready in time. 'marblerun check' goes on waiting, 'marblerun \
             doctor' looks for the cause{}",
            shown(&in_lines(troubles))
        ))),
        _ => Ok(()),
    }
}

async fn restart(cluster: &Cluster, pod: &str, end: Instant) -> Result<()> {
    let pods = cluster.here::<Pod>();
    match pods.delete(pod, &DeleteParams::default()).await {
        Err(error) if is_absent(&error) => return Ok(()),
        other => drop(other.told("deleting the Coordinator's pod")?),
    }
    while pods.get_metadata_opt(pod).await.told("waiting for the end of the pod")?.is_some() {
        if Instant::now() >= end {
            bail!(
                "the backup is in place, and pod {pod} has not ended yet; when it has, its Deployment starts another one"
            );
        }
        sleep(EVERY).await;
    }
    Ok(())
}
