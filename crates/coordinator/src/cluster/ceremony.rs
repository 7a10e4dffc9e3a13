//! Recoveries over the peer channel. Only a peer that may have secrets is told any, and only what a peer says that may
//! be believed counts; for the others there is the bare fact that a recovery goes on, or has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use marblerun_store::cluster::PeerAnswer;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::call::Connection;
use super::peers::{Inner, Peers};
use crate::core::{Exchange, Others, Union};
use crate::untrusted::for_log;

impl Others for Peers {
    fn me(&self) -> [u8; 16] {
        self.inner.node.boot_id().0
    }

    fn exchange(&self, mine: Union) -> Exchange {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { exchange(&inner, mine).await })
    }

    fn serving(&self) -> Option<String> {
        Peers::serving(self)
    }

    fn have_been_asked(&self) -> bool {
        self.inner.greeted.load(Ordering::Acquire)
    }

    fn precedence(&self) -> std::time::Duration {
        self.inner.times.precedence
    }
}

/// Tells every peer that recovers. Who has not answered in time is not reachable.
async fn exchange(inner: &Arc<Inner>, mine: Union) -> Vec<Union> {
    let newest = inner.newest().clone();
    let recovering = newest.into_iter().filter(|peer| match &peer.answer {
        PeerAnswer::Greeted(greeting) => greeting.recovering,
        _ => false,
    });
    let mine = Arc::new(mine);
    let mut telling = JoinSet::new();
    for peer in recovering {
        let (inner, mine) = (Arc::clone(inner), Arc::clone(&mine));
        telling.spawn(async move {
            let told = timeout(inner.times.ceremony, tell(&inner, &peer.address, &mine)).await;
            match told {
                Ok(theirs) => theirs,
                Err(_) => Err(format!("no answer within {:?}", inner.times.ceremony)),
            }
            .inspect_err(|error| {
                tracing::info!(address = peer.address, error = for_log(error), "a peer was not told of the recovery");
            })
            .ok()
        });
    }
    telling.join_all().await.into_iter().flatten().collect()
}

async fn tell(inner: &Inner, address: &str, mine: &Union) -> Result<Union, String> {
    let connection = Connection::to(inner, address).await.map_err(|error| error.to_string())?;
    let policy = inner.appraiser.policy();
    let bare = policy.accepts_receiver(&connection.peer).is_err().then(|| mine.without_secrets());
    let theirs = connection.ceremony(bare.as_ref().unwrap_or(mine)).await.map_err(|error| error.to_string())?;
    Ok(if policy.accepts_giver(&connection.peer).is_ok() { theirs } else { theirs.without_secrets() })
}
