//! `manifest update ..`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{At, ClientCert};

/// `manifest update ..`
#[derive(Debug, Subcommand)]
pub enum UpdateCommand {
    /// Raise security versions of packages, or propose a new manifest
    ///
    /// A manifest with nothing but packages and their SecurityVersion is in force at once. Any other one replaces the
    /// whole manifest, once as many owners have acknowledged it as the manifest in force asks for.
    Apply(Submission),
    /// Acknowledge the pending manifest
    ///
    /// MANIFEST must be the pending one, exactly as it was proposed: `manifest update get` prints it.
    Acknowledge(Submission),
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

/// A manifest that is sent by a user.
#[derive(Debug, Args)]
pub struct Submission {
    /// Manifest, JSON or YAML
    pub manifest: PathBuf,
    /// Where.
    #[command(flatten)]
    pub at: At,
    /// Who asks.
    #[command(flatten)]
    pub client: ClientCert,
    /// Write new recovery data to this file
    #[arg(short, long, value_name = "FILE")]
    pub recoverydata: Option<PathBuf>,
}
