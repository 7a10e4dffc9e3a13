//! Rounds of greetings: every listed address is asked, all at the same time, each for so long and no longer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use marblerun_store::cluster::{Peer, PeerAnswer, PeerGreeting};
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::call::{CallError, Connection};
use super::peers::Inner;
use crate::server::connection::stopped;
use crate::untrusted::for_log;

/// More addresses than any cluster has Coordinators are not asked: who lists them is not trusted.
const MOST: usize = 64;

/// Greets for ever.
pub(super) async fn run(inner: Arc<Inner>) {
    let (mut nudges, mut stop) = (inner.nudges(), inner.stopping());
    loop {
        nudges.mark_unchanged();
        tokio::select! {
            () = stopped(&mut stop) => return,
            _ = round(&inner, inner.times.greeting) => {}
        }
        if let Some(coordinator) = inner.recovering() {
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = coordinator.tell_of_recovery() => {}
            }
        }
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = sleep(inner.times.round) => {}
            _ = nudges.changed() => {}
        }
    }
}

/// One round. The node hears what came of it.
pub(super) async fn round(inner: &Arc<Inner>, deadline: Duration) -> Vec<Peer> {
    let _one_at_a_time = inner.rounds.lock().await;
    let listed = resolved(inner.addresses.listed(), deadline).await;
    let mut asking = JoinSet::new();
    for (place, listed) in listed.into_iter().enumerate() {
        let inner = Arc::clone(inner);
        asking.spawn(async move {
            let answer = match &listed {
                Ok(address) => answer(&inner, address, deadline).await,
                Err((_, reason)) => PeerAnswer::Silent(reason.clone()),
            };
            let (Ok(address) | Err((address, _))) = listed;
            (place, Peer { address, answer })
        });
    }
    let mut peers = asking.join_all().await;
    peers.sort_by_key(|(place, _)| *place);
    let peers: Vec<Peer> = peers.into_iter().map(|(_, peer)| peer).collect();

    let addresses: Vec<String> = peers.iter().map(|peer| peer.address.clone()).collect();
    inner.retain(&addresses);
    let before = std::mem::replace(&mut *inner.newest(), peers.clone());
    report(&before, &peers);
    inner.greeted.store(true, Ordering::Release);
    inner.node.heard(peers.clone());
    inner.heard.send_modify(|count| *count = count.wrapping_add(1));
    peers
}

/// Addresses with names taken apart: behind one name there may be several Coordinators.
async fn resolved(listed: Vec<String>, deadline: Duration) -> Vec<Result<String, (String, String)>> {
    let mut lookups = JoinSet::new();
    for (place, address) in listed.into_iter().take(MOST).enumerate() {
        lookups.spawn(async move {
            let found = match timeout(deadline / 2, lookup_host(&address)).await {
                Ok(Ok(found)) => Ok(found.map(|address| address.to_string()).collect::<Vec<_>>()),
                Ok(Err(error)) => Err(format!("its name is not known: {error}")),
                Err(_) => Err("its name was not found in time".to_owned()),
            };
            (place, address, found)
        });
    }
    let mut looked_up = lookups.join_all().await;
    looked_up.sort_by_key(|(place, ..)| *place);
    let mut resolved = Vec::new();
    for (_, name, found) in looked_up {
        let entries = match found {
            Ok(found) => found.into_iter().map(Ok).collect(),
            Err(reason) => vec![Err((name, reason))],
        };
        for entry in entries {
            if !resolved.contains(&entry) {
                resolved.push(entry);
            }
        }
    }
    resolved.truncate(MOST);
    resolved
}

async fn answer(inner: &Inner, address: &str, deadline: Duration) -> PeerAnswer {
    match timeout(deadline, greet(inner, address)).await {
        Ok(Ok(greeting)) if greeting.boot == inner.node.boot_id() => PeerAnswer::Myself,
        Ok(Ok(greeting)) => PeerAnswer::Greeted(Box::new(greeting)),
        Ok(Err(error)) => {
            inner.hang_up(address);
            match error {
                CallError::Nobody => PeerAnswer::Nobody,
                CallError::Silent(reason) | CallError::Unable(reason) => PeerAnswer::Silent(reason),
                CallError::Rejected(reason) => PeerAnswer::Rejected(reason),
            }
        }
        Err(_) => {
            inner.hang_up(address);
            PeerAnswer::Silent(format!("no answer within {deadline:?}"))
        }
    }
}

async fn greet(inner: &Inner, address: &str) -> Result<PeerGreeting, CallError> {
    let boot = inner.node.boot_id();
    if let Some(connection) = inner.connection(address) {
        // What was asked for when it was attested may be less than what is asked for now.
        if let Err(refusal) = inner.appraiser.meeting().accepts(&connection.peer) {
            return Err(CallError::Rejected(format!("the peer is refused: {refusal}")));
        }
        match connection.hello(boot).await {
            // Its process may be another one by now.
            Err(CallError::Silent(_)) => inner.hang_up(address),
            answered => return answered,
        }
    }
    let connection = Connection::open(inner, address).await?;
    let greeting = connection.hello(boot).await?;
    inner.keep(address, connection);
    Ok(greeting)
}

/// What has changed since the round before.
fn report(before: &[Peer], now: &[Peer]) {
    for peer in now {
        let was = before.iter().find(|before| before.address == peer.address).map(|before| &before.answer);
        let address = for_log(&peer.address);
        match (&peer.answer, was) {
            (PeerAnswer::Greeted(_), Some(PeerAnswer::Greeted(_))) => {}
            (PeerAnswer::Greeted(greeting), _) => {
                let (serving, recovering, version) = (greeting.serving, greeting.recovering, &greeting.version);
                tracing::info!(address, serving, recovering, version, "peer greeted");
            }
            (PeerAnswer::Rejected(reason), was) if was != Some(&peer.answer) => {
                tracing::warn!(address, reason = for_log(reason), "peer not accepted");
            }
            (PeerAnswer::Silent(reason), Some(PeerAnswer::Greeted(_)) | None) => {
                tracing::info!(address, reason = for_log(reason), "peer does not answer");
            }
            (PeerAnswer::Nobody, Some(PeerAnswer::Greeted(_))) => tracing::info!(address, "peer has gone"),
            _ => {}
        }
    }
}
