//! Load for benchmarks and crash runs: many clients at once, with what they measured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use marblerun_api::v2::UserSecret;
use marblerun_client::{Client, Identity, Trust};
use serde_json::{Map, Value, json};

use crate::{Coordinator, FakeMarble, TestUser};

/// What a run of clients measured.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Successful operations.
    pub count: u64,
    /// Wall time.
    pub elapsed: Duration,
    /// Server CPU time spent meanwhile.
    pub server_cpu: Duration,
    /// Median latency.
    pub p50: Duration,
    /// 99th percentile of the latency.
    pub p99: Duration,
}

impl Figures {
    /// Operations a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }

    /// Server CPU time of one operation, in milliseconds.
    #[must_use]
    pub fn cpu_ms(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.server_cpu.as_secs_f64() * 1000.0 / self.count as f64 }
    }
}

/// A manifest with one Marble type `app` that reads three secrets, a user `writer`, the counter feature,
/// and `secrets` user-defined plain secrets `s0`, `s1`, ...
///
/// # Errors
/// If the library refuses to make a key.
pub fn manifest(user: &TestUser, recovery_keys: &[(&str, String)], secrets: usize) -> Result<Vec<u8>> {
    let mut definitions = Map::new();
    let mut names = Vec::new();
    for index in 0..secrets {
        let name = format!("s{index}");
        definitions.insert(name.clone(), json!({"Type": "plain", "UserDefined": true}));
        names.push(Value::from(name));
    }
    definitions.insert("shared".into(), json!({"Type": "symmetric-key", "Size": 256, "Shared": true}));
    definitions.insert("own".into(), json!({"Type": "symmetric-key", "Size": 128}));
    definitions.insert("web".into(), json!({"Type": "cert-ecdsa", "Size": 256, "Shared": true}));
    let keys: BTreeMap<&str, &String> = recovery_keys.iter().map(|(name, pem)| (*name, pem)).collect();
    let mut read = names.clone();
    read.extend(["shared".into(), "web".into()]);
    Ok(serde_json::to_vec(&json!({
        "Packages": {"app": {"Debug": true}},
        "Marbles": {"app": {"Package": "app", "Parameters": {
            "Env": {"SHARED": "{{ hex .Secrets.shared }}", "OWN": "{{ hex .Secrets.own }}"},
            "Files": {"/tmp/web.pem": "{{ pem .Secrets.web.Cert }}{{ pem .Secrets.web.Private }}"},
            "Argv": ["app", "--serve"]
        }}},
        "Secrets": definitions,
        "Users": {"writer": {"Certificate": user.certificate_pem, "Roles": ["write", "read"]}},
        "Roles": {
            "write": {"ResourceType": "Secrets", "ResourceNames": names, "Actions": ["WriteSecret"]},
            "read": {"ResourceType": "Secrets", "ResourceNames": read, "Actions": ["ReadSecret"]}
        },
        "RecoveryKeys": keys,
        "Config": {"FeatureGates": ["MonotonicCounter"]}
    }))?)
}

/// Uploads a value of `size` bytes to every secret `s0`.. of [`manifest`], many at a time.
///
/// # Errors
/// If the Coordinator refuses.
pub async fn fill_secrets(client: &Client, secrets: usize, size: usize) -> Result<()> {
    for start in (0..secrets).step_by(500) {
        let batch = (start..secrets.min(start + 500)).map(|index| (format!("s{index}"), plain(&vec![b'x'; size])));
        client.set_secrets(batch.collect()).await?;
    }
    Ok(())
}

/// A plain value to upload.
#[must_use]
pub fn plain(value: &[u8]) -> UserSecret {
    UserSecret { key: Some(value.into()), ..UserSecret::default() }
}

/// Runs `clients` loops for that long. Each call of `operation(client, round)` is one operation.
async fn run<F, Fut>(coordinator: &Coordinator, clients: usize, duration: Duration, operation: F) -> Result<Figures>
where
    F: Fn(usize, u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let operation = Arc::new(operation);
    let stop = Arc::new(AtomicBool::new(false));
    let cpu_before = coordinator.cpu_time();
    let started = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (operation, stop) = (operation.clone(), stop.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    let before = Instant::now();
                    operation(client, round).await?;
                    latencies.push(before.elapsed());
                    round += 1;
                }
                anyhow::Ok(latencies)
            })
        })
        .collect();
    tokio::time::sleep(duration).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let elapsed = started.elapsed();
    let server_cpu = coordinator.cpu_time().saturating_sub(cpu_before);
    latencies.sort_unstable();
    let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or_default();
    Ok(Figures { count: latencies.len() as u64, elapsed, server_cpu, p50: at(0.5), p99: at(0.99) })
}

/// Activations of Marble type `app`, a new TLS connection each.
///
/// # Errors
/// The first refusal.
pub async fn activations(coordinator: &Coordinator, clients: usize, duration: Duration) -> Result<Figures> {
    let marbles: Arc<Vec<FakeMarble>> = Arc::new((0..clients).map(|_| FakeMarble::new()).collect::<Result<_>>()?);
    let mesh = coordinator.mesh_addr;
    run(coordinator, clients, duration, move |client, round| {
        let marbles = marbles.clone();
        async move {
            let uuid = format!("{client:08x}-1111-4111-8111-{round:012x}");
            marbles[client].activate(mesh, "app", &uuid).await.map(|_| ())
        }
    })
    .await
}

/// Writes of one secret each, over connections that stay open.
///
/// # Errors
/// The first refusal.
pub async fn secret_writes(
    coordinator: &Coordinator,
    user: &TestUser,
    writers: usize,
    duration: Duration,
) -> Result<Figures> {
    let root = coordinator.attest().await?.root;
    let clients: Arc<Vec<Client>> = Arc::new(
        (0..writers)
            .map(|_| {
                let builder = Client::builder(coordinator.endpoint()).trust(Trust::Pinned(root.clone()));
                Ok(builder.identity(user.identity()?).build()?)
            })
            .collect::<Result<_>>()?,
    );
    run(coordinator, writers, duration, move |writer, round| {
        let clients = clients.clone();
        async move {
            let secrets = BTreeMap::from([(format!("s{writer}"), plain(format!("{round:032}").as_bytes()))]);
            Ok(clients[writer].set_secrets(secrets).await?)
        }
    })
    .await
}

/// Increments of monotonic counters, over connections that stay open; each writer is a Marble.
///
/// # Errors
/// The first refusal.
pub async fn counter_writes(coordinator: &Coordinator, writers: usize, duration: Duration) -> Result<Figures> {
    let root = coordinator.attest().await?.root;
    let mut clients = Vec::new();
    for writer in 0..writers {
        let identity = marble_identity(coordinator, writer).await?;
        let builder = Client::builder(coordinator.endpoint()).trust(Trust::Pinned(root.clone()));
        clients.push(builder.identity(identity).build()?);
    }
    let clients = Arc::new(clients);
    run(coordinator, writers, duration, move |writer, round| {
        let clients = clients.clone();
        async move {
            clients[writer].set_monotonic_counter("bench", round + 1).await?;
            Ok(())
        }
    })
    .await
}

/// Activates a Marble and takes the identity it was given.
///
/// # Errors
/// If it is refused.
pub async fn marble_identity(coordinator: &Coordinator, number: usize) -> Result<Identity> {
    let uuid = format!("{number:08x}-2222-4222-8222-222222222222");
    let activation = FakeMarble::new()?.activate(coordinator.mesh_addr, "app", &uuid).await?;
    Identity::from_pem(
        activation.text("MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN")?.as_bytes(),
        activation.text("MARBLE_PREDEFINED_PRIVATE_KEY")?.as_bytes(),
    )
    .context("identity of the Marble")
}
