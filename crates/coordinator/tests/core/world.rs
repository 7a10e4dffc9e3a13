//! A Coordinator under test, its users and its Marbles.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use marblerun_coordinator::config::Config;
use marblerun_coordinator::core::{
    Activated, ActivationError, ActivationRequest, Clock, Coordinator, PeerCertificate, Settings,
};
use marblerun_coordinator::start::{start, temporary_state};
use marblerun_state::{Phase, State};
use marblerun_store::Store;
use p384::ecdsa::SigningKey;
use x509_cert::builder::{Builder as _, RequestBuilder};
use x509_cert::der::Encode as _;
use x509_cert::name::Name;

/// A fresh Coordinator that accepts a manifest, and the clock it reads.
pub struct World {
    pub coordinator: Coordinator,
    now: Arc<AtomicI64>,
}

pub const START: &str = "2026-11-20T23:54:54.333Z";
pub const UUID: &str = "0d6b5f1c-0c4e-4a8c-9c9b-5a3d1a2b3c4d";

impl World {
    pub fn new() -> Self {
        Self::named("localhost,coordinator.example,192.0.2.7")
    }

    pub fn named(dns_names: &str) -> Self {
        let (now, clock) = clock();
        let state = temporary_state(Phase::AcceptingManifest, dns_names, &clock).unwrap();
        let settings = Settings { clock, ..Settings::simulation() };
        Self { coordinator: Coordinator::new(Store::in_memory(state), settings), now }
    }

    /// A Coordinator over a state that there is already.
    pub fn over(state: State) -> Self {
        let (now, clock) = clock();
        let settings = Settings { clock, ..Settings::simulation() };
        Self { coordinator: Coordinator::new(Store::in_memory(state), settings), now }
    }

    /// A Coordinator with its state in a directory, and further flags.
    pub async fn stored(home: &Path, flags: &[String]) -> Self {
        Self::started(home, flags, clock()).await
    }

    /// The same after a restart, with other flags perhaps.
    pub async fn restarted(self, home: &Path, flags: &[String]) -> Self {
        let Self { coordinator, now } = self;
        coordinator.close().await;
        drop(coordinator);
        let clock = clock_over(&now);
        Self::started(home, flags, (now, clock)).await
    }

    async fn started(home: &Path, flags: &[String], (now, clock): (Arc<AtomicI64>, Clock)) -> Self {
        let seal_dir = format!("--seal-dir={}", home.join("seal").display());
        let fixed = ["marblerun-coordinator".to_owned(), "--tee=simulation".to_owned(), seal_dir];
        let config = Config::from_arguments(fixed.iter().chain(flags)).unwrap();
        Self { coordinator: start(&config, clock).await.unwrap(), now }
    }

    /// A Coordinator with that manifest in force.
    pub async fn with(manifest: &serde_json::Value) -> Self {
        let world = Self::new();
        world.coordinator.set_manifest(json(manifest)).await.unwrap();
        world
    }

    pub fn pass_days(&self, days: i64) {
        self.pass_hours(days * 24);
    }

    pub fn pass_hours(&self, hours: i64) {
        self.now.fetch_add(hours * 3600 * 1000, Ordering::Relaxed);
    }

    pub async fn activate(&self, marble_type: &str, uuid: &str) -> Result<Activated, ActivationError> {
        self.activate_with(Some(&marble_peer()), marble_type, uuid, csr()).await
    }

    pub async fn activate_with(
        &self,
        peer: Option<&PeerCertificate>,
        marble_type: &str,
        uuid: &str,
        csr: Vec<u8>,
    ) -> Result<Activated, ActivationError> {
        let request =
            ActivationRequest { quote: Vec::new(), csr, marble_type: marble_type.to_owned(), uuid: uuid.to_owned() };
        self.coordinator.activate(peer, request).await
    }

    /// One secret as a user reads it.
    pub async fn read(&self, user: &str, name: &str) -> marblerun_api::v2::Secret {
        let read = self.coordinator.read_secrets(Some(&self::user(user)), &[name.to_owned()]).await;
        read.unwrap().remove(name).unwrap()
    }

    pub async fn log(&self) -> Vec<String> {
        self.coordinator.update_log().await.unwrap()
    }
}

fn clock() -> (Arc<AtomicI64>, Clock) {
    let now = Arc::new(AtomicI64::new(START.parse::<Timestamp>().unwrap().as_millisecond()));
    let clock = clock_over(&now);
    (now, clock)
}

fn clock_over(now: &Arc<AtomicI64>) -> Clock {
    let now = Arc::clone(now);
    Clock::from_fn(move || Timestamp::from_millisecond(now.load(Ordering::Relaxed)).unwrap())
}

pub fn json(value: &serde_json::Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// A manifest of the vectors, byte for byte.
pub fn vector(file: &str) -> Vec<u8> {
    std::fs::read(vectors().join(file)).unwrap()
}

pub fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifest/tests/fixtures/manifests")
}

pub fn user_pem(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/users/{name}.crt.pem"));
    std::fs::read_to_string(path).unwrap()
}

/// The certificate of a user of the vectors.
pub fn user(name: &str) -> PeerCertificate {
    let (_, der) = der::pem::decode_vec(user_pem(name).as_bytes()).unwrap();
    PeerCertificate(Arc::new(der))
}

/// What a Marble shows in TLS; any bytes do in simulation.
pub fn marble_peer() -> PeerCertificate {
    PeerCertificate(Arc::new(vec![0x30, 0]))
}

/// A certification request as a premain makes it.
pub fn csr() -> Vec<u8> {
    let key = SigningKey::from_slice(&[7; 48]).unwrap();
    let builder = RequestBuilder::new(Name::from_str("CN=MarbleRun Marble").unwrap()).unwrap();
    builder.build::<_, p384::ecdsa::DerSignature>(&key).unwrap().to_der().unwrap()
}

/// The first certificate of a PEM text.
pub fn first_certificate(pem: &[u8]) -> x509_cert::Certificate {
    x509_cert::Certificate::load_pem_chain(pem).unwrap().remove(0)
}

/// A variable as text.
pub fn text<'a>(activated: &'a Activated, name: &str) -> &'a str {
    std::str::from_utf8(&activated.env[name]).unwrap()
}
