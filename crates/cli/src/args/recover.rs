//! `recover` and `recover-with-signature`, and where a recovery key comes from.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::At;

/// Where a recovery private key comes from.
#[derive(Debug, Args, Clone)]
pub struct RecoveryKey {
    /// PEM file of the recovery private key (PKCS#8 or PKCS#1)
    #[arg(short, long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Or a key on a token.
    #[command(flatten)]
    pub token: TokenKey,
}

/// A recovery private key on a PKCS#11 token.
#[derive(Debug, Args, Clone)]
pub struct TokenKey {
    /// JSON file that names a PKCS#11 module and token; for a recovery private key there
    #[arg(long, value_name = "FILE")]
    pub pkcs11_config: Option<PathBuf>,
    /// Id of the private key on the token: as typed, or `hex:6b31`, or a `pkcs11:` URI
    #[arg(long, value_name = "ID")]
    pub pkcs11_key_id: Option<OsString>,
    /// Label of the private key on the token
    #[arg(long, value_name = "LABEL")]
    pub pkcs11_key_label: Option<OsString>,
}

/// `recover`
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// File with this party's recovery secret
    pub secret: PathBuf,
    /// Where.
    #[command(flatten)]
    pub at: At,
    /// The key.
    #[command(flatten)]
    pub key: RecoveryKey,
    /// SECRET is the recovery data that `manifest set` answered (JSON)
    #[arg(long)]
    pub data: bool,
    /// With --data: the name of your recovery key [default: the entry that your key decrypts]
    #[arg(long, requires = "data")]
    pub name: Option<String>,
    /// Recover although another Coordinator of the deployment runs and could give this one the key of the state
    #[arg(long)]
    pub force: bool,
}

/// `recover-with-signature`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct RecoverWithSignatureArgs {
    /// Preparation steps.
    #[command(subcommand)]
    pub command: Option<RecoverWithSignatureCommand>,
    /// File with this party's recovery secret, plain or encrypted to the Coordinator's ephemeral key
    #[arg(required = true)]
    pub secret: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub at: At,
    /// File with the signature over the plain secret
    #[arg(short, long, required = true, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Recover although another Coordinator of the deployment runs and could give this one the key of the state
    #[arg(long)]
    pub force: bool,
}

/// `recover-with-signature ..`
#[derive(Debug, Subcommand)]
pub enum RecoverWithSignatureCommand {
    /// Get the Coordinator's ephemeral public key
    PublicKey {
        /// Where.
        #[command(flatten)]
        at: At,
    },
    /// Encrypt a recovery secret to the Coordinator's ephemeral public key
    EncryptSecret {
        /// File with this party's recovery secret
        secret: PathBuf,
        /// PEM file of the Coordinator's ephemeral public key
        #[arg(long, required = true, value_name = "FILE")]
        coordinator_pub_key: PathBuf,
        /// Needed if the secret is still encrypted.
        #[command(flatten)]
        key: RecoveryKey,
    },
    /// Sign a recovery secret
    SignSecret {
        /// File with this party's recovery secret
        secret: PathBuf,
        /// The key.
        #[command(flatten)]
        key: RecoveryKey,
    },
}
