//! The other Coordinators, as the rest of the program sees them: one handle that greets them, asks them for keys, tells
//! them of recoveries, and serves them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use marblerun_attestation::PeerAttestation;
use marblerun_state::BootId;
use marblerun_store::cluster::{Peer, PeerAnswer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::addresses::Addresses;
use super::appraiser::Appraiser;
use super::call::Connection;
use super::channel::TlsConfigs;
use super::node::Node;
use super::times::Times;
use super::{keys, rounds, serve};
use crate::config::ListenAddress;
use crate::core::{Clock, Coordinator};
use crate::server::listener;

/// What the channel is told once.
pub struct PeersConfig {
    /// Where the key service listens (`MARBLERUN_KEY_ADDR`).
    pub listen: ListenAddress,
    /// Where the others may be.
    pub addresses: Arc<dyn Addresses>,
    /// Who this process is.
    pub attestation: PeerAttestation,
    /// The oldest version to take keys from (`MARBLERUN_PEER_MIN_SVN`).
    pub least_giver: Option<u64>,
    /// The clock.
    pub clock: Clock,
    /// How long things may take.
    pub times: Times,
}

/// Why there is no channel to peers.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The address cannot be listened on.
    #[error("the key service cannot listen on {address}: {cause}")]
    Listen {
        /// As configured.
        address: String,
        /// Cause.
        cause: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS among Coordinators cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// This process cannot prove itself, so no peer would talk to it.
    #[error("this Coordinator cannot prove itself to others: {0}")]
    NoEvidence(String),
}

/// The others. Cheap to clone; ends with [`Peers::stop`].
#[derive(Clone)]
pub struct Peers {
    pub(super) inner: Arc<Inner>,
}

/// What all tasks share.
pub(super) struct Inner {
    pub(super) node: Arc<dyn Node>,
    pub(super) addresses: Arc<dyn Addresses>,
    pub(super) appraiser: Appraiser,
    pub(super) tls: TlsConfigs,
    pub(super) times: Times,
    address: SocketAddr,
    /// Of one round at a time.
    pub(super) rounds: tokio::sync::Mutex<()>,
    /// Attested connections by address.
    connections: Mutex<BTreeMap<String, Connection>>,
    newest: Mutex<Vec<Peer>>,
    pub(super) greeted: AtomicBool,
    nudges: watch::Sender<u64>,
    /// Counts rounds that ended.
    pub(super) heard: watch::Sender<u64>,
    coordinator: Mutex<Option<Coordinator>>,
    stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

impl Peers {
    /// Finds out who this process is, and serves the others from now on. Calls nobody yet.
    ///
    /// # Errors
    /// [`PeersError`].
    pub async fn bind(config: PeersConfig, node: Arc<dyn Node>) -> Result<Self, PeersError> {
        let PeersConfig { listen, addresses, attestation, least_giver, clock, times } = config;
        let tls = TlsConfigs::new(clock.now())?;
        let appraiser = Appraiser::new(attestation, least_giver, times.attested, clock, Arc::clone(&node)).await;
        let appraiser = appraiser.map_err(|error| PeersError::NoEvidence(error.to_string()))?;
        let unbound = |cause| PeersError::Listen { address: listen.to_string(), cause };
        let listener: TcpListener = listener::bind(&listen).await.map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        let inner = Arc::new(Inner {
            node,
            addresses,
            appraiser,
            tls,
            times,
            address,
            rounds: tokio::sync::Mutex::default(),
            connections: Mutex::default(),
            newest: Mutex::default(),
            greeted: AtomicBool::new(false),
            nudges: watch::Sender::new(0),
            heard: watch::Sender::new(0),
            coordinator: Mutex::default(),
            stop: watch::Sender::new(false),
            tasks: Mutex::default(),
        });
        tracing::info!(%address, "key service is listening");
        lock(&inner.tasks).spawn(serve::run(Arc::clone(&inner), listener, inner.stop.subscribe()));
        Ok(Self { inner })
    }

    /// The address that was bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// One round of greetings, which ends after `deadline` whoever has not answered. The node hears of it as of any.
    pub async fn greet_once(&self, deadline: Duration) -> Vec<Peer> {
        rounds::round(&self.inner, deadline).await
    }

    /// Greets all from now on, every ten seconds and when nudged, and asks them for keys as long as some are wanted.
    pub fn run(&self) {
        let mut tasks = lock(&self.inner.tasks);
        tasks.spawn(rounds::run(Arc::clone(&self.inner)));
        tasks.spawn(keys::run(Arc::clone(&self.inner)));
    }

    /// Something has changed (addresses, the shared state): greet and ask now.
    pub fn nudge(&self) {
        self.inner.nudge();
    }

    /// The newest answer of every listed address.
    #[must_use]
    pub fn newest(&self) -> Vec<Peer> {
        self.inner.newest().clone()
    }

    /// The address of a peer that serves clients, as of the last round.
    #[must_use]
    pub fn serving(&self) -> Option<String> {
        self.inner.newest().iter().find_map(|peer| match &peer.answer {
            PeerAnswer::Greeted(greeting) if greeting.serving => Some(peer.address.clone()),
            _ => None,
        })
    }

    /// Makes recoveries those of all: this Coordinator tells the others what its key holders upload, and hears from them.
    pub fn join(&self, coordinator: &Coordinator) {
        coordinator.recover_together(Arc::new(self.clone()));
        *lock(&self.inner.coordinator) = Some(coordinator.clone());
    }

    /// Hangs up and ends all tasks.
    pub async fn stop(&self) {
        let _ = self.inner.stop.send(true);
        *lock(&self.inner.coordinator) = None;
        lock(&self.inner.connections).clear();
        let mut tasks = std::mem::take(&mut *lock(&self.inner.tasks));
        while tasks.join_next().await.is_some() {}
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("address", &self.inner.address).finish_non_exhaustive()
    }
}

impl Inner {
    pub(super) fn nudge(&self) {
        self.nudges.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn nudges(&self) -> watch::Receiver<u64> {
        self.nudges.subscribe()
    }

    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// A process greeted this one. One that was not there in the last round has just come: it is greeted now.
    pub(super) fn greeted_by(&self, boot: BootId) {
        let known = boot == self.node.boot_id()
            || self
                .newest()
                .iter()
                .any(|peer| matches!(&peer.answer, PeerAnswer::Greeted(known) if known.boot == boot));
        if !known && self.greeted.load(Ordering::Acquire) {
            self.nudge();
        }
    }

    pub(super) fn newest(&self) -> MutexGuard<'_, Vec<Peer>> {
        lock(&self.newest)
    }

    /// The Coordinator, once it has joined.
    pub(super) fn recovering(&self) -> Option<Coordinator> {
        lock(&self.coordinator).clone()
    }

    /// A connection that may be used.
    pub(super) fn connection(&self, address: &str) -> Option<Connection> {
        let attested = self.times.attested;
        lock(&self.connections).get(address).filter(|connection| connection.is_good(attested)).cloned()
    }

    pub(super) fn keep(&self, address: &str, connection: Connection) {
        lock(&self.connections).insert(address.to_owned(), connection);
    }

    pub(super) fn hang_up(&self, address: &str) {
        lock(&self.connections).remove(address);
    }

    /// Hangs up on who is not listed any more.
    pub(super) fn retain(&self, listed: &[String]) {
        lock(&self.connections).retain(|address, _| listed.contains(address));
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
