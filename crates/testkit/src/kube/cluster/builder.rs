//! What a cluster is made of before any Coordinator runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Cluster, Instance};
use crate::chaos::ChaosProxy;
use crate::kube::{ControlPlane, Role};
use crate::{Coordinator, CoordinatorBuilder, free_port, reaper};

/// What makes a Coordinator one of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterCoordinator {
    /// Namespace of the state.
    pub namespace: String,
    /// Its access to the API server.
    pub kubeconfig: PathBuf,
    /// A file that plays the host.
    pub host_key: PathBuf,
    /// Where it serves its peers.
    pub key_addr: SocketAddr,
    /// Where they serve it.
    pub peers: Vec<SocketAddr>,
}

impl ClusterCoordinator {
    /// A Coordinator with the environment that the Helm chart gives to one of several.
    #[must_use]
    pub fn builder(&self, seal_dir: &Path) -> CoordinatorBuilder {
        let peers: Vec<String> = self.peers.iter().map(SocketAddr::to_string).collect();
        Coordinator::builder(seal_dir)
            .host_key(&self.host_key)
            .env("EDG_DISTRIBUTED_COORDINATOR", "1")
            .env("EDG_STORE_BACKEND", "k8s-secret")
            .env("EDG_K8S_STATE_NAME", "marblerun-state")
            .env("EDG_K8S_KEK_MAP", "marblerun-sealed-kek")
            .env("EDG_K8S_SERVICE_NAME", "coordinator-key-api")
            .env("EDG_K8S_NAMESPACE", &self.namespace)
            .env("KUBECONFIG", self.kubeconfig.display().to_string())
            .env("MARBLERUN_KEY_ADDR", self.key_addr.to_string())
            .env("MARBLERUN_PEERS", peers.join(","))
    }
}

/// How to start a cluster.
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    plane: ControlPlane,
    instances: usize,
    role: Role,
    env: BTreeMap<String, String>,
    through_proxies: bool,
}

impl ClusterBuilder {
    pub(super) fn new(plane: &ControlPlane) -> Self {
        Self { plane: plane.clone(), instances: 3, role: Role::Ours, env: BTreeMap::new(), through_proxies: false }
    }

    /// How many Coordinators know each other; 3 unless told.
    #[must_use]
    pub const fn instances(mut self, instances: usize) -> Self {
        self.instances = instances;
        self
    }

    /// Their rights; ours unless told.
    #[must_use]
    pub const fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Sets an environment variable of all.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Gives each a proxy of its own on its way to the API server: [`Cluster::proxy`].
    #[must_use]
    pub const fn through_proxies(mut self) -> Self {
        self.through_proxies = true;
        self
    }

    /// Makes namespace, account, hosts and ports. No Coordinator runs yet.
    ///
    /// # Errors
    /// If the API server refuses.
    pub fn prepare(self) -> Result<Cluster> {
        let home = tempfile::Builder::new().prefix("cluster-").tempdir()?;
        reaper::folder(home.path())?;
        let namespace = self.plane.namespace()?;
        let account = namespace.service_account(self.role)?;
        let mut instances = Vec::new();
        for number in 0..self.instances {
            let proxy = self.through_proxies.then(|| ChaosProxy::start(&self.plane)).transpose()?;
            let through = proxy.as_ref().map(|proxy| proxy.kubeconfig(&account)).transpose()?;
            instances.push(Instance {
                coordinator: None,
                proxy,
                host: format!("host-{number}"),
                kubeconfig: through.unwrap_or_else(|| account.kubeconfig.clone()),
                key_addr: SocketAddr::from(([127, 0, 0, 1], free_port())),
                client_port: free_port(),
                mesh_port: free_port(),
                env: self.env.clone(),
                runs: 0,
            });
        }
        Ok(Cluster { instances, home, account, namespace })
    }

    /// Starts all at the same moment and waits until each listens.
    ///
    /// # Errors
    /// If one of them does not; with its log.
    pub async fn start(self) -> Result<Cluster> {
        let mut cluster = self.prepare()?;
        cluster.start_all().await?;
        Ok(cluster)
    }
}
