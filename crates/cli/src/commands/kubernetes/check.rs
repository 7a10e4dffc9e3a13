//! `marblerun check`: whether MarbleRun is ready.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use marblerun_install::names;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cluster::{self, Cluster, Told as _};
use super::installation::Described;
use super::waiting::{News, Outcome, in_lines, in_words, until_ready};
use crate::args::{CheckArgs, Global};
use crate::failure::Failure;
use crate::output::{Output, shown, warn};
use crate::trust;

/// Exit code of `check --exit-code` where nothing is installed.
const NOT_INSTALLED: u8 = 3;

/// Waits for injector and Coordinator, one after the other.
pub async fn run(global: &Global, output: &Output<'_>, args: &CheckArgs) -> Result<()> {
    let cluster = Cluster::find(cluster::namespace(global)?, &args.cluster).await?;
    let end = Instant::now() + Duration::from_secs(args.timeout);
    let mut found = Vec::new();
    for name in [names::INJECTOR, names::COORDINATOR] {
        let outcome = until_ready(&cluster, name, end, |news| match news {
            News::Rollout(rollout) => {
                output.progress(&format!("{name} pods ready: {}/{}", rollout.available, rollout.wanted));
            }
            News::Trouble(trouble) => warn(&in_words(trouble)),
        })
        .await?;
        match outcome {
            Outcome::Ready => found.push((name, true)),
            Outcome::Absent => {
                output.progress(&format!("{name} is not installed on this cluster"));
                found.push((name, false));
            }
            Outcome::ScaledDown => {
                return Err(Failure::conflict(format!(
                    "deployment {name} is scaled to 0, so nothing of it runs; \
                     'kubectl -n {} scale deployment/{name} --replicas 1' starts it",
                    cluster.namespace
                )));
            }
            Outcome::NotReady(rollout, troubles) => {
                // Scripts know this text.
                return Err(Failure::conflict(format!(
                    "deployment {name} was not ready after {} seconds ({}/{} pods available){}",
                    args.timeout,
                    rollout.available,
                    rollout.wanted,
                    shown(&in_lines(&troubles))
                )));
            }
        }
    }
    let is_simulation = runs_in_simulation(&cluster).await?;
    if is_simulation {
        warn(trust::SIMULATION_WARNING);
    }
    if global.exit_code && found.iter().all(|(_, is_there)| !is_there) {
        output.set_code(NOT_INSTALLED);
    }
    let state = |is_ready: bool| if is_ready { "ready" } else { "not installed" };
    let value: Value = found.iter().map(|(name, is_ready)| ((*name).to_owned(), json!(state(*is_ready)))).collect();
    let report = json!({"namespace": cluster.namespace, "deployments": value, "simulation": is_simulation});
    output.report(&report, String::new)
}

/// Whether the Coordinator is told to run without protection.
async fn runs_in_simulation(cluster: &Cluster) -> Result<bool> {
    let found = cluster.here::<Deployment>().get_opt(names::COORDINATOR).await;
    let deployment = found.told("reading the Coordinator's Deployment")?;
    Ok(deployment.is_some_and(|deployment| Described::of(&deployment).is_simulation))
}
