//! A Coordinator's store as its peers see it, in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use marblerun_attestation::PeerAttestation;
use marblerun_coordinator::cluster::{Addresses, Giving, Node, Peers, PeersConfig, Times};
use marblerun_coordinator::config::ListenAddress;
use marblerun_coordinator::core::Clock;
use marblerun_state::BootId;
use marblerun_store::cluster::{Kek, KekId, NotGiven, Peer, PeerAnswer, PeerGreeting};

pub const IDENTITY: &str = "measurement=01,signer=02,product=3,svn=4";

/// What a test sets and looks at.
pub struct MemoryNode {
    pub boot: BootId,
    pub serving: AtomicBool,
    pub recovering: AtomicBool,
    pub by_product: AtomicBool,
    pub keks: Mutex<BTreeMap<KekId, Kek>>,
    pub wanted: Mutex<Vec<KekId>>,
    pub offered: Mutex<Vec<(String, Kek)>>,
    pub rounds: AtomicUsize,
    pub asked: AtomicUsize,
}

impl Node for MemoryNode {
    fn boot_id(&self) -> BootId {
        self.boot
    }

    fn greeting(&self) -> PeerGreeting {
        PeerGreeting {
            boot: self.boot,
            standing: None,
            serving: self.serving.load(Ordering::Relaxed),
            recovering: self.recovering.load(Ordering::Relaxed),
            keks: self.keks.lock().unwrap().keys().copied().collect(),
            format: 1,
            version: "test".to_owned(),
        }
    }

    fn wanted_keks(&self) -> Vec<KekId> {
        self.wanted.lock().unwrap().clone()
    }

    fn offer(&self, from: &str, keks: Vec<Kek>) {
        for kek in keks {
            self.wanted.lock().unwrap().retain(|id| *id != kek.id());
            self.offered.lock().unwrap().push((from.to_owned(), kek));
        }
    }

    fn give<'a>(&'a self, wanted: &'a [KekId]) -> Giving<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let keks = self.keks.lock().unwrap();
        let found = wanted.iter().find_map(|id| keks.get(id)).cloned();
        Box::pin(std::future::ready(found.ok_or(NotGiven::NoKey)))
    }

    fn heard(&self, _peers: Vec<Peer>) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    fn seal_by_product(&self) -> bool {
        self.by_product.load(Ordering::Relaxed)
    }
}

/// Addresses that a test fills in once it knows them.
#[derive(Clone, Default)]
pub struct Listed(pub Arc<Mutex<Vec<String>>>);

impl Addresses for Listed {
    fn listed(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// One instance.
pub struct Instance {
    pub node: Arc<MemoryNode>,
    pub peers: Peers,
}

impl Instance {
    pub async fn new(listed: &Listed, identity: &str) -> Self {
        Self::with(listed, PeerAttestation::simulated(identity.parse().unwrap()), quick()).await
    }

    pub async fn with(listed: &Listed, attestation: PeerAttestation, times: Times) -> Self {
        let mut boot = [0; 16];
        aws_lc_rs::rand::fill(&mut boot).unwrap();
        let node = Arc::new(MemoryNode {
            boot: BootId(boot),
            serving: AtomicBool::new(false),
            recovering: AtomicBool::new(false),
            by_product: AtomicBool::new(true),
            keks: Mutex::default(),
            wanted: Mutex::default(),
            offered: Mutex::default(),
            rounds: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        });
        let config = PeersConfig {
            listen: ListenAddress { host: "127.0.0.1".to_owned(), port: 0 },
            addresses: Arc::new(listed.clone()),
            attestation,
            least_giver: None,
            clock: Clock::system(),
            times,
        };
        let peers = Peers::bind(config, node.clone()).await.unwrap();
        listed.0.lock().unwrap().push(peers.address().to_string());
        Self { node, peers }
    }

    /// With a key it could give.
    pub fn holding(self) -> (Self, Kek) {
        let kek = Kek::generate().unwrap();
        self.node.keks.lock().unwrap().insert(kek.id(), kek.clone());
        (self, kek)
    }

    pub async fn greet(&self) -> Vec<PeerAnswer> {
        let heard = self.peers.greet_once(Duration::from_secs(20)).await;
        heard.into_iter().map(|peer| peer.answer).collect()
    }
}

/// Short pauses, and deadlines that a busy machine keeps.
pub fn quick() -> Times {
    Times {
        round: Duration::from_millis(200),
        greeting: Duration::from_secs(20),
        handshake: Duration::from_secs(20),
        call: Duration::from_secs(20),
        ceremony: Duration::from_secs(20),
        first_retry: Duration::from_millis(50),
        last_retry: Duration::from_millis(200),
        precedence: Duration::from_millis(300),
        ..Times::default()
    }
}

/// Waits until something holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within a minute: {what}");
}
