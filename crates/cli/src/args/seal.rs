//! Commands for what opens a sealed state: `seal`.

use clap::Subcommand;

use super::{At, ClientCert};

/// `seal ..`
#[derive(Debug, Subcommand)]
pub enum SealCommand {
    /// List, try and change the key slots of a sealed state: its key, wrapped by several sealing backends
    #[command(subcommand, arg_required_else_help = true)]
    Slot(SlotCommand),
    /// Replace the key of the sealed state, and with it all key slots
    ///
    /// The old slots go only after the new ones were read back. It is refused if a slot cannot be made anew now.
    Rotate {
        /// Where.
        #[command(flatten)]
        at: At,
        /// Who asks.
        #[command(flatten)]
        client: ClientCert,
        /// Also if slots are lost that cannot be made anew now
        #[arg(long)]
        force: bool,
    },
}

/// `seal slot ..`
#[derive(Debug, Subcommand)]
pub enum SlotCommand {
    /// List the slots, and what came of the last try of each. All of these take a user who may update the manifest
    List {
        /// Where.
        #[command(flatten)]
        at: At,
        /// Who asks.
        #[command(flatten)]
        client: ClientCert,
    },
    /// Have a sealing backend that the Coordinator is configured with make a slot
    Add {
        /// Name of the backend, such as pkcs11
        #[arg(value_name = "BACKEND")]
        backend: String,
        /// Where.
        #[command(flatten)]
        at: At,
        /// Who asks.
        #[command(flatten)]
        client: ClientCert,
    },
    /// Try slots as a start would. Ends with code 1 if one does not open
    Test {
        /// Where.
        #[command(flatten)]
        at: At,
        /// Only the slot of that label
        #[arg(long, value_name = "LABEL")]
        slot: Option<String>,
        /// Who asks.
        #[command(flatten)]
        client: ClientCert,
    },
    /// Remove a slot, and replace the key so that no copy of the slot opens what comes after
    Remove {
        /// Label of the slot
        #[arg(value_name = "LABEL")]
        slot: String,
        /// Where.
        #[command(flatten)]
        at: At,
        /// Who asks.
        #[command(flatten)]
        client: ClientCert,
        /// Also if other slots are lost with it, and, where there are recovery keys, if none is left
        #[arg(long)]
        force: bool,
    },
    /// Replace a slot, for example one of a device that was replaced. The key and the other slots are replaced, too
    Rotate {
        /// Label of the slot
        #[arg(value_name = "LABEL")]
        slot: String,
        /// Where.
        #[command(flatten)]
        at: At,
        /// Who asks.
        #[command(flatten)]
        client: ClientCert,
        /// Also if others are lost that cannot be made anew now
        #[arg(long)]
        force: bool,
    },
}
