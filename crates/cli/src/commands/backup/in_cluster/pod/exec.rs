//! Programs in a pod, by way of the API server and the node's kubelet.

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, ListParams};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Shell;
use crate::commands::kubernetes::{Cluster, Told as _};
use crate::failure::Failure;

/// As the documents of the original select it.
const SELECTOR: &str = "app.kubernetes.io/name=coordinator";
/// A larger state does not fit into the memory of a Coordinator either.
const MOST: u64 = 1 << 30;

/// The pod of the only Coordinator.
pub struct Exec {
    pods: Api<Pod>,
    name: String,
    container: Option<String>,
}

impl Exec {
    /// Finds it.
    pub async fn find(cluster: &Cluster) -> Result<Self> {
        let pods = cluster.here::<Pod>();
        let found =
            pods.list(&ListParams::default().labels(SELECTOR)).await.told("looking for the Coordinator's pod")?;
        let running = found.items.into_iter().find(|pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
        });
        let Some(pod) = running else {
            return Err(Failure::conflict(format!(
                "the state is in the volume of the Coordinator's pod, and no pod with label {SELECTOR} runs in namespace \
                 {}. Start it ('kubectl -n {0} scale deployment/marblerun-coordinator --replicas=1'); in recovery mode it \
                 does as well",
                cluster.namespace
            )));
        };
        // The first, as `kubectl cp` takes it.
        let container = pod.spec.as_ref().and_then(|spec| spec.containers.first()).map(|first| first.name.clone());
        Ok(Self { pods, name: pod.metadata.name.unwrap_or_default(), container })
    }

    /// Name of the pod.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Shell for Exec {
    async fn run(&self, command: &[&str], input: Vec<u8>) -> Result<Vec<u8>> {
        let program = command.first().copied().unwrap_or_default();
        let has_input = !input.is_empty();
        let params = AttachParams {
            container: self.container.clone(),
            stdin: has_input,
            stdout: true,
            stderr: true,
            ..AttachParams::default()
        };
        let started = self.pods.exec(&self.name, command.iter().copied(), &params).await;
        let mut process = started.told("running a program in the Coordinator's pod")?;
        let (stdin, stdout, stderr) = (process.stdin(), process.stdout(), process.stderr());
        let ended = process.take_status();
        let send = async {
            if let Some(mut stdin) = stdin {
                // If it ends before it has read all, its status says why.
                let _ = stdin.write_all(&input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let mut written = Vec::new();
        let receive = async {
            match stdout {
                Some(stdout) => stdout.take(MOST).read_to_end(&mut written).await.map(drop),
                None => Ok(()),
            }
        };
        let mut said = String::new();
        let hear = async {
            match stderr {
                Some(stderr) => stderr.take(64 << 10).read_to_string(&mut said).await.map(drop),
                None => Ok(()),
            }
        };
        let ((), received, heard) = tokio::join!(send, receive, hear);
        received.and(heard).with_context(|| format!("reading what {program} writes in pod {}", self.name))?;
        let status = match ended {
            Some(ended) => ended.await,
            None => None,
        };
        match status {
            Some(status) if status.status.as_deref() == Some("Success") => Ok(written),
            Some(status) => bail!(
                "{program} failed in pod {}: {}",
                self.name,
                if said.trim().is_empty() { status.message.unwrap_or_default() } else { said.trim().to_owned() }
            ),
            None => bail!("the connection to pod {} broke while {program} ran there", self.name),
        }
    }
}
