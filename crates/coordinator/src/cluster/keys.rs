//! Key encryption keys from peers: as long as the node lacks some that would open what lies there, all peers are asked, at
//! the same time, and again after a pause that grows, or at once when something has changed.

use std::sync::Arc;
use std::time::Duration;

use marblerun_store::cluster::{Kek, KekId, PeerAnswer};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::call::{CallError, Connection};
use super::peers::Inner;
use crate::server::connection::stopped;
use crate::untrusted::for_log;

/// Asks for ever.
pub(super) async fn run(inner: Arc<Inner>) {
    let (mut nudges, mut heard, mut stop) = (inner.nudges(), inner.heard.subscribe(), inner.stopping());
    let mut pause = inner.times.first_retry;
    loop {
        nudges.mark_unchanged();
        heard.mark_unchanged();
        let wanted = inner.node.wanted_keks();
        if wanted.is_empty() {
            pause = inner.times.first_retry;
            tokio::select! {
                () = stopped(&mut stop) => return,
                _ = nudges.changed() => {}
                _ = heard.changed() => {}
            }
            continue;
        }
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = ask_all(&inner, &wanted) => {}
        }
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = sleep(jittered(pause, random())) => pause = (pause * 2).min(inner.times.last_retry),
            _ = nudges.changed() => pause = inner.times.first_retry,
        }
    }
}

/// Asks every peer that was greeted. Each answer is handed on as it comes.
async fn ask_all(inner: &Arc<Inner>, wanted: &[KekId]) {
    let newest = inner.newest().clone();
    let greeted = newest.into_iter().filter(|peer| matches!(peer.answer, PeerAnswer::Greeted(_)));
    let mut asking = JoinSet::new();
    for peer in greeted {
        let (inner, wanted) = (Arc::clone(inner), wanted.to_vec());
        asking.spawn(async move {
            let asked = timeout(inner.times.call, ask(&inner, &peer.address, &wanted)).await;
            let silent = || Err(CallError::Silent(format!("no answer within {:?}", inner.times.call)));
            match asked.unwrap_or_else(|_| silent()) {
                // What was not asked for is not looked at.
                Ok(kek) if wanted.contains(&kek.id()) => {
                    tracing::info!(address = peer.address, kek = hex::encode(kek.id().0), "key received from a peer");
                    inner.node.offer(&peer.address, vec![kek]);
                }
                Ok(kek) => {
                    let kek = hex::encode(kek.id().0);
                    tracing::debug!(address = peer.address, kek, "a peer gave a key that does not fit");
                }
                Err(error) => {
                    tracing::debug!(address = peer.address, error = for_log(&error.to_string()), "no key from a peer");
                }
            }
        });
    }
    asking.join_all().await;
}

async fn ask(inner: &Inner, address: &str, wanted: &[KekId]) -> Result<Kek, CallError> {
    let connection = Connection::to(inner, address).await?;
    let policy = inner.appraiser.meeting();
    policy.accepts_giver(&connection.peer).map_err(|refusal| {
        tracing::warn!(address, %refusal, "no key is taken from a peer");
        CallError::Rejected(refusal.to_string())
    })?;
    connection.kek(wanted).await
}

/// Between half of a pause and the whole, so that instances that began together do not go on asking together.
fn jittered(pause: Duration, random: u8) -> Duration {
    pause / 2 + pause * u32::from(random) / 510
}

/// Without randomness there is no jitter, and nothing worse.
fn random() -> u8 {
    let mut byte = [0];
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_between_half_and_the_whole() {
        let pause = Duration::from_secs(2);
        assert_eq!(jittered(pause, 0), Duration::from_secs(1));
        assert_eq!(jittered(pause, 255), pause);
        assert!((0..=255).all(|random| (pause / 2..=pause).contains(&jittered(pause, random))));
    }
}
