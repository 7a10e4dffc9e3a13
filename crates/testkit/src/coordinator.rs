//! A Coordinator process.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use marblerun_client::{AttestOptions, Attested, Client, ClientBuilder, Endpoint, Trust, attest};

/// Path of a program of this workspace, built in the same profile as the running test.
///
/// # Panics
/// If it was not built: `cargo xtask test` builds all programs first.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let mut dir = std::env::current_exe().unwrap_or_default();
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let path = dir.join(name);
    assert!(path.is_file(), "{} is not built; run `cargo build --workspace --bins` first", path.display());
    path
}

/// A port nobody listens on right now.
///
/// # Panics
/// If the machine has no free port.
#[must_use]
pub fn free_port() -> u16 {
    // Tests of one process run side by side, and a port that is chosen is not taken at once.
    static CHOSEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = listener.map(|addr| addr.port()).unwrap();
        if CHOSEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return port;
        }
    }
}

/// How to start a Coordinator.
#[derive(Debug, Clone, Default)]
pub struct CoordinatorBuilder {
    seal_dir: PathBuf,
    env: BTreeMap<String, String>,
    args: Vec<String>,
    command: Vec<OsString>,
    client_port: Option<u16>,
    mesh_port: Option<u16>,
    prometheus: bool,
}

impl CoordinatorBuilder {
    /// Sets an environment variable of the process.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a command line argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Starts this command in place of the program that was built; it must become a Coordinator.
    #[must_use]
    pub fn command(mut self, command: Vec<OsString>) -> Self {
        self.command = command;
        self
    }

    /// Uses a key file that plays the host.
    #[must_use]
    pub fn host_key(self, path: &Path) -> Self {
        self.env("MARBLERUN_SIMULATION_HOST_KEY", path.display().to_string())
    }

    /// Serves metrics and events.
    #[must_use]
    pub fn prometheus(mut self) -> Self {
        self.prometheus = true;
        self
    }

    /// Listens on these ports instead of free ones.
    #[must_use]
    pub fn ports(mut self, client: u16, mesh: u16) -> Self {
        self.client_port = Some(client);
        self.mesh_port = Some(mesh);
        self
    }

    /// Listens on the same ports as an earlier process did.
    #[must_use]
    pub fn same_ports(self, other: &Coordinator) -> Self {
        self.ports(other.client_addr.port(), other.mesh_addr.port())
    }

    /// Starts the process and waits until its client API answers.
    ///
    /// # Errors
    /// If it ends or does not answer within 30 seconds; with its log.
    pub async fn start(self) -> Result<Coordinator> {
        let client_addr = SocketAddr::from(([127, 0, 0, 1], self.client_port.unwrap_or_else(free_port)));
        let mesh_addr = SocketAddr::from(([127, 0, 0, 1], self.mesh_port.unwrap_or_else(free_port)));
        let prometheus_addr = self.prometheus.then(|| SocketAddr::from(([127, 0, 0, 1], free_port())));
        std::fs::create_dir_all(&self.seal_dir)?;
        let log_path = self.seal_dir.with_extension(format!("log-{}", client_addr.port()));
        let log = File::options().create(true).append(true).open(&log_path)?;
        let mut command = match self.command.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
            None => Command::new(binary("marblerun-coordinator")),
        };
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("EDG_COORDINATOR_SEAL_DIR", &self.seal_dir)
            .env("EDG_COORDINATOR_CLIENT_ADDR", client_addr.to_string())
            .env("EDG_COORDINATOR_MESH_ADDR", mesh_addr.to_string())
            .env("EDG_COORDINATOR_DNS_NAMES", "localhost")
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(addr) = prometheus_addr {
            command.env("EDG_COORDINATOR_PROMETHEUS_ADDR", addr.to_string());
        }
        let started = Instant::now();
        let child = command.spawn().context("starting the Coordinator")?;
        let mut coordinator = Coordinator {
            child,
            client_addr,
            mesh_addr,
            prometheus_addr,
            seal_dir: self.seal_dir,
            log_path,
            startup: Duration::ZERO,
        };
        coordinator.wait_until_up(started).await?;
        Ok(coordinator)
    }
}

/// A running Coordinator; killed when dropped.
#[derive(Debug)]
pub struct Coordinator {
    child: Child,
    /// Address of the client API.
    pub client_addr: SocketAddr,
    /// Address of the Marble API.
    pub mesh_addr: SocketAddr,
    /// Address of metrics and events, if switched on.
    pub prometheus_addr: Option<SocketAddr>,
    /// Seal directory.
    pub seal_dir: PathBuf,
    log_path: PathBuf,
    /// From start to the first answer.
    pub startup: Duration,
}

impl Coordinator {
    /// A Coordinator over that seal directory.
    #[must_use]
    pub fn builder(seal_dir: &Path) -> CoordinatorBuilder {
        CoordinatorBuilder { seal_dir: seal_dir.to_path_buf(), ..CoordinatorBuilder::default() }
    }

    async fn wait_until_up(&mut self, started: Instant) -> Result<()> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the Coordinator ended with {status}:\n{}", self.log());
            }
            if tokio::net::TcpStream::connect(self.client_addr).await.is_ok() {
                self.startup = started.elapsed();
                return Ok(());
            }
            if started.elapsed() > Duration::from_secs(30) {
                bail!("the Coordinator does not listen after 30 s:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Address of the client API as the SDK takes it.
    ///
    /// # Panics
    /// Never: the address is one.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&self.client_addr.to_string()).unwrap()
    }

    /// Takes the Coordinator's certificates (simulation).
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn attest(&self) -> Result<Attested> {
        Ok(attest(&self.endpoint(), &AttestOptions { insecure: true, ..AttestOptions::default() }).await?)
    }

    /// A client builder that pins the present root.
    ///
    /// # Errors
    /// If the Coordinator does not answer.
    pub async fn client_builder(&self) -> Result<ClientBuilder> {
        Ok(Client::builder(self.endpoint()).trust(Trust::Pinned(self.attest().await?.root)))
    }

    /// An anonymous client that pins the present root.
    ///
    /// # Errors
    /// If the Coordinator does not answer.
    pub async fn client(&self) -> Result<Client> {
        Ok(self.client_builder().await?.build()?)
    }

    /// State code: 1, 2 or 3.
    ///
    /// # Errors
    /// If the Coordinator does not answer.
    pub async fn status(&self) -> Result<i64> {
        Ok(self.client().await?.status().await?.code)
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log_path).unwrap_or_default()
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it at once (SIGKILL) and waits for the end.
    ///
    /// # Errors
    /// If the process cannot be killed.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits at most 30 seconds.
    ///
    /// # Errors
    /// If it does not end, or not with code 0.
    pub async fn terminate(mut self) -> Result<()> {
        let sent = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status()?;
        anyhow::ensure!(sent.success(), "sending SIGTERM failed");
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "the Coordinator ended with {status}:\n{}", self.log());
                return Ok(());
            }
            anyhow::ensure!(asked.elapsed() < Duration::from_secs(30), "no end after SIGTERM:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// User and system CPU time used so far (Linux `/proc`, 100 ticks a second).
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// A line of `/proc/PID/status` in KiB, such as `VmHWM` (peak memory).
    #[must_use]
    pub fn memory_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
