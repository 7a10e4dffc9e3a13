//! `marblerun doctor`: what is wrong with an installation, and what to do about it. Changes nothing.

mod finding;
mod network;
mod nodes;
mod rights;
mod server;
mod storage;
mod webhook;
mod workload;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;

use super::cluster::{self, Cluster};
use super::installation::Installation;
use crate::args::{ClusterArgs, Global};
use crate::failure::Failure;
use crate::output::{Output, shown};
use finding::{Finding, Level};

/// Looks at everything. Fails if something is wrong.
pub async fn run(global: &Global, output: &Output<'_>, args: &ClusterArgs) -> Result<()> {
    let cluster = Cluster::find(cluster::namespace(global)?, args).await?;
    let findings = examine(&cluster).await;
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (warnings, failures) = (count(Level::Warn), count(Level::Fail));
    let value = json!({
        "server": cluster.server,
        "context": cluster.context,
        "namespace": cluster.namespace,
        "findings": findings,
        "warnings": warnings,
        "failures": failures,
    });
    output.result(&value, || {
        let lines = findings.iter().map(Finding::in_words).collect::<Vec<_>>().join("\n");
        shown(&format!("{lines}\n{warnings} warnings, {failures} failures"))
    })?;
    match failures {
        0 => Ok(()),
        1 => Err(Failure::conflict("1 check failed")),
        more => Err(Failure::conflict(format!("{more} checks failed"))),
    }
}

async fn examine(cluster: &Cluster) -> Vec<Finding> {
    let now = Timestamp::now();
    let (mut findings, is_reached) = server::examine(cluster).await;
    if !is_reached {
        // Everything else would say the same.
        return findings;
    }
    findings.extend(rights::examine(cluster).await);
    let installation = match Installation::look(cluster).await {
        Ok(installation) => installation,
        Err(error) => {
            findings.push(Finding::unseen("installation", &format!("{error:#}")));
            return findings;
        }
    };
    findings.extend(workload::keeper(&installation));
    findings.extend(nodes::examine(cluster, &installation).await);
    findings.extend(workload::examine(cluster, &installation).await);
    if installation.coordinator.is_some() {
        findings.extend(storage::examine(cluster, &installation).await);
        findings.extend(network::examine(cluster, &installation).await);
    }
    findings.extend(webhook::examine(cluster, &installation, now).await);
    findings
}
