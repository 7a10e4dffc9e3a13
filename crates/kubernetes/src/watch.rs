//! Three watches that say that something may have changed, and nothing more: metadata alone is asked for.
//!
//! Each is a list, to know from where, and a watch from there. Whatever ends a watch (its time, a lost connection, 410
//! because the API server forgot where we were) begins with a list again, so that no gap goes unnoticed for long.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{ObjectList, PartialObjectMeta, Request as Build};
use kube::{Client, Resource};
use marblerun_store::cluster::Changed;

use crate::discovery::of_service;
use crate::names::Names;
use crate::refusals::Refusals;
use crate::verdict::Asked;

/// How long the API server keeps a watch.
const WATCHING: u32 = 240;
/// A watch that says nothing for longer is dead; the API server would have ended it.
const SILENCE: Duration = Duration::from_secs(270);
const LISTING: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Where we may not watch, somebody may permit it later.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// One of the three.
struct Watch<'a> {
    client: &'a Client,
    build: Build,
    params: ListParams,
    changed: Changed,
    asked: Asked<'a>,
    refusals: &'a Refusals,
}

/// How a watch ended.
enum End {
    /// As it does; or 410.
    Expired,
    Failed(String),
    Refused,
}

pub(crate) async fn all(
    client: &Client,
    names: &Names,
    refusals: &Refusals,
    on_change: &(impl Fn(Changed) + Send + Sync),
) {
    let namespace = names.namespace();
    let watch = |build: String, params: ListParams, changed, resource, name| Watch {
        client,
        build: Build::new(build),
        params,
        changed,
        asked: Asked { verb: "watch", resource, name, namespace },
        refusals,
    };
    let named = |name: &str| ListParams::default().fields(&format!("metadata.name={name}"));
    let (secret, map, service) = (names.secret(), names.kek_map(), names.key_service());
    let path = Some(namespace);
    let state = watch(Secret::url_path(&(), path), named(secret), Changed::State, "secrets", secret);
    let keys = watch(ConfigMap::url_path(&(), path), named(map), Changed::HostKeys, "configmaps", map);
    let peers = watch(EndpointSlice::url_path(&(), path), of_service(names), Changed::Peers, "endpointslices", service);
    tokio::join!(state.run(on_change), keys.run(on_change), peers.run(on_change));
}

impl Watch<'_> {
    async fn run(&self, on_change: &(impl Fn(Changed) + Send + Sync)) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let (end, lived) = self.once(on_change).await;
            if lived {
                pause = SHORTEST_PAUSE;
            }
            match end {
                End::Expired => tokio::time::sleep(jittered(SHORTEST_PAUSE)).await,
                End::Refused => {
                    self.refusals.note(self.asked, "changes are noticed a little later, as nothing tells of them");
                    tokio::time::sleep(jittered(REFUSED_PAUSE)).await;
                }
                End::Failed(why) => {
                    tracing::debug!(watch = %self.asked, why, "the watch broke");
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// One list and one watch. Whether the watch told anything at all.
    async fn once(&self, on_change: &(impl Fn(Changed) + Send + Sync)) -> (End, bool) {
        let revision = match self.list().await {
            Ok(revision) => revision,
            Err(end) => return (end, false),
        };
        // Whatever happened since the last watch.
        on_change(self.changed);
        match self.follow(&revision, on_change).await {
            Ok(lived) => (End::Expired, lived),
            Err((error, lived)) => (ending(&error), lived),
        }
    }

    async fn list(&self) -> Result<String, End> {
        let request = self.build.list_metadata(&self.params).map_err(|error| End::Failed(error.to_string()))?;
        let list = tokio::time::timeout(LISTING, self.client.request::<ObjectList<PartialObjectMeta<Secret>>>(request));
        let list = list.await.map_err(|_| End::Failed("no answer".to_owned()))?.map_err(|error| ending(&error))?;
        list.metadata.resource_version.ok_or_else(|| End::Failed("the list has no resourceVersion".to_owned()))
    }

    async fn follow(
        &self,
        revision: &str,
        on_change: &(impl Fn(Changed) + Send + Sync),
    ) -> Result<bool, (kube::Error, bool)> {
        let params = WatchParams {
            label_selector: self.params.label_selector.clone(),
            field_selector: self.params.field_selector.clone(),
            timeout: Some(WATCHING),
            bookmarks: true,
            send_initial_events: false,
        };
        let request = self.build.watch_metadata(&params, revision);
        let request = request.map_err(|error| (kube::Error::BuildRequest(error), false))?;
        let events = self.client.request_events::<PartialObjectMeta<Secret>>(request);
        let events = tokio::time::timeout(LISTING, events).await.unwrap_or_else(|_| Err(silent()));
        let events = events.map_err(|error| (error, false))?;
        pin_mut!(events);
        let mut lived = false;
        loop {
            match tokio::time::timeout(SILENCE, events.next()).await {
                Err(_) | Ok(None) => return Ok(lived),
                Ok(Some(Ok(WatchEvent::Bookmark(_)))) => lived = true,
                Ok(Some(Ok(WatchEvent::Error(status)))) => return Err((kube::Error::Api(Box::new(*status)), lived)),
                Ok(Some(Ok(_))) => {
                    lived = true;
                    on_change(self.changed);
                }
                Ok(Some(Err(error))) => return Err((error, lived)),
            }
        }
    }
}

fn silent() -> kube::Error {
    kube::Error::ReadEvents(std::io::Error::from(std::io::ErrorKind::TimedOut))
}

fn ending(error: &kube::Error) -> End {
    match error {
        kube::Error::Api(status) if status.code == 410 => End::Expired,
        kube::Error::Api(status) if status.code == 403 => End::Refused,
        error => End::Failed(crate::exchange::chain(error)),
    }
}

/// Between half and all of it, so that instances that lost their watches together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8);
    let share = u32::try_from(random % 512).unwrap_or_default();
    pause.mul_f64(0.5 + f64::from(share) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_and_are_never_longer_than_meant() {
        let pauses: std::collections::HashSet<_> = (0..50).map(|_| jittered(LONGEST_PAUSE)).collect();
        assert!(pauses.len() > 5);
        assert!(pauses.iter().all(|pause| *pause >= LONGEST_PAUSE / 2 && *pause < LONGEST_PAUSE));
    }
}
