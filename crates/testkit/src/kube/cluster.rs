//! Several Coordinators on one state, each on a named host, which can be lost or given to another one.

mod builder;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use marblerun_client::Endpoint;
use tempfile::TempDir;

use super::{ControlPlane, Namespace, ServiceAccount};
use crate::chaos::ChaosProxy;
use crate::{Coordinator, CoordinatorBuilder, reaper};

pub use builder::{ClusterBuilder, ClusterCoordinator};

/// Coordinators that share the state in one namespace. All are killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: processes before their folder, the namespace last.
    instances: Vec<Instance>,
    home: TempDir,
    account: ServiceAccount,
    namespace: Namespace,
}

/// A place in the cluster: its ports stay, whatever runs there and wherever.
#[derive(Debug)]
struct Instance {
    coordinator: Option<Coordinator>,
    proxy: Option<ChaosProxy>,
    host: String,
    kubeconfig: PathBuf,
    key_addr: SocketAddr,
    client_port: u16,
    mesh_port: u16,
    env: BTreeMap<String, String>,
    runs: usize,
}

impl Cluster {
    /// A cluster in a namespace of its own.
    #[must_use]
    pub fn builder(plane: &ControlPlane) -> ClusterBuilder {
        ClusterBuilder::new(plane)
    }

    /// Where the state is.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The account they all have.
    #[must_use]
    pub const fn account(&self) -> &ServiceAccount {
        &self.account
    }

    /// Addresses of all client APIs, also of those that do not run.
    ///
    /// # Errors
    /// Never: they are addresses.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>> {
        let addresses = self.instances.iter().map(|instance| format!("127.0.0.1:{}", instance.client_port));
        addresses.map(|address| Ok(Endpoint::parse(&address)?)).collect()
    }

    /// The file that plays a host. Removing it, while nothing runs there, loses the host.
    #[must_use]
    pub fn host_key(&self, host: &str) -> PathBuf {
        self.home.path().join(host)
    }

    /// A Coordinator that runs.
    ///
    /// # Errors
    /// If it does not.
    pub fn get(&self, number: usize) -> Result<&Coordinator> {
        let running = self.instances.get(number).and_then(|instance| instance.coordinator.as_ref());
        running.with_context(|| format!("Coordinator {number} does not run"))
    }

    /// What one has between itself and the API server.
    ///
    /// # Errors
    /// If the cluster was not made so.
    pub fn proxy(&self, number: usize) -> Result<&ChaosProxy> {
        let proxy = self.instances.get(number).and_then(|instance| instance.proxy.as_ref());
        proxy.with_context(|| format!("there is no proxy at place {number}; build the cluster `through_proxies()`"))
    }

    /// All that run, with their numbers.
    pub fn running(&self) -> impl Iterator<Item = (usize, &Coordinator)> {
        let all = self.instances.iter().enumerate();
        all.filter_map(|(number, instance)| Some((number, instance.coordinator.as_ref()?)))
    }

    /// Starts all that do not run, at the same moment.
    ///
    /// # Errors
    /// If one of them does not listen; with its log.
    pub async fn start_all(&mut self) -> Result<()> {
        let stopped: Vec<usize> = (0..self.instances.len()).filter(|number| self.get(*number).is_err()).collect();
        let mut builders = Vec::new();
        for number in &stopped {
            builders.push(self.next_run(*number)?.start());
        }
        for (number, coordinator) in stopped.into_iter().zip(try_join_all(builders).await?) {
            self.put(number, coordinator)?;
        }
        Ok(())
    }

    /// Starts one, on the host it was on before.
    ///
    /// # Errors
    /// If it runs, or does not listen; with its log.
    pub async fn start(&mut self, number: usize) -> Result<()> {
        let coordinator = self.next_run(number)?.start().await?;
        self.put(number, coordinator)
    }

    /// Starts one on another host, which is made if there is none of that name.
    ///
    /// # Errors
    /// If it runs, or does not listen; with its log.
    pub async fn start_on(&mut self, number: usize, host: &str) -> Result<()> {
        host.clone_into(&mut self.instance(number)?.host);
        self.start(number).await
    }

    /// Kills one at once (SIGKILL).
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        self.take(number)?.kill()
    }

    /// Asks one to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// If it does not run, or does not end in order.
    pub async fn terminate(&mut self, number: usize) -> Result<()> {
        self.take(number)?.terminate().await
    }

    /// Gives one another access to the API server, from its next start on.
    ///
    /// # Errors
    /// If there is no such place.
    pub fn set_kubeconfig(&mut self, number: usize, kubeconfig: &Path) -> Result<()> {
        kubeconfig.clone_into(&mut self.instance(number)?.kubeconfig);
        Ok(())
    }

    /// Sets an environment variable of one, from its next start on.
    ///
    /// # Errors
    /// If there is no such place.
    pub fn set_env(&mut self, number: usize, name: &str, value: &str) -> Result<()> {
        self.instance(number)?.env.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Waits until one answers with that status: 1 recovery, 2 no manifest, 3 accepting Marbles.
    ///
    /// # Errors
    /// If it does not within that time; with its log.
    pub async fn wait_for_status(&self, number: usize, status: i64, patience: Duration) -> Result<()> {
        let coordinator = self.get(number)?;
        let begun = Instant::now();
        loop {
            let answer = coordinator.status().await;
            if answer.as_ref().is_ok_and(|answer| *answer == status) {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < patience,
                "Coordinator {number} answers {answer:?} instead of {status} after {patience:?}:\n{}",
                coordinator.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn instance(&mut self, number: usize) -> Result<&mut Instance> {
        self.instances.get_mut(number).with_context(|| format!("the cluster has no place {number}"))
    }

    /// A pod's own folder is new at each start.
    fn next_run(&mut self, number: usize) -> Result<CoordinatorBuilder> {
        let peers = self.instances.iter().enumerate().filter(|(other, _)| *other != number);
        let peers = peers.map(|(_, instance)| instance.key_addr).collect();
        let (home, namespace) = (self.home.path().to_path_buf(), self.namespace.name().to_owned());
        let instance = self.instance(number)?;
        ensure!(instance.coordinator.is_none(), "Coordinator {number} runs already");
        instance.runs += 1;
        let coordinator = ClusterCoordinator {
            namespace,
            kubeconfig: instance.kubeconfig.clone(),
            host_key: home.join(&instance.host),
            key_addr: instance.key_addr,
            peers,
        };
        let builder = coordinator.builder(&home.join(format!("coordinator-{number}-run-{}", instance.runs)));
        let builder = builder.ports(instance.client_port, instance.mesh_port);
        Ok(instance.env.iter().fold(builder, |builder, (name, value)| builder.env(name, value.as_str())))
    }

    fn put(&mut self, number: usize, coordinator: Coordinator) -> Result<()> {
        reaper::process(coordinator.pid())?;
        self.instance(number)?.coordinator = Some(coordinator);
        Ok(())
    }

    fn take(&mut self, number: usize) -> Result<Coordinator> {
        self.instance(number)?.coordinator.take().with_context(|| format!("Coordinator {number} does not run"))
    }
}
