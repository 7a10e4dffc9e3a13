//! Commands for Coordinators that share a state: `cluster`, `restore`, `kek`.

use clap::Subcommand;

use super::{At, ClientCert};

/// `cluster ..`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Tell head, writers, keys by id, size, peers, and whether the state that lies in the shared place contradicts
    Status {
        /// Where.
        #[command(flatten)]
        at: At,
    },
}

/// `restore ..`
#[derive(Debug, Subcommand)]
pub enum RestoreCommand {
    /// Let what lies in the shared place replace the state that the Coordinator serves
    ///
    /// For a restored backup that Coordinators found while they ran. What happened since the backup is lost; the audit
    /// trail tells who accepted that. It takes a user who may update the manifest in the state that is served.
    Accept {
        /// Where.
        #[command(flatten)]
        at: At,
        /// Who decides.
        #[command(flatten)]
        client: ClientCert,
    },
    /// Have the state that the Coordinator serves written back
    ///
    /// For a state that nobody should have put there, or an object that was deleted. What lies there is archived. It
    /// takes a user who may update the manifest in the state that is served.
    Reject {
        /// Where.
        #[command(flatten)]
        at: At,
        /// Who decides.
        #[command(flatten)]
        client: ClientCert,
    },
}

/// `kek ..`
#[derive(Debug, Subcommand)]
pub enum KekCommand {
    /// Make another key encryption key. It takes a user who may update the manifest
    Rotate {
        /// Where.
        #[command(flatten)]
        at: At,
        /// Who asks.
        #[command(flatten)]
        client: ClientCert,
        /// Let the old keys go at once, and the data encryption key with them: for a key that somebody may have learnt
        #[arg(long)]
        revoke: bool,
    },
}
