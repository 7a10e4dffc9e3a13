//! etcd and an API server of the tests' own, on free ports.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::api_server::ApiServer;
use super::{AuditLog, KubectlOutput, Namespace};
use crate::reaper;

/// How to start a control plane.
#[derive(Debug, Clone, Copy, Default)]
pub struct ControlPlaneBuilder {
    audit: bool,
    controller_manager: bool,
    fsync: bool,
}

impl ControlPlaneBuilder {
    /// Writes down every request: [`ControlPlane::audit_log`].
    #[must_use]
    pub const fn audit(mut self) -> Self {
        self.audit = true;
        self
    }

    /// Starts the controllers too: namespaces end with all that is in them, requests for certificates are signed,
    /// Deployments make pods (that stay pending, as there are no nodes).
    #[must_use]
    pub const fn controller_manager(mut self) -> Self {
        self.controller_manager = true;
        self
    }

    /// Makes etcd durable, as it is in production. Without it, tests are faster.
    #[must_use]
    pub const fn fsync(mut self) -> Self {
        self.fsync = true;
        self
    }

    /// Starts it and waits until it is ready: 5 seconds on an idle machine, 10 with controllers.
    ///
    /// # Errors
    /// If the programs are not there, or do not get ready; with what they said.
    pub fn start(self) -> Result<ControlPlane> {
        let binaries = binaries()?;
        let data = tempfile::Builder::new().prefix("kube-").tempdir()?.keep();
        let inner = Inner {
            api_server: ApiServer::new(&data, &binaries),
            options: self,
            data,
            binaries,
            namespaces: 0.into(),
            snapshots: 0.into(),
        };
        reaper::control_plane(&inner.data)?;
        reaper::folder(&inner.data)?;
        inner.up()?;
        Ok(ControlPlane { inner: Arc::new(inner) })
    }
}

/// A running control plane; stopped and removed when its last clone is dropped, and when the tests end in any way.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    api_server: ApiServer,
    options: ControlPlaneBuilder,
    data: PathBuf,
    binaries: PathBuf,
    namespaces: AtomicUsize,
    snapshots: AtomicUsize,
}

/// The database of a control plane as it was.
#[derive(Debug)]
pub struct Snapshot(PathBuf);

impl ControlPlane {
    /// One of the test's own, to be stopped, overloaded or filled.
    #[must_use]
    pub fn builder() -> ControlPlaneBuilder {
        ControlPlaneBuilder::default()
    }

    /// The one that all tests of this process share, each in a namespace of its own. It has an audit log and no
    /// controllers.
    ///
    /// # Errors
    /// If it could not be started, each time.
    pub fn shared() -> Result<Self> {
        static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::builder().audit().start().map_err(|error| format!("{error:#}")));
        shared.clone().map_err(|error| anyhow!(error))
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.inner.data.join("kubeconfig")
    }

    /// Port of the API server on 127.0.0.1.
    ///
    /// # Errors
    /// If the control plane's folder is damaged.
    pub fn port(&self) -> Result<u16> {
        let ports = std::fs::read_to_string(self.inner.data.join("ports"))?;
        Ok(ports.split_whitespace().next().context("no port is noted")?.parse()?)
    }

    /// The certificate (PEM) that the API server's is issued by.
    ///
    /// # Errors
    /// If the control plane's folder is damaged.
    pub fn ca_pem(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.inner.data.join("pki/ca.crt"))?)
    }

    /// Runs `kubectl` as administrator.
    ///
    /// # Errors
    /// If it cannot be started. What it answers is in the output.
    pub fn kubectl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<KubectlOutput> {
        KubectlOutput::of(self.kubectl_command(&self.kubeconfig()).args(args), None)
    }

    /// Runs `kubectl` as administrator, with that standard input: `apply -f -`.
    ///
    /// # Errors
    /// If it cannot be started. What it answers is in the output.
    pub fn kubectl_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &str,
    ) -> Result<KubectlOutput> {
        KubectlOutput::of(self.kubectl_command(&self.kubeconfig()).args(args), Some(input))
    }

    pub(super) fn kubectl_command(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(self.inner.binaries.join("kubectl"));
        // Its discovery cache belongs into the test's folder.
        command.env("HOME", &self.inner.data).env("KUBECONFIG", kubeconfig);
        command
    }

    /// Makes a namespace that is deleted when dropped.
    ///
    /// # Errors
    /// If the API server refuses.
    pub fn namespace(&self) -> Result<Namespace> {
        let number = self.inner.namespaces.fetch_add(1, Ordering::Relaxed);
        Namespace::create(self, format!("test-{number}"))
    }

    /// What was asked of the API server so far.
    #[must_use]
    pub fn audit_log(&self) -> AuditLog {
        AuditLog::new(self.inner.data.join("logs/audit.jsonl"))
    }

    /// Kills the API server, at once and without a word to its clients. Its database lives on.
    ///
    /// # Errors
    /// If it is not running.
    pub fn stop_api_server(&self) -> Result<()> {
        self.inner.api_server.stop()
    }

    /// Starts a stopped API server on the same port, and waits until it is ready.
    ///
    /// # Errors
    /// If it was not stopped, or does not get ready.
    pub fn start_api_server(&self) -> Result<()> {
        self.inner.api_server.start(|| Ok(self.kubectl(["get", "--raw", "/readyz", "--request-timeout=2s"])?.is_ok()))
    }

    /// Kills the API server and starts it again.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn restart_api_server(&self) -> Result<()> {
        self.stop_api_server()?;
        self.start_api_server()
    }

    /// Keeps the database as it is now. Everything stops meanwhile.
    ///
    /// # Errors
    /// If the API server is stopped, or does not come back.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let number = self.inner.snapshots.fetch_add(1, Ordering::Relaxed);
        let snapshot = Snapshot(self.inner.data.join(format!("snapshot-{number}")));
        self.inner.offline(|| copy(&self.inner.data.join("etcd"), &snapshot.0))?;
        Ok(snapshot)
    }

    /// Puts the database back to what it was, as a cluster's administrator does after a disaster: objects are as they
    /// were, and versions that were given before are given again, to others.
    ///
    /// # Errors
    /// If the API server is stopped, or does not come back.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        let etcd = self.inner.data.join("etcd");
        self.inner.offline(|| {
            std::fs::remove_dir_all(&etcd)?;
            copy(&snapshot.0, &etcd)
        })
    }

    pub(super) fn has_controllers(&self) -> bool {
        self.inner.options.controller_manager
    }

    /// Where it keeps what it writes.
    pub(super) fn data(&self) -> &Path {
        &self.inner.data
    }
}

impl Inner {
    fn up(&self) -> Result<()> {
        let mut command = Command::new(reaper::script("kube-up.sh"));
        command.arg("--bin").arg(&self.binaries).arg("--data").arg(&self.data).args(["--timeout", "180"]);
        command.args(self.options.audit.then_some("--audit"));
        command.args(self.options.controller_manager.then_some("--controller-manager"));
        command.args(self.options.fsync.then_some("--fsync"));
        run(command.env("HOME", &self.data))
    }

    fn offline(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        ensure!(!self.api_server.is_stopped(), "the API server is stopped; start it first");
        let mut command = Command::new(reaper::script("kube-down.sh"));
        run(command.arg("--data").arg(&self.data).args(["--keep", "--now", "--quiet"]))?;
        work()?;
        self.up()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut command = Command::new(reaper::script("kube-down.sh"));
        // What is left is ended by the reaper.
        let _ = run(command.arg("--data").arg(&self.data).args(["--now", "--quiet"]));
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("-a").arg(from).arg(to))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Where `cargo xtask test` puts the programs.
fn binaries() -> Result<PathBuf> {
    let cache = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
    };
    let folder = std::env::var_os("MARBLERUN_KUBE_BIN")
        .map(PathBuf::from)
        .or_else(|| Some(cache()?.join("marblerun/kube")))
        .context("neither MARBLERUN_KUBE_BIN, XDG_CACHE_HOME nor HOME is set")?;
    ensure!(
        folder.join("kube-apiserver").is_file(),
        "{} has no kube-apiserver; `cargo xtask test` builds it, and so does `cargo xtask kube up`",
        folder.display()
    );
    Ok(folder)
}
