//! `access ..`

use clap::{Args, Subcommand};

/// `access ..`
#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Tell who may do what, by which role, what nobody may, and what an update of the manifest takes
    Explain(ExplainArgs),
}

/// `access explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Manifest file, or address of a Coordinator, HOST:PORT [default: that of the context]
    #[arg(value_name = "MANIFEST|COORDINATOR", env = "MARBLERUN_ENDPOINT", hide_env_values = true)]
    pub source: Option<String>,
    /// Only this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Only this action: ReadSecret, WriteSecret, UpdateSecurityVersion, UpdateManifest
    #[arg(long, value_name = "ACTION")]
    pub action: Option<String>,
    /// Only this secret or package
    #[arg(long, value_name = "NAME")]
    pub resource: Option<String>,
}
