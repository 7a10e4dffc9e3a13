//! `cargo xtask bench`: prints what a release build does on this machine.

use std::time::Duration;

use anyhow::{Context as _, Result};
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
