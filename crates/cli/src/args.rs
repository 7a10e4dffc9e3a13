//! The command line, as `clap` types. Names and defaults are upstream's where upstream has them.

mod access;
mod cluster;
mod context;
mod kubernetes;
mod quote;
mod recover;
mod seal;
mod sealed;
mod secret;
mod update;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

pub use access::{AccessCommand, ExplainArgs};
pub use cluster::{ClusterCommand, KekCommand, RestoreCommand};
pub use context::{AddContext, ContextCommand};
pub use kubernetes::{CheckArgs, ClusterArgs, DryRun, InstallArgs, UninstallArgs};
pub use quote::{QuoteCommand, QuoteExplainArgs};
pub use recover::{RecoverArgs, RecoverWithSignatureArgs, RecoverWithSignatureCommand, RecoveryKey, TokenKey};
pub use seal::{SealCommand, SlotCommand};
pub use sealed::{
    AtHand, AuditCommand, AuditKeys, BackupCommand, ExportFormat, InCluster, OpenArgs, RestoreOptions, StateCommand,
};
pub use secret::{Encoding, SecretArgs, SecretCommand, SecretField};
pub use update::{Submission, UpdateCommand};

use crate::context::Chosen;

/// Manage confidential deployments with MarbleRun.
#[derive(Debug, Parser)]
#[command(name = "marblerun", version, disable_version_flag = true, propagate_version = false, max_term_width = 110)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document on stdout.
    Json,
    /// One YAML document on stdout.
    Yaml,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Path of the cached Coordinator certificates [default: marblerun/coordinator-cert.pem in the user's configuration folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub coordinator_cert: Option<PathBuf>,
    /// Attestation policy (JSON): UniqueID, SignerID, SecurityVersion, ProductID, Debug [default: ./era-config.json if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub era_config: Option<PathBuf>,
    /// Collateral to verify evidence with: address of a PCCS or of Intel's service, or a file or folder [default: as /etc/sgx_default_qcnl.conf says, else Intel]
    #[arg(long, global = true, env = "MARBLERUN_COLLATERAL", hide_env_values = true, value_name = "URL|FILE|DIR")]
    pub collateral: Option<String>,
    /// Skip the verification of evidence. For test deployments only
    #[arg(short, long, global = true)]
    pub insecure: bool,
    /// TCB statuses to accept
    #[arg(long, global = true, value_delimiter = ',', value_name = "STATUS", default_values_t = ["UpToDate".to_owned(), "SWHardeningNeeded".to_owned()])]
    pub accepted_tcb_statuses: Vec<String>,
    /// Advisories to accept with status SWHardeningNeeded [default: all]
    #[arg(long, global = true, value_delimiter = ',', value_name = "ADVISORY")]
    pub accepted_advisories: Vec<String>,
    /// Kubernetes namespace [default: the context's, else marblerun]
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Freshness value (these bytes) to be contained in the evidence
    #[arg(long, global = true, default_value = "")]
    pub nonce: String,
    /// Write the Coordinator's evidence to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub save_sgx_quote: Option<PathBuf>,
    /// How to print data. `--output json` and `--output yaml` mean the same
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Write data to this file; `-` is stdout. The words `json`, `yaml` and `text` choose the format instead (a file of that name: ./json)
    #[arg(short, long, global = true, value_name = "FILE|FORMAT")]
    pub output: Option<String>,
    /// Time limit of each call to the Coordinator, in seconds
    #[arg(long, global = true, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// Context to use [default: the one chosen with `context use`]
    #[arg(long, global = true, env = "MARBLERUN_CONTEXT", hide_env_values = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Attest the Coordinator also where its cached certificate would do
    #[arg(long, global = true)]
    pub attest: bool,
    /// Answer yes to all questions
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// Tell kinds of failure apart by the exit code
    #[arg(long, global = true)]
    pub exit_code: bool,
    /// The context in use, once it has been looked up.
    #[arg(skip)]
    pub chosen: OnceCell<Option<Chosen>>,
}

impl Global {
    /// How stdout must be written.
    pub fn format(&self) -> Format {
        let named = self.output.as_deref().and_then(Format::from_name);
        self.format.or(named).unwrap_or(Format::Text)
    }

    /// The file named with `--output`, if it names one.
    pub fn output_file(&self) -> Option<&str> {
        self.output.as_deref().filter(|value| Format::from_name(value).is_none())
    }
}

impl Format {
    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::from_str(name, false).ok()
    }
}

/// Where the Coordinator is.
#[derive(Debug, Args, Clone, Default)]
pub struct At {
    /// Address of the client API, HOST:PORT (without PORT: 4433) [default: that of the context]
    #[arg(env = "MARBLERUN_ENDPOINT", hide_env_values = true, value_hint = ValueHint::Hostname)]
    pub coordinator: Option<String>,
}

/// A client certificate with its key: in files, or on a PKCS#11 token.
#[derive(Debug, Args, Clone, Default)]
pub struct ClientCert {
    /// PEM file of the user's certificate, leaf first [env: MARBLERUN_CERT] [default: that of the context]
    #[arg(short, long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// PEM file of the user's private key [env: MARBLERUN_KEY] [default: that of the context]
    #[arg(short, long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// JSON file that names a PKCS#11 module and token; instead of --cert and --key
    #[arg(long, value_name = "FILE")]
    pub pkcs11_config: Option<PathBuf>,
    /// Id of the private key on the token: as typed, or `hex:6b31`, or a `pkcs11:` URI
    #[arg(long, value_name = "ID")]
    pub pkcs11_key_id: Option<OsString>,
    /// Label of the private key on the token
    #[arg(long, value_name = "LABEL")]
    pub pkcs11_key_label: Option<OsString>,
    /// Id of the certificate on the token
    #[arg(long, value_name = "ID")]
    pub pkcs11_cert_id: Option<OsString>,
    /// Label of the certificate on the token
    #[arg(long, value_name = "LABEL")]
    pub pkcs11_cert_label: Option<OsString>,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install MarbleRun in a Kubernetes cluster, or change an installation
    ///
    /// Running it again changes only what differs, and never the state. Values and objects are those of the Helm chart.
    Install(Box<InstallArgs>),
    /// Remove MarbleRun from a Kubernetes cluster. The state stays
    Uninstall(UninstallArgs),
    /// Tell whether MarbleRun is ready in a Kubernetes cluster, and wait for it
    Check(CheckArgs),
    /// Tell what the nodes of a Kubernetes cluster can protect with
    Precheck {
        /// Which cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Find what is wrong with an installation in a Kubernetes cluster, and what to do about it
    ///
    /// Fails if something is. Changes nothing.
    Doctor {
        /// Which cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Set, read, verify the manifest
    #[command(subcommand, arg_required_else_help = true)]
    Manifest(ManifestCommand),
    /// Get the Coordinator's certificates
    #[command(subcommand, arg_required_else_help = true)]
    Certificate(CertificateCommand),
    /// Read and upload secrets
    #[command(arg_required_else_help = true)]
    Secret(SecretArgs),
    /// Tell the state of the Coordinator
    ///
    /// 1: recovery mode. 2: ready to accept a manifest. 3: running, ready to accept Marbles.
    Status {
        /// Where.
        #[command(flatten)]
        at: At,
    },
    /// Upload a recovery secret to a Coordinator in recovery mode
    ///
    /// SECRET is the file with this party's secret, raw bytes, encrypted as `manifest set` answered it or decrypted.
    /// With --data, SECRET is the recovery data file itself; your entry is found by your key, or named with --name.
    Recover(RecoverArgs),
    /// Recover with a signature that was made elsewhere
    RecoverWithSignature(RecoverWithSignatureArgs),
    /// Back up, verify and restore the state of a Coordinator, or of several in a Kubernetes cluster
    #[command(subcommand, arg_required_else_help = true)]
    Backup(BackupCommand),
    /// Tell what a Coordinator knows of the state that it shares with others
    #[command(subcommand, arg_required_else_help = true)]
    Cluster(ClusterCommand),
    /// Decide about a state that was put in place of the one that Coordinators share
    #[command(subcommand, arg_required_else_help = true)]
    Restore(RestoreCommand),
    /// Rotate the key that Coordinators share to open their state
    #[command(subcommand, arg_required_else_help = true)]
    Kek(KekCommand),
    /// Tell and change what opens a sealed state by itself
    #[command(subcommand, arg_required_else_help = true)]
    Seal(SealCommand),
    /// Read and verify the audit trail: who did what to the deployment
    #[command(subcommand, arg_required_else_help = true)]
    Audit(AuditCommand),
    /// Look into a sealed state, and export it, without a Coordinator
    #[command(subcommand, arg_required_else_help = true)]
    State(StateCommand),
    /// Run the whole story on this machine, in simulation: attest, provision, seal, lose the host, recover, restore
    Demo(DemoArgs),
    /// Tell who may do what under a manifest, and why
    #[command(subcommand, arg_required_else_help = true)]
    Access(AccessCommand),
    /// Keep names, addresses, certificates and credentials of Coordinators
    #[command(subcommand, arg_required_else_help = true)]
    Context(ContextCommand),
    /// Verify evidence that is at hand in a file, and tell what is in it
    #[command(subcommand, arg_required_else_help = true)]
    Quote(QuoteCommand),
    /// Print the identity of an enclave, as packages of manifests name it
    ///
    /// PATH is a signed EGo or Open Enclave program, a folder or file of Gramine, an Occlum image, or a signed SGX SDK enclave.
    PackageInfo {
        /// Program, signature file, or folder
        path: PathBuf,
    },
    /// Tell the version of this program, and of the Coordinator
    Version {
        /// Where.
        #[command(flatten)]
        at: At,
    },
    /// Write the completion script of a shell to stdout
    Completion {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Write the reference of all commands to stdout, as Markdown
    #[command(hide = true)]
    GenerateReference,
    /// Write man pages into a folder
    GenerateMan {
        /// Folder
        dir: PathBuf,
    },
}

/// `manifest ..`
#[derive(Debug, Subcommand)]
pub enum ManifestCommand {
    /// Set the manifest of a new deployment
    Set {
        /// Manifest, JSON or YAML
        manifest: PathBuf,
        /// Where.
        #[command(flatten)]
        at: At,
        /// Write the recovery data to this file
        #[arg(short, long, value_name = "FILE")]
        recoverydata: Option<PathBuf>,
        /// Really set it although the Coordinator is in recovery mode, giving up the state that waits there
        #[arg(long)]
        discard_state: bool,
    },
    /// Get the manifest in force
    Get {
        /// Where.
        #[command(flatten)]
        at: At,
        /// Add the manifest's SHA-256
        #[arg(short, long)]
        signature: bool,
        /// Merge the security versions of package updates
        #[arg(short = 'u', long)]
        display_update: bool,
        /// Cache the Coordinator's certificates
        #[arg(long)]
        keep_cert: bool,
    },
    /// Verify the Coordinator and that it runs this manifest
    Verify {
        /// Manifest file, or 64 hex digits of its SHA-256
        manifest: String,
        /// Where.
        #[command(flatten)]
        at: At,
    },
    /// Print the update log
    Log {
        /// Where.
        #[command(flatten)]
        at: At,
    },
    /// Print the SHA-256 of a manifest
    Signature {
        /// Manifest, JSON or YAML
        manifest: PathBuf,
    },
    /// Check a manifest without a Coordinator: every error and warning with its place
    Check {
        /// Manifest, JSON or YAML
        manifest: PathBuf,
    },
    /// Update the manifest of a running deployment
    #[command(subcommand, arg_required_else_help = true)]
    Update(UpdateCommand),
}

/// `certificate ..`
#[derive(Debug, Subcommand)]
pub enum CertificateCommand {
    /// The root certificate
    Root {
        /// Where.
        #[command(flatten)]
        at: At,
    },
    /// The intermediate certificate
    Intermediate {
        /// Where.
        #[command(flatten)]
        at: At,
    },
    /// Intermediate and root
    Chain {
        /// Where.
        #[command(flatten)]
        at: At,
    },
}

/// `demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leave the Coordinator running at the end
    #[arg(long)]
    pub keep: bool,
    /// Folder of the programs marblerun-coordinator and marblerun-premain [default: beside this program, then PATH]
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
    /// Folder for the demo's files [default: a new temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Plays one of the demo's Marbles; for the demo itself
    #[arg(long, hide = true, value_name = "ROLE")]
    pub marble: Option<String>,
}
