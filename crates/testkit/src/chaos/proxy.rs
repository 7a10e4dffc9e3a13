//! The proxy as tests hold it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use http::{Method, StatusCode, Uri};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

use super::memory::Memory;
use super::upstream::Upstream;
use super::{Call, Fault, certificate, serve};
use crate::kube::{ControlPlane, ServiceAccount};
use crate::reaper;

/// Whether anything gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// What the policy lets through.
    Up,
    /// Connections break, and new ones are reset at once.
    Down,
    /// Connections stay, and nothing goes through them, in either direction. What was on its way when this ends is lost.
    Silent,
}

/// A request, and what happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// What was asked.
    pub call: Call,
    /// What really happened: a fault that found nothing to do is [`Fault::Pass`]. Until it is over, what is to happen.
    pub fault: Fault,
    /// Status of the client's answer; none if there was no answer, yet or ever.
    pub status: Option<u16>,
    /// Whether it is over; of a watch, whether it began.
    pub over: bool,
}

type Policy = Box<dyn FnMut(&Call) -> Fault + Send>;

pub struct Shared {
    pub upstream: Upstream,
    policy: Mutex<Policy>,
    memory: Mutex<Memory>,
    calls: Mutex<Vec<CallRecord>>,
    link: watch::Sender<Link>,
    breaks: watch::Sender<()>,
    landings: Arc<AtomicUsize>,
}

impl Shared {
    pub fn decide(&self, method: &Method, uri: &Uri) -> (Call, Fault) {
        let mut calls = lock(&self.calls);
        let call = Call::new(calls.len() as u64, method, uri);
        let fault = Some((lock(&self.policy))(&call)).filter(|fault| fault.fits(&call)).unwrap_or(Fault::Pass);
        calls.push(CallRecord { call: call.clone(), fault, status: None, over: false });
        (call, fault)
    }

    pub fn note(&self, number: u64, fault: Fault, status: Option<StatusCode>) {
        let mut calls = lock(&self.calls);
        if let Some(record) = usize::try_from(number).ok().and_then(|index| calls.get_mut(index)) {
            (record.fault, record.status, record.over) = (fault, status.map(|status| status.as_u16()), true);
        }
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }

    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    pub fn breaks(&self) -> watch::Receiver<()> {
        self.breaks.subscribe()
    }

    /// A request that will land; it has landed when this is dropped.
    pub fn landing(&self) -> Landing {
        self.landings.fetch_add(1, Ordering::SeqCst);
        Landing(self.landings.clone())
    }
}

pub struct Landing(Arc<AtomicUsize>);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A proxy in front of a control plane's API server, on a thread of its own. When it is dropped, its port is closed and
/// what was to land late never does.
pub struct ChaosProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    certificate: String,
    home: TempDir,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl ChaosProxy {
    /// Starts one that passes everything on.
    ///
    /// # Errors
    /// If the control plane's folder is damaged, or there is no free port.
    pub fn start(plane: &ControlPlane) -> Result<Self> {
        let (tls, certificate) = certificate::server()?;
        let listener = TcpListener::bind("127.0.0.1:0").context("the machine has no free port")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: Upstream::new(plane.port()?, &plane.ca_pem()?)?,
            policy: Mutex::new(Box::new(|_| Fault::Pass)),
            memory: Mutex::default(),
            calls: Mutex::default(),
            link: watch::Sender::new(Link::Up),
            breaks: watch::Sender::new(()),
            landings: Arc::default(),
        });
        let home = tempfile::Builder::new().prefix("chaos-").tempdir()?;
        reaper::folder(home.path())?;
        let (end, ended) = oneshot::channel();
        let serving = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Tests may block their own threads, as they do while `kubectl` runs.
        let thread = std::thread::Builder::new()
            .name("chaos".to_owned())
            .spawn(move || runtime.block_on(serve::serve(listener, tls, serving, ended)))?;
        Ok(Self { shared, address, certificate, home, end: Some(end), thread: Some(thread) })
    }

    /// Decides from now on what happens to each request.
    pub fn set_policy(&self, policy: impl FnMut(&Call) -> Fault + Send + 'static) {
        *lock(&self.shared.policy) = Box::new(policy);
    }

    /// Passes everything on again.
    pub fn calm(&self) {
        self.set_policy(|_| Fault::Pass);
    }

    /// Cuts everything off, or lets it through again.
    pub fn set_link(&self, link: Link) {
        self.shared.link.send_replace(link);
    }

    /// Breaks all connections, with whatever is on its way. New ones are served.
    pub fn break_connections(&self) {
        self.shared.breaks.send_replace(());
    }

    /// A kubeconfig by which an account goes through the proxy.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn kubeconfig(&self, account: &ServiceAccount) -> Result<PathBuf> {
        let ca = base64::engine::general_purpose::STANDARD.encode(&self.certificate);
        let server = format!("https://{}", self.address);
        // JSON is YAML.
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": ca}}],
            "users": [{"name": "sa", "user": {"token": account.token}}],
            "contexts": [
                {"name": "sa", "context": {"cluster": "c", "user": "sa", "namespace": account.namespace}}
            ],
            "current-context": "sa",
        });
        let path = self.home.path().join(format!("{}-kubeconfig", account.namespace));
        std::fs::write(&path, kubeconfig.to_string())?;
        Ok(path)
    }

    /// All requests so far.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        lock(&self.shared.calls).clone()
    }

    /// How many requests suffered what, by [`Fault::name`].
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for record in lock(&self.shared.calls).iter() {
            *counts.entry(record.fault.name()).or_insert(0) += 1;
        }
        counts
    }

    /// Waits until everything that is to land late has landed.
    ///
    /// # Errors
    /// If something has not within that time.
    pub fn settle(&self, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        while self.shared.landings.load(Ordering::SeqCst) > 0 {
            ensure!(begun.elapsed() < patience, "requests are still to land after {patience:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for ChaosProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChaosProxy").field("address", &self.address).field("counts", &self.counts()).finish()
    }
}
