//! `cargo xtask bench`: prints what a release build does on this machine.

use std::time::Duration;

use anyhow::{Context as _, Result};
use marblerun_testkit::kube::{Cluster, ControlPlane, Role};
use marblerun_testkit::load::{self, Figures};
use marblerun_testkit::{Coordinator, RecoveryKeyPair, TestUser};

/// Runs all measurements, one after the other.
pub fn run(duration: Duration, clients: usize) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        println!("{clients} clients, {} s each, client and server on the same cores\n", duration.as_secs());
        println!("| measurement | a second | median | p99 | server CPU each |");
        println!("|---|---|---|---|---|");
        let mut notes = Vec::new();
        for secrets in [clients, 4000] {
            at_size(duration, clients, secrets, &mut notes).await?;
        }
        shared(duration, clients, 1024, None, &mut notes).await?;
        shared(duration, clients, 16384, Some("100000"), &mut notes).await?;
        notes.push(start_of_a_large_state().await?);
        println!();
        notes.iter().for_each(|note| println!("{note}"));
        Ok(())
    })
}

fn row(name: &str, secrets: usize, figures: &Figures) {
    println!(
        "| {name}, {secrets} secrets of 1 KiB | {:.0} | {:.2} ms | {:.2} ms | {:.2} ms |",
        figures.rate(),
        figures.p50.as_secs_f64() * 1e3,
        figures.p99.as_secs_f64() * 1e3,
        figures.cpu_ms(),
    );
}

async fn deployment(dir: &std::path::Path, secrets: usize, size: usize) -> Result<(Coordinator, TestUser)> {
    let user = TestUser::new("writer")?;
    let recovery = RecoveryKeyPair::new()?;
    let coordinator = Coordinator::builder(&dir.join("seal")).start().await?;
    let manifest = load::manifest(&user, &[("alice", recovery.public_pem()?)], secrets)?;
    coordinator.client().await?.set_manifest(&manifest).await.context("setting the manifest")?;
    let client = coordinator.client_builder().await?.identity(user.identity()?).build()?;
    load::fill_secrets(&client, secrets, size).await?;
    Ok((coordinator, user))
}

async fn at_size(duration: Duration, clients: usize, secrets: usize, notes: &mut Vec<String>) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (coordinator, user) = deployment(dir.path(), secrets, 1024).await?;
    row("activation, new connection", secrets, &load::activations(&coordinator, clients, duration).await?);
    row("secret write, durable", secrets, &load::secret_writes(&coordinator, &user, clients, duration).await?);
    row("counter write, durable", secrets, &load::counter_writes(&coordinator, clients, duration).await?);
    notes.push(format!("peak memory after this at {secrets} secrets: {} KiB", coordinator.memory_kib("VmHWM")));
    coordinator.terminate().await
}

/// Start with a state of 16 MiB, and memory at start empty and full.
async fn start_of_a_large_state() -> Result<String> {
    let dir = tempfile::tempdir()?;
    let (coordinator, _) = deployment(dir.path(), 4000, 4096).await?;
    coordinator.terminate().await?;
    let seal_dir = dir.path().join("seal");
    let size = std::fs::metadata(seal_dir.join("sealed_data"))?.len();
    let coordinator = Coordinator::builder(&seal_dir).start().await?;
    anyhow::ensure!(coordinator.status().await? == 3, "the state did not open");
    let (startup, full) = (coordinator.startup, coordinator.memory_kib("VmHWM"));
    coordinator.terminate().await?;
    let empty = Coordinator::builder(&dir.path().join("empty")).start().await?;
    Ok(format!(
        "start with {:.1} MiB of sealed state: {:.0} ms, peak memory {full} KiB; start empty: {:.0} ms, peak memory {} KiB",
        size as f64 / f64::from(1 << 20),
        startup.as_secs_f64() * 1e3,
        empty.startup.as_secs_f64() * 1e3,
        empty.memory_kib("VmHWM"),
    ))
}

/// Writes to a state that three Coordinators share behind an API server of this machine: through one of them, and spread
/// over all. Where little may lie in the Secret, most of it lies in parts.
async fn shared(
    duration: Duration,
    clients: usize,
    size: usize,
    inline_max: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<()> {
    let plane = ControlPlane::builder().start()?;
    let mut builder = Cluster::builder(&plane).role(Role::OursWithParts);
    if let Some(inline_max) = inline_max {
        builder = builder.env("MARBLERUN_STATE_INLINE_MAX", inline_max);
    }
    let cluster = builder.start().await?;
    let patience = Duration::from_secs(60);
    for number in 0..3 {
        cluster.wait_for_status(number, 2, patience).await?;
    }
    let user = TestUser::new("writer")?;
    let recovery = RecoveryKeyPair::new()?;
    let manifest = load::manifest(&user, &[("alice", recovery.public_pem()?)], clients)?;
    cluster.get(0)?.client().await?.set_manifest(&manifest).await.context("setting the manifest")?;
    for number in 0..3 {
        cluster.wait_for_status(number, 3, patience).await?;
    }
    let client = cluster.get(0)?.client_builder().await?.identity(user.identity()?).build()?;
    load::fill_secrets(&client, clients, size).await?;
    for spread in [1, 3] {
        let (one, two, three) = (cluster.get(0)?, cluster.get(1)?, cluster.get(2)?);
        let writes = |coordinator| load::secret_writes(coordinator, &user, clients / spread, duration);
        let figures = match spread {
            1 => vec![writes(one).await?],
            _ => {
                let (one, two, three) = tokio::try_join!(writes(one), writes(two), writes(three))?;
                vec![one, two, three]
            }
        };
        let rate: f64 = figures.iter().map(Figures::rate).sum();
        let longest =
            |of: fn(&Figures) -> Duration| figures.iter().map(of).max().unwrap_or_default().as_secs_f64() * 1e3;
        println!(
            "| secret write, shared by 3, through {spread}{} | {rate:.0} | {:.1} ms | {:.1} ms | {:.2} ms |",
            if inline_max.is_some() { ", state in parts" } else { "" },
            longest(|figures| figures.p50),
            longest(|figures| figures.p99),
            figures.iter().map(Figures::cpu_ms).sum::<f64>() / figures.len() as f64,
        );
    }
    let view = client.v3().cluster().await?;
    notes.push(format!(
        "the shared object after this: {} bytes, {} in parts; {} conflicts at the first Coordinator",
        view.bytes, view.part_bytes, view.conflicts
    ));
    Ok(())
}
