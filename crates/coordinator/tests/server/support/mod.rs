//! A Coordinator on free ports, users with certificates, and a client that shows answers to the byte.

mod client;
pub mod manifest;

use std::sync::Arc;

use jiff::Timestamp;
use marblerun_coordinator::config::ListenAddress;
use marblerun_coordinator::core::{Coordinator, Settings};
use marblerun_coordinator::server::{Addresses, Facts, Limits, ServerConfig, Servers};
use marblerun_pki::{Authority, SubjectAltNames};
use marblerun_state::{Lineage, Phase, RootSecret, State};
use marblerun_store::Store;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

pub use client::{Identity, Reply, Session, connect, request, request_bytes};

/// A running Coordinator.
pub struct Server {
    pub addresses: Addresses,
    pub coordinator: Coordinator,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

/// A state without a manifest.
pub fn state(phase: Phase) -> State {
    let authority = Authority::generate(&SubjectAltNames::from_list("localhost"), Timestamp::now()).unwrap();
    let lineage = Lineage { deployment_id: [7; 16], incarnation: 1, incarnation_id: [8; 16] };
    State::new(phase, lineage, Arc::new(authority), RootSecret(Zeroizing::new(vec![9; 32])))
}

impl Server {
    /// Without a manifest.
    pub async fn start() -> Self {
        Self::start_with(Phase::AcceptingManifest, Limits::default()).await
    }

    /// In a phase, with limits.
    pub async fn start_with(phase: Phase, limits: Limits) -> Self {
        let coordinator = Coordinator::new(Store::in_memory(state(phase)), Settings::simulation());
        Self::serve(coordinator, limits).await
    }

    /// Any Coordinator.
    pub async fn serve(coordinator: Coordinator, limits: Limits) -> Self {
        let free = || ListenAddress { host: "127.0.0.1".to_owned(), port: 0 };
        let config = ServerConfig {
            client_api: free(),
            mesh: free(),
            metrics: Some(free()),
            facts: Facts { version: "1.2.3".into(), commit: "abc".into(), tee: "simulation".into() },
            limits,
        };
        let servers = Servers::bind(config, coordinator.clone()).await.unwrap();
        let addresses = servers.addresses();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(servers.run(async move {
            let _ = stopped.await;
        }));
        Self { addresses, coordinator, stop: Some(stop), running: Some(running) }
    }

    /// With a manifest in force.
    pub async fn with_manifest(manifest: &serde_json::Value) -> Self {
        let server = Self::start().await;
        server.coordinator.set_manifest(manifest.to_string().into_bytes()).await.unwrap();
        server
    }

    /// Stops and waits for the end.
    pub async fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.running.take().unwrap().await.unwrap();
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call(None, "GET", path, b"").await
    }

    pub async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.call(None, "POST", path, body.as_ref()).await
    }

    pub async fn get_as(&self, user: &Identity, path: &str) -> Reply {
        self.call(Some(user), "GET", path, b"").await
    }

    pub async fn post_as(&self, user: &Identity, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.call(Some(user), "POST", path, body.as_ref()).await
    }

    /// One request on a connection of its own.
    pub async fn call(&self, user: Option<&Identity>, method: &str, path: &str, body: &[u8]) -> Reply {
        request(self.addresses.client_api, user, &client::http1(method, path, body)).await
    }

    /// A request to the metrics listener.
    pub async fn metrics(&self, path: &str) -> Reply {
        client::plain(self.addresses.metrics.unwrap(), &client::http1("GET", path, b"")).await
    }
}

/// `{"manifest": base64}`.
pub fn wrapped(manifest: impl ToString) -> String {
    serde_json::json!({ "manifest": marblerun_api::bytes::encode(manifest.to_string().as_bytes()) }).to_string()
}
