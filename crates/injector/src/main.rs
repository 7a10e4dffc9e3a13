//! The program `marblerun-injector`.

use std::process::ExitCode;

use anyhow::Context as _;
use marblerun_injector::logging;
use marblerun_injector::server::{Limits, Server, Stop};
use marblerun_injector::settings::{Settings, SettingsError};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let settings = match Settings::read(std::env::args_os(), |name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(SettingsError::CommandLine(error)) => error.exit(),
        Err(error) => {
            eprintln!("marblerun-injector: {error}");
            return ExitCode::FAILURE;
        }
    };
    logging::init(&settings);
    let outcome = tokio::runtime::Runtime::new()
        .context("the runtime cannot start")
        .and_then(|runtime| runtime.block_on(run(settings)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let server = Server::bind(settings, Limits::default()).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), address = %server.address()?, "serving the admission webhook");
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => Stop::Drain,
            _ = interrupt.recv() => Stop::AtOnce,
        }
    };
    server.run(stop).await;
    tracing::info!("stopped");
    Ok(())
}
