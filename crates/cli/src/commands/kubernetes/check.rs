//! `marblerun check`: whether MarbleRun is ready.

use std::time::Duration;

use anyhow::Result;
use marblerun_install::names;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cluster::{self, Cluster};
use super::waiting::{News, Outcome, in_lines, in_words, until_ready};
use crate::args::{CheckArgs, Global};
use crate::failure::Failure;
use crate::output::{Output, shown, warn};

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
    if global.exit_code && found.iter().all(|(_, is_there)| !is_there) {
        output.set_code(NOT_INSTALLED);
    }
    let state = |is_ready: bool| if is_ready { "ready" } else { "not installed" };
    let value: Value = found.iter().map(|(name, is_ready)| ((*name).to_owned(), json!(state(*is_ready)))).collect();
    output.report(&json!({"namespace": cluster.namespace, "deployments": value}), String::new)
}
