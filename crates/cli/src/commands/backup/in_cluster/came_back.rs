//! Whether Coordinators that were started over a restored state opened it by themselves.

use std::time::Duration;

use anyhow::Result;
use http::Request;
use k8s_openapi::api::core::v1::Service;
use marblerun_api::v2;
use marblerun_install::names;
use marblerun_install::rollout::Trouble;
use marblerun_store::backup::{Facts, scheme_name};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use crate::commands::kubernetes::{Cluster, Outcome, until_ready};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// A Coordinator in recovery mode may still get the key from another one.
const PATIENCE: Duration = Duration::from_secs(10);

/// How they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Return {
    /// They serve the state.
    Serving,
    /// They wait for the recovery keys.
    Recovery,
    /// They are ready, and it could not be asked what for.
    Ready,
    /// Not all are ready in time, with what is in the way.
    NotReady(Vec<Trouble>),
}

impl Return {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Recovery => "recovery",
            Self::Ready => "ready",
            Self::NotReady(_) => "not_ready",
        }
    }
}

/// Waits for them.
pub async fn wait(cluster: &Cluster, end: Instant) -> Result<Return> {
    match until_ready(cluster, names::COORDINATOR, end, |_| {}).await? {
        Outcome::Ready => {}
        Outcome::NotReady(_, troubles) => return Ok(Return::NotReady(troubles)),
        Outcome::Absent | Outcome::ScaledDown => return Ok(Return::NotReady(Vec::new())),
    }
    let end = end.min(Instant::now() + PATIENCE);
    let mut last = None;
    loop {
        // The client by itself asks again and again where nobody answers behind a Service.
        if let Ok(Some(told)) = timeout_at(end, phase(cluster)).await {
            last = Some(told);
        }
        match last {
            Some(3) => return Ok(Return::Serving),
            Some(1) if Instant::now() >= end => return Ok(Return::Recovery),
            _ if Instant::now() >= end => return Ok(Return::Ready),
            _ => sleep(EVERY).await,
        }
    }
}

/// What `GET /api/v2/status` answers.
#[derive(Deserialize)]
struct Answer {
    data: v2::Status,
}

/// The phase that one of them tells by way of the API server. Nobody proves it; it is told as a help and trusted for
/// nothing. `None` where that way is closed.
async fn phase(cluster: &Cluster) -> Option<i64> {
    let service = cluster.here::<Service>().get_opt(names::CLIENT_SERVICE).await.ok()??;
    let port = service.spec?.ports?.into_iter().next()?;
    let port = port.name.unwrap_or_else(|| port.port.to_string());
    let path = format!(
        "/api/v1/namespaces/{}/services/https:{}:{port}/proxy/api/v2/status",
        cluster.namespace,
        names::CLIENT_SERVICE
    );
    let request = Request::get(path).body(Vec::new()).ok()?;
    cluster.client.request::<Answer>(request).await.ok().map(|answer| answer.data.code)
}

/// Whose keys recover a state, in words.
pub fn recoverers(facts: &Facts) -> String {
    let sets = facts.recovery.iter().map(|set| {
        let names: Vec<&str> = set.parties.iter().map(|party| party.name.as_str()).collect();
        match (names.as_slice(), scheme_name(set.scheme)) {
            ([], _) => format!("the {} holders of the recovery keys", set.unassigned_commitments.len().max(1)),
            ([only], _) => (*only).to_owned(),
            (_, "all") => format!("all of {}", names.join(", ")),
            _ => format!("{} of {}", set.threshold, names.join(", ")),
        }
    });
    let sets: Vec<String> = sets.collect();
    if sets.is_empty() { "the holder of the recovery key".to_owned() } else { sets.join(", or ") }
}
