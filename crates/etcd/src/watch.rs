//! Says that something may have changed, and nothing more. What is watched is small: `about`, which each commit writes,
//! the values of the hosts, and the addresses.
//!
//! Whatever ends a watch (a lost connection, a compaction, another leader) begins a new one from now, and is itself told
//! as a change, so that no gap goes unnoticed for long.

use std::time::Duration;

use marblerun_store::cluster::Changed;
use tonic::{Request, Status};

use crate::connection::Connection;
use crate::keys::{Keys, end_of};
use crate::wire::watch_client::WatchClient;
use crate::wire::watch_request::RequestUnion;
use crate::wire::{WatchCreateRequest, WatchRequest};

/// etcd tells its progress every ten minutes; the connection itself is asked by HTTP/2 pings.
const SILENCE: Duration = Duration::from_secs(900);
const STARTING: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

const WATCHED: [(i64, Changed); 3] = [(1, Changed::State), (2, Changed::HostKeys), (3, Changed::Peers)];

pub(crate) async fn all(connection: &Connection, keys: &Keys, on_change: &(impl Fn(Changed) + Send + Sync)) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        if let Err(status) = once(connection, keys, on_change, &mut pause).await {
            tracing::debug!(%status, "the watch broke");
            connection.turn();
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn once(
    connection: &Connection,
    keys: &Keys,
    on_change: &(impl Fn(Changed) + Send + Sync),
    pause: &mut Duration,
) -> Result<(), Status> {
    let channel = connection.channel().map_err(|error| Status::unavailable(error.to_string()))?;
    let (sender, receiver) = tokio::sync::mpsc::channel(WATCHED.len());
    for (watch_id, changed) in WATCHED {
        let (key, range_end) = match changed {
            Changed::State => (keys.about(), Vec::new()),
            Changed::HostKeys => (keys.entries(), end_of(&keys.entries())),
            Changed::Peers => (keys.peers(), end_of(&keys.peers())),
        };
        let create = WatchCreateRequest { key, range_end, start_revision: 0, progress_notify: true, watch_id };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        // It takes as many as there are.
        let _ = sender.try_send(request);
    }
    let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    // A member that has lost its leader ends the watch instead of being silent.
    request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
    let mut client = WatchClient::new(channel);
    let answers = tokio::time::timeout(STARTING, client.watch(request)).await;
    let mut answers = answers.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")))?.into_inner();
    loop {
        let answer = tokio::time::timeout(SILENCE, answers.message()).await;
        let Some(answer) = answer.map_err(|_| Status::deadline_exceeded("the watch is silent"))?? else {
            return Ok(());
        };
        if answer.canceled {
            return Err(Status::cancelled(format!("{} ({})", answer.cancel_reason, answer.compact_revision)));
        }
        let changed = WATCHED.iter().find(|(id, _)| *id == answer.watch_id).map(|(_, changed)| *changed);
        // When it begins: whatever happened since the last one.
        if let Some(changed) = changed.filter(|_| answer.created || !answer.events.is_empty()) {
            *pause = SHORTEST_PAUSE;
            on_change(changed);
        }
    }
}
