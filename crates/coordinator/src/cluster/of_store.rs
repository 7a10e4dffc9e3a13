//! The store of this instance, as its peers meet it.

use marblerun_state::{BootId, Phase};
use marblerun_store::Store;
use marblerun_store::cluster::{Cluster, Kek, KekId, Peer, PeerGreeting};

use super::node::{Giving, Node};

/// A store that is shared.
pub struct StoreNode {
    store: Store,
    cluster: Cluster,
    version: String,
}

impl StoreNode {
    /// `None` if the store is nobody else's. `version`: of the program, for people.
    #[must_use]
    pub fn new(store: &Store, version: impl Into<String>) -> Option<Self> {
        let cluster = store.cluster()?;
        Some(Self { store: store.clone(), cluster, version: version.into() })
    }
}

impl Node for StoreNode {
    fn boot_id(&self) -> BootId {
        self.cluster.view().boot
    }

    fn greeting(&self) -> PeerGreeting {
        let view = self.cluster.view();
        PeerGreeting {
            boot: view.boot,
            standing: view.standing.clone(),
            serving: view.serving,
            // Before the first look nobody knows what lies there.
            recovering: view.settled && self.store.snapshot().phase() == Phase::Recovery,
            keks: view.kek_ids(),
            format: view.format,
            version: self.version.clone(),
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
