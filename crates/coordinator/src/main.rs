//! The program `marblerun-coordinator`.

use std::process::ExitCode;

use anyhow::Context as _;
use marblerun_attestation::Build;
use marblerun_coordinator::config::Config;
use marblerun_coordinator::core::Clock;
use marblerun_coordinator::server::{Facts, Limits, ServerConfig, Servers};
use marblerun_coordinator::{logging, start};
use tokio::signal::unix::{SignalKind, signal};

/// What this program may run in. A constant here and in no library, so that another build of it compiles little.
const BUILD: Build = Build::of(option_env!("MARBLERUN_BUILD_TEE"));

fn main() -> ExitCode {
    let config = match Config::from_process(BUILD) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("marblerun-coordinator: {error}");
            return ExitCode::FAILURE;
        }
    };
    logging::init(&config);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(run(&config)) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("{error:#}");
            1
        }
    };
    // A thread that still waits for the seal directory of another Coordinator must not hold up the end.
    runtime.shutdown_background();
    #[cfg(feature = "tpm")]
    marblerun_tpm::leave();
    // All that was acknowledged is durable, and threads may still be at work. A usual exit would have libraries in C (of the TPM, of a
    // token) take themselves apart beneath them, or beneath what a thread that ends gives back to them: now and then that crashed.
    signal_hook::low_level::exit(code)
}

async fn run(config: &Config) -> anyhow::Result<()> {
    match &config.cluster {
        None => {
            tracing::info!(version = BUILD.version(), seal_dir = %config.seal_dir.display(), "starting coordinator")
        }
        Some(_) => tracing::info!(version = BUILD.version(), "starting one of several coordinators"),
    }
    // Before anything is written: a signal that comes now must not find its default, which is to die at once.
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;

    let stop = async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
    };
    let running = match start::start_unless(config, Clock::system(), stop).await {
        Err(start::StartError::Stopped) => return Ok(()),
        other => other?,
    };
    let coordinator = running.coordinator.clone();
    let servers = ServerConfig {
        client_api: config.client_addr.clone(),
        mesh: config.mesh_addr.clone(),
        metrics: config.prometheus_addr.clone(),
        facts: Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("MARBLERUN_COMMIT").unwrap_or_default().to_owned(),
            tee: coordinator.tee().as_str().to_owned(),
        },
        limits: Limits::default(),
    };
    let served = async {
        let servers = Servers::bind(servers, coordinator.clone()).await?;
        servers
            .run(async {
                tokio::select! {
                    _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                    _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
                }
            })
            .await;
        anyhow::Ok(())
    };
    let outcome = served.await;
    // Whatever ended the servers: what was accepted is finished, and the witness written.
    running.close().await;
    tracing::info!("stopped");
    outcome
}
