//! `context ..`

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `context ..`
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Add a context
    ///
    /// The global options --namespace, --era-config and --insecure are kept in it.
    Add(AddContext),
    /// Choose the context that commands use if none is named
    Use {
        /// Context
        #[arg(required_unless_present = "none")]
        name: Option<String>,
        /// Choose no context
        #[arg(long, conflicts_with = "name")]
        none: bool,
    },
    /// List all contexts
    List,
    /// Show one context, and whom it trusts
    Show {
        /// Context [default: the one in use]
        name: Option<String>,
    },
    /// Remove a context and its cached certificates. Files of keys and certificates of users stay
    Rm {
        /// Context
        name: String,
    },
}

/// `context add`
#[derive(Debug, Args)]
pub struct AddContext {
    /// Name: letters, digits, `.`, `_`, `-`
    pub name: String,
    /// Address of the client API, HOST:PORT
    pub address: String,
    /// The only root certificate to accept: PEM file, or sha256:HEX of its DER
    #[arg(long, value_name = "FILE|FINGERPRINT")]
    pub root: Option<String>,
    /// PEM file of the user's certificate
    #[arg(short, long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// PEM file of the user's private key
    #[arg(short, long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Use it from now on
    #[arg(long = "use")]
    pub choose: bool,
    /// Replace a context of that name
    #[arg(long)]
    pub replace: bool,
}
