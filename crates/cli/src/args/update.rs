//! `manifest update ..`

use std::path::PathBuf;

use clap::Subcommand;

use super::{At, ClientCert};

/// `manifest update ..`
#[derive(Debug, Subcommand)]
pub enum UpdateCommand {
    /// Raise security versions of packages, or propose a new manifest
    ///
    /// A manifest with nothing but packages and their SecurityVersion is in force at once. Any other one replaces the
    /// whole manifest, once as many owners have acknowledged it as the manifest in force asks for.
    Apply {
        /// Update, JSON or YAML
        manifest: PathBuf,
        /// Where.
        #[command(flatten)]
        at: At,
        /// Who asks.
        #[command(flatten)]
        client: ClientCert,
        /// Write new recovery data to this file
        #[arg(short, long, value_name = "FILE")]
        recoverydata: Option<PathBuf>,
    },
    /// Acknowledge the pending manifest
    Acknowledge {
        /// The pending manifest, exactly as it was proposed
        manifest: PathBuf,
        /// Where.
        #[command(flatten)]
        at: At,
        /// Who asks.
        #[command(flatten)]
        client: ClientCert,
        /// Write new recovery data to this file
        #[arg(short, long, value_name = "FILE")]
        recoverydata: Option<PathBuf>,
    },
    /// Cancel the pending update. Acknowledgements given so far are lost
    Cancel {
        /// Where.
        #[command(flatten)]
        at: At,
        /// Who asks.
        #[command(flatten)]
        client: ClientCert,
    },
    /// Get the pending manifest
    Get {
        /// Where.
        #[command(flatten)]
        at: At,
        /// Print who has not acknowledged it instead
        #[arg(long)]
        missing: bool,
    },
}
