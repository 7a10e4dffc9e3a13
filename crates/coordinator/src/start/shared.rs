//! Start of one of several Coordinators: the shared place, the key service, the others.
//!
//! The key service listens before anything is asked of the shared place, for the others may need this one's keys while it
//! waits for theirs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use marblerun_attestation::{Backend, PeerAttestation};
use marblerun_kubernetes::{ConnectError, NameError, SERVICE_ACCOUNT};
use marblerun_sealing::Sealers;
use marblerun_state::BootId;
use marblerun_store::cluster::{
    Changed, Cluster, ClusterConfig, ClusterTuning, Kek, KekId, Peer, PeerGreeting, SealIdentity,
};
use marblerun_store::{RollbackPolicy, Store};
use tokio::task::JoinSet;

use super::reached::Reached;
use super::{WRITER, temporary_state};
use crate::cluster::{Addresses, Combined, Fixed, Giving, Node, Peers, PeersConfig, PeersError, Times};
use crate::config::{ClusterSettings, Config};
use crate::core::{Clock, Coordinator};

/// How long the start waits for the first look at the shared place. What takes longer shows in the status.
const SETTLE: Duration = Duration::from_secs(15);
/// How long the first question for the addresses of the others may take.
const FIRST_DISCOVERY: Duration = Duration::from_secs(3);
/// Transactions that may wait.
const QUEUE: usize = 4096;

/// Why an instance cannot join the others.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The API server cannot be configured.
    #[error("the shared state cannot be reached: {0}")]
    Connect(#[from] ConnectError),
    /// A name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Not in a pod, and not told.
    #[error(
        "EDG_K8S_NAMESPACE is not set, and {SERVICE_ACCOUNT}/namespace, which names it in a pod, cannot be read: {0}"
    )]
    Namespace(std::io::Error),
    /// A feature of other builds.
    #[error("EDG_STORE_BACKEND=etcd needs a build with the feature `etcd`; this one has Kubernetes (k8s-secret) alone")]
    NoEtcd,
    /// etcd cannot be configured.
    #[cfg(feature = "etcd")]
    #[error("the shared state cannot be reached: {0}")]
    Etcd(#[from] marblerun_etcd::ConnectError),
    /// The store's thread cannot be started.
    #[error("the store cannot be started: {0}")]
    Store(std::io::Error),
    /// The key service.
    #[error(transparent)]
    Peers(#[from] PeersError),
}

/// What runs beside a Coordinator that is one of several.
pub struct Joined {
    place: Reached,
    peers: Peers,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joined").field("peers", &self.peers).finish_non_exhaustive()
    }
}

impl Joined {
    /// The key service and the others.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Makes recoveries those of all.
    pub(super) fn introduce(&self, coordinator: &Coordinator) {
        self.peers.join(coordinator);
    }

    /// Ends what runs beside.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.place.withdraw().await;
        self.peers.stop().await;
    }
}

/// Opens the shared place and greets the others. Returns once the first look at the place is over, or takes too long.
pub(super) async fn join(
    config: &Config,
    settings: &ClusterSettings,
    sealers: Sealers,
    backend: &Backend,
    clock: &Clock,
) -> Result<(Store, Joined), SharedError> {
    let place = Reached::of(&settings.place).await?;
    let identity = &config.simulation_identity;
    let cluster_config = ClusterConfig {
        backend: place.backend(),
        sealers,
        identity: SealIdentity { measurement: identity.measurement.to_vec(), security_version: identity.svn },
        // The documented restore must work where nobody alive knows better.
        rollback: config.rollback.unwrap_or(RollbackPolicy::Warn),
        writer: WRITER.to_owned(),
        recovery_in_header: config.recovery_in_header,
        deny_reset: config.deny_recovery_reset,
        inline_max: settings.inline_max,
        queue: QUEUE,
    };
    let (names, time) = (config.dns_names.clone(), clock.clone());
    let make = move |phase| temporary_state(phase, &names, &time);
    let store = Store::open_shared(place.place(), cluster_config, ClusterTuning::default(), make)
        .map_err(SharedError::Store)?;
    let cluster = store.cluster().ok_or_else(|| SharedError::Store(std::io::Error::other("it is not shared")))?;

    let listed = Arc::new(Listed::default());
    let addresses = Combined(vec![Arc::clone(&listed) as Arc<dyn Addresses>, Arc::new(Fixed(config.peers.clone()))]);
    let peers_config = PeersConfig {
        listen: config.key_addr.clone(),
        addresses: Arc::new(addresses),
        attestation: PeerAttestation::new(backend, config.simulation_identity),
        least_giver: config.peer_min_svn,
        clock: clock.clone(),
        times: Times::default(),
    };
    let node = Arc::new(ClusterNode { cluster: cluster.clone(), store: store.clone() });
    let peers = Peers::bind(peers_config, node).await?;

    // The first round asks whoever is listed; who is listed later is asked later.
    let _ = tokio::time::timeout(FIRST_DISCOVERY, listed.look(&place)).await;
    peers.greet_once(Times::default().greeting).await;
    peers.run();

    let mut tasks = JoinSet::new();
    tasks.spawn(watch(place.clone(), listed, cluster.clone(), peers.clone()));
    let (announced, key_service) = (place.clone(), peers.address());
    tasks.spawn(async move { announced.announce(key_service).await });
    tasks.spawn(follow(cluster.clone(), peers.clone()));
    cluster.settled(SETTLE).await;
    Ok((store, Joined { place, peers, tasks }))
}

/// Looks again whenever something may have changed.
async fn watch(place: Reached, listed: Arc<Listed>, cluster: Cluster, peers: Peers) {
    let (changed, mut changes) = tokio::sync::mpsc::channel(1);
    let watching = place.watch(|what| match what {
        Changed::State | Changed::HostKeys => cluster.nudge(),
        // If one is waiting already, it serves this change, too.
        Changed::Peers => drop(changed.try_send(())),
    });
    let looking = async {
        loop {
            listed.look(&place).await;
            peers.nudge();
            // Also without a word from the watch, which may be refused or stalled.
            let _ = tokio::time::timeout(Duration::from_secs(30), changes.recv()).await;
        }
    };
    tokio::join!(watching, looking);
}

/// Asks the others at once when what is wanted of them changes.
async fn follow(cluster: Cluster, peers: Peers) {
    let mut changes = cluster.changes();
    let mut wanted = cluster.view().wanted.clone();
    while changes.changed().await.is_ok() {
        let now = cluster.view().wanted.clone();
        if now != wanted && !now.is_empty() {
            peers.nudge();
        }
        wanted = now;
    }
}

/// Addresses as the place told them last.
#[derive(Default)]
struct Listed(Mutex<Vec<String>>);

impl Listed {
    async fn look(&self, place: &Reached) {
        match place.addresses().await {
            Ok(addresses) => *self.0.lock().unwrap_or_else(PoisonError::into_inner) = addresses,
            Err(error) => tracing::warn!(%error, "the addresses of the other Coordinators cannot be read"),
        }
    }
}

impl Addresses for Listed {
    fn listed(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// This instance, as its peers meet it.
struct ClusterNode {
    cluster: Cluster,
    store: Store,
}

impl Node for ClusterNode {
    fn boot_id(&self) -> BootId {
        self.cluster.view().boot
    }

    fn greeting(&self) -> PeerGreeting {
        let view = self.cluster.view();
        let recovering = matches!(self.store.status().mode, marblerun_store::StoreMode::Recovery { .. });
        PeerGreeting {
            boot: view.boot,
            standing: view.standing.clone(),
            serving: view.serving,
            recovering,
            keks: view.kek_ids(),
            format: view.format,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn wanted_keks(&self) -> Vec<KekId> {
        self.cluster.view().wanted.clone()
    }

    fn offer(&self, from: &str, keks: Vec<Kek>) {
        self.cluster.offer(from, keks);
    }

    fn give<'a>(&'a self, wanted: &'a [KekId]) -> Giving<'a> {
        Box::pin(self.cluster.give(wanted))
    }

    fn heard(&self, peers: Vec<Peer>) {
        self.cluster.heard(peers);
    }

    fn seal_by_product(&self) -> bool {
        self.cluster.view().seal_by_product
    }
}

/// A Coordinator, and what runs beside it.
pub struct Running {
    /// The Coordinator.
    pub coordinator: Coordinator,
    /// The others, if it is one of several.
    pub joined: Option<Joined>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("joined", &self.joined).finish_non_exhaustive()
    }
}

impl Running {
    /// Ends what runs beside, finishes what was accepted, and closes the store.
    pub async fn close(self) {
        if let Some(joined) = self.joined {
            joined.stop().await;
        }
        self.coordinator.close().await;
    }
}
