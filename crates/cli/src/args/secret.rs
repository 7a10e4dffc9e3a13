//! `secret`: read and upload secrets.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{At, ClientCert};

/// `secret ..`
#[derive(Debug, Args)]
pub struct SecretArgs {
    /// Who asks.
    #[command(flatten)]
    pub client: SecretClientCert,
    /// What to do.
    #[command(subcommand)]
    pub command: SecretCommand,
}

/// As [`ClientCert`], for a whole group of commands.
#[derive(Debug, Args, Clone)]
pub struct SecretClientCert {
    /// PEM file of the user's certificate, leaf first [env: MARBLERUN_CERT] [default: that of the context]
    #[arg(short, long, value_name = "FILE", global = true)]
    pub cert: Option<PathBuf>,
    /// PEM file of the user's private key [env: MARBLERUN_KEY] [default: that of the context]
    #[arg(short, long, value_name = "FILE", global = true)]
    pub key: Option<PathBuf>,
    /// JSON file that names a PKCS#11 module and token; instead of --cert and --key
    #[arg(long, value_name = "FILE", global = true)]
    pub pkcs11_config: Option<PathBuf>,
    /// Id of the private key on the token: as typed, or `hex:6b31`, or a `pkcs11:` URI
    #[arg(long, value_name = "ID", global = true)]
    pub pkcs11_key_id: Option<OsString>,
    /// Label of the private key on the token
    #[arg(long, value_name = "LABEL", global = true)]
    pub pkcs11_key_label: Option<OsString>,
    /// Id of the certificate on the token
    #[arg(long, value_name = "ID", global = true)]
    pub pkcs11_cert_id: Option<OsString>,
    /// Label of the certificate on the token
    #[arg(long, value_name = "LABEL", global = true)]
    pub pkcs11_cert_label: Option<OsString>,
}

impl From<SecretClientCert> for ClientCert {
    fn from(of_group: SecretClientCert) -> Self {
        let SecretClientCert {
            cert,
            key,
            pkcs11_config,
            pkcs11_key_id,
            pkcs11_key_label,
            pkcs11_cert_id,
            pkcs11_cert_label,
        } = of_group;
        Self { cert, key, pkcs11_config, pkcs11_key_id, pkcs11_key_label, pkcs11_cert_id, pkcs11_cert_label }
    }
}

/// `secret ..`
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Upload user-defined secrets
    Set {
        /// JSON file: {"NAME": {"Key": BASE64} or {"Cert": BASE64, "Private": BASE64}}; with --from-pem a PEM file
        file: PathBuf,
        /// Where.
        #[command(flatten)]
        at: At,
        /// The file is PEM and holds the certificate secret of this name
        #[arg(long, value_name = "NAME")]
        from_pem: Option<String>,
    },
    /// Read secrets
    Get {
        /// Names of secrets, then the address of the client API
        ///
        /// With a context or $MARBLERUN_ENDPOINT the address can be left out; a last word HOST:PORT is still taken as one.
        #[arg(required = true, num_args = 1.., value_name = "NAME... COORDINATOR")]
        names_and_coordinator: Vec<String>,
        /// Print values also on a terminal
        #[arg(long)]
        show: bool,
        /// Print this part of one secret and nothing else
        #[arg(long, value_enum, value_name = "PART")]
        field: Option<SecretField>,
        /// With --field: how to write it [default: pem for certificates and keys, base64 for values]
        #[arg(long, value_enum, value_name = "ENCODING", requires = "field")]
        encoding: Option<Encoding>,
    },
}

/// A part of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SecretField {
    /// The value of a symmetric key or plain secret.
    Value,
    /// The certificate.
    Cert,
    /// The private key.
    Key,
    /// The public key.
    Public,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Encoding {
    /// As they are.
    Raw,
    /// Standard base64.
    Base64,
    /// Hexadecimal.
    Hex,
    /// PEM; not for plain values.
    Pem,
}
