//! Start-up: from a configuration to a Coordinator over an opened store.
//!
//! A state that cannot be opened leads to recovery mode, not to an error. What ends the start is what an
//! operator has to put right first: an unusable directory or port, hardware that was found and gives no
//! evidence, a start-up manifest that cannot be set.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use marblerun_attestation::Devices;
use marblerun_pki::{Authority, SubjectAltNames};
use marblerun_sealing::{CounterDevice, Sealers};
use marblerun_state::{Lineage, Phase, RootSecret, State};
use marblerun_store::{RollbackPolicy, Store, StoreConfig};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::core::{Clock, Coordinator, DEFAULT_OFFLINE_GRACE, Settings};
use crate::untrusted::lines_for_log;

mod collateral;
mod reached;
mod sealing;
mod shared;
mod startup_manifest;
mod tee;

pub use sealing::SealingError;
pub use shared::{Joined, Running, SharedError};
pub use startup_manifest::StartupManifestError;
pub use tee::TeeError;

/// Program and version, for the header of the sealed state and the metrics.
pub const WRITER: &str = concat!("marblerun-coordinator ", env!("CARGO_PKG_VERSION"));

/// Why the Coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No usable environment.
    #[error(transparent)]
    Tee(#[from] TeeError),
    /// Nothing to seal with.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// The seal directory cannot be used.
    #[error("the seal directory {} cannot be used: {reason}. Check its permissions, and that no other Coordinator uses it", dir.display())]
    SealDir {
        /// Directory.
        dir: PathBuf,
        /// Cause.
        reason: std::io::Error,
    },
    /// It cannot join the others.
    #[error(transparent)]
    Shared(#[from] SharedError),
    /// Where collateral should come from.
    #[error(transparent)]
    Collateral(#[from] marblerun_collateral::SettingsError),
    /// The start-up manifest is not in force.
    #[error(transparent)]
    Manifest(#[from] StartupManifestError),
    /// It was asked to stop while it waited for the hardware or the seal directory.
    #[error("stopped before it had started")]
    Stopped,
    /// A thread of the start ended without an answer.
    #[error("the start was interrupted by a fault")]
    Interrupted,
}

/// Opens the store and makes the Coordinator. Must be called within a Tokio runtime.
///
/// # Errors
/// [`StartError`].
pub async fn start(config: &Config, clock: Clock) -> Result<Coordinator, StartError> {
    Ok(start_unless(config, clock, std::future::pending()).await?.coordinator)
}

/// As [`start`], and gives up if `stop` completes while the hardware is asked or the seal directory is being opened, where
/// another Coordinator may hold it for long. What comes after is short, and must not be left half done.
///
/// # Errors
/// [`StartError`].
pub async fn start_unless(
    config: &Config,
    clock: Clock,
    stop: impl Future<Output = ()>,
) -> Result<Running, StartError> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    tokio::pin!(stop);
    let (choice, build) = (config.tee, config.build);
    let looking = tokio::task::spawn_blocking(move || tee::open(choice, build, &Devices::of_this_machine()));
    let backend = tokio::select! {
        opened = looking => opened.map_err(|_| StartError::Interrupted)??,
        () = &mut stop => return Err(StartError::Stopped),
    };
    let (backend, collateral) = collateral::attach(backend, &config.collateral)?;
    let sealers = sealing::open(&config.seal, &backend.issuer, Path::new("/"))?;
    let seal_warning = sealing::warning(&sealers, config.cluster.is_some());
    // Read before anything is changed: a wrong path is found while nothing has happened yet.
    let manifest = config
        .startup_manifest
        .as_deref()
        .map(|path| startup_manifest::StartupManifest::read(path, &config.startup_recovery_data))
        .transpose()?;

    let opening = async {
        match &config.cluster {
            None => {
                let counter = sealing::counter(&config.seal)?;
                Ok::<_, StartError>((open_store(config, sealers, counter, clock.clone()).await?, None))
            }
            Some(settings) => {
                let (store, joined) = shared::join(config, settings, sealers, &backend, &clock).await?;
                Ok((store, Some(joined)))
            }
        }
    };
    let (store, joined) = tokio::select! {
        opened = opening => opened?,
        () = &mut stop => return Err(StartError::Stopped),
    };
    let mut warnings = config.warnings.clone();
    warnings.extend(tee::warning(&backend));
    if let Some(warning) = seal_warning {
        tracing::warn!("{warning}");
        warnings.push(warning.to_owned());
    }
    let said = warnings.len();
    let coordinator = Coordinator::new(
        store,
        Settings {
            clock,
            backend,
            collateral,
            marble_grace: config.marble_grace,
            offline_grace: config.cluster.as_ref().map_or(DEFAULT_OFFLINE_GRACE, |cluster| cluster.offline_grace),
            deny_recovery_reset: config.deny_recovery_reset,
            hsm_sealing: config.seal.hsm_sealing(),
            warnings,
        },
    );
    if let Some(joined) = &joined {
        joined.introduce(&coordinator);
    }
    coordinator.make_first_quote().await.map_err(TeeError::Evidence)?;
    if let Some(manifest) = manifest {
        manifest.set(&coordinator).await?;
    }
    // Devices may be slow, and nobody waits for this.
    let looking = coordinator.clone();
    tokio::spawn(async move { looking.look_at_slots().await });
    // Those of the configuration have been said.
    let warnings: Vec<String> = coordinator.warnings().into_iter().skip(said).collect();
    for warning in lines_for_log(&warnings) {
        tracing::warn!("{warning}");
    }
    let (code, text) = coordinator.status();
    tracing::info!(state = code, "{text}");
    Ok(Running { coordinator, joined })
}

async fn open_store(
    config: &Config,
    sealers: Sealers,
    counter: Option<Arc<dyn CounterDevice>>,
    clock: Clock,
) -> Result<Store, StartError> {
    let fitting = if sealers.in_simulation() { RollbackPolicy::Warn } else { RollbackPolicy::Refuse };
    let rollback = config.rollback.unwrap_or(fitting);
    let store_config = StoreConfig {
        dir: config.seal_dir.clone(),
        sealers,
        counter,
        // In simulation there is nobody to keep an older state from.
        rollback,
        writer: WRITER.to_owned(),
        recovery_in_header: config.recovery_in_header,
        deny_reset: config.deny_recovery_reset,
        accept_loss_after: config.accept_loss_after,
        discard_existing_state: config.discard_existing_state,
    };
    let names = config.dns_names.clone();
    let dir = config.seal_dir.clone();
    let opening =
        tokio::task::spawn_blocking(move || Store::open(store_config, &|phase| temporary_state(phase, &names, &clock)));
    opening.await.map_err(|_| StartError::Interrupted)?.map_err(|reason| StartError::SealDir { dir, reason })
}

/// Keys and certificates for a Coordinator without a state: those of the deployment to come, or, in
/// recovery mode, those it serves with until the real ones are back.
///
/// # Errors
/// If a name cannot stand in a certificate, or the random source fails.
pub fn temporary_state(phase: Phase, dns_names: &str, clock: &Clock) -> Result<State, String> {
    let authority = Authority::generate(&SubjectAltNames::from_list(dns_names), clock.now())
        .map_err(|error| format!("making certificates for {dns_names:?}: {error}"))?;
    let mut root_secret = Zeroizing::new(vec![0; 32]);
    let mut lineage = Lineage { deployment_id: [0; 16], incarnation: 1, incarnation_id: [0; 16] };
    for bytes in [&mut root_secret[..], &mut lineage.deployment_id, &mut lineage.incarnation_id] {
        aws_lc_rs::rand::fill(bytes).map_err(|_| "the random source failed".to_owned())?;
    }
    Ok(State::new(phase, lineage, Arc::new(authority), RootSecret(root_secret)))
}
