//! Commands over sealed states and their history: `backup`, `audit`, `state`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ClientCert, ClusterArgs, TokenKey};

/// `backup ..`
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Back up the state of a Coordinator, also while it runs
    ///
    /// From a Coordinator's address it takes a user who may update the manifest (--cert, --key, or those of a context).
    #[command(allow_missing_positional = true)]
    Create {
        /// Seal directory of the Coordinator (EDG_COORDINATOR_SEAL_DIR), or address of its client API, HOST:PORT
        #[arg(
            value_name = "SEAL_DIR|COORDINATOR",
            required_unless_present = "kubernetes",
            conflicts_with = "kubernetes"
        )]
        source: Option<String>,
        /// Folder, or file that does not exist yet
        #[arg(required = true)]
        destination: PathBuf,
        /// With an address: who asks.
        #[command(flatten)]
        client: ClientCert,
        /// In a cluster.
        #[command(flatten)]
        in_cluster: InCluster,
    },
    /// List the backups in a folder, or the state in a cluster and its archives
    List {
        /// Folder
        #[arg(required_unless_present = "kubernetes", conflicts_with = "kubernetes")]
        dir: Option<PathBuf>,
        /// In a cluster.
        #[command(flatten)]
        in_cluster: InCluster,
    },
    /// Tell what a backup is. Needs no key
    Inspect {
        /// Backup file (a sealed_data, or a Secret as YAML or JSON), or seal directory
        backup: PathBuf,
    },
    /// Prove, offline, that a backup opens with these recovery keys
    Verify {
        /// Backup file (a sealed_data, or a Secret as YAML or JSON), or seal directory
        backup: PathBuf,
        /// What opens it.
        #[command(flatten)]
        at_hand: AtHand,
    },
    /// Put a backup in place. What it replaces is kept beside it
    ///
    /// With --kubernetes it stops all Coordinators, replaces the state, starts as many again, and tells whether they opened
    /// it by themselves. Where it was interrupted, running it again finishes it.
    Restore {
        /// Backup file (a sealed_data, or a Secret as YAML or JSON)
        backup: PathBuf,
        /// Seal directory of the Coordinator
        #[arg(required_unless_present = "kubernetes", conflicts_with = "kubernetes")]
        seal_dir: Option<PathBuf>,
        /// How.
        #[command(flatten)]
        options: Box<RestoreOptions>,
    },
}

/// Whether a cluster is meant, and which.
#[derive(Debug, Args, Clone)]
pub struct InCluster {
    /// The state in a Kubernetes cluster, in the namespace of -n: in a Secret (distributed), or in the volume of the pod
    #[arg(long)]
    pub kubernetes: bool,
    /// Kubeconfig file [default: those of $KUBECONFIG, else ~/.kube/config, else the pod's service account]
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    pub kube_context: Option<String>,
}

impl InCluster {
    /// Which cluster.
    pub fn cluster(&self) -> ClusterArgs {
        ClusterArgs { kubeconfig: self.kubeconfig.clone(), kube_context: self.kube_context.clone() }
    }
}

/// How a backup is restored.
#[derive(Debug, Args)]
pub struct RestoreOptions {
    /// Replace even a newer state or another deployment
    #[arg(long)]
    pub force: bool,
    /// In a cluster.
    #[command(flatten)]
    pub in_cluster: InCluster,
    /// Make the namespace if there is none
    #[arg(long, requires = "kubernetes")]
    pub create_namespace: bool,
    /// Leave stopping and starting to you: no Coordinator may run
    #[arg(long, requires = "kubernetes")]
    pub no_scale: bool,
    /// Tell what would be done, and change nothing
    #[arg(long, requires = "kubernetes")]
    pub dry_run: bool,
    /// Do not wait until the Coordinators are ready again
    #[arg(long, requires = "kubernetes")]
    pub no_wait: bool,
    /// How long to wait for the Coordinators, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
}

/// `audit ..`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Print the audit trail, or export it with --output FILE
    ///
    /// It is verified first; what does not verify is neither printed nor written.
    Log {
        /// Address of the client API, HOST:PORT; or an export, a backup, a seal directory [default: that of the context]
        #[arg(env = "MARBLERUN_ENDPOINT", hide_env_values = true)]
        source: Option<String>,
        /// Begin behind this entry
        #[arg(long, default_value_t = 0, value_name = "SEQUENCE")]
        after: u64,
        /// What was attempted and refused, instead of what happened
        #[arg(long)]
        refused: bool,
        /// Root certificate (PEM) whose key must have signed [default: the cached one; of a backup, the one inside]
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
        /// Who asks.
        #[command(flatten)]
        keys: AuditKeys,
    },
    /// Prove that no entry was changed, dropped, swapped or cut off. Exit code 1 tells where it breaks
    ///
    /// Several exports in a row, oldest first, are verified together. Exports and backups need no Coordinator.
    Verify {
        /// Address of the client API, HOST:PORT; or exports, a backup, a seal directory [default: that of the context]
        #[arg(value_name = "SOURCE", env = "MARBLERUN_ENDPOINT", hide_env_values = true)]
        sources: Vec<String>,
        /// Root certificate (PEM) whose key must have signed [default: the cached one; of a backup, the one inside]
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
        /// Who asks.
        #[command(flatten)]
        keys: AuditKeys,
    },
}

/// What opens a source of the audit trail.
#[derive(Debug, Args, Clone)]
pub struct AuditKeys {
    /// With an address: PEM file of the user's certificate, leaf first [env: MARBLERUN_CERT] [default: that of the context]
    #[arg(short, long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// With an address: PEM file of the user's private key [env: MARBLERUN_KEY] [default: that of the context]. With a backup: of a recovery private key, once for each party
    #[arg(short, long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// With a backup: recovery data that `manifest set` answered (JSON), if the backup does not hold the encrypted secrets
    #[arg(long, value_name = "FILE")]
    pub recoverydata: Option<PathBuf>,
    /// With a backup: decrypted recovery secret (raw bytes), once for each party
    #[arg(long, value_name = "FILE")]
    pub secret: Vec<PathBuf>,
    /// A key on a token.
    #[command(flatten)]
    pub token: TokenKey,
    /// With an address: id of the user's certificate on the token
    #[arg(long, value_name = "ID")]
    pub pkcs11_cert_id: Option<OsString>,
    /// With an address: label of the user's certificate on the token
    #[arg(long, value_name = "LABEL")]
    pub pkcs11_cert_label: Option<OsString>,
}

/// `state ..`
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Tell what a state is, and, with what opens it, what is inside. Values of secrets are never shown
    ///
    /// SOURCE is a backup, a Secret as YAML or JSON, a seal directory, or a sealed_data of upstream. Without a key the header alone is told, which
    /// nothing proves. A seal directory opens by its own sealed_key with --sealed-key, in simulation.
    Inspect {
        /// Backup file, or seal directory
        source: PathBuf,
        /// What opens it.
        #[command(flatten)]
        open: OpenArgs,
        /// Open a seal directory with its own sealed_key (simulation; see --simulation-host-key)
        #[arg(long)]
        sealed_key: bool,
    },
    /// Write a state in the form that upstream's Coordinator opens
    ///
    /// Writes sealed_data and sealed_key into the folder named with -o, which must not hold any yet; or, for several
    /// Coordinators in Kubernetes, the objects they start from into the file named with -o. The same recovery secrets open
    /// it there. A seal directory in simulation opens by its own sealed_key where no key is given.
    Export {
        /// Backup file (a sealed_data, or a Secret as YAML or JSON), or seal directory
        #[arg(required_unless_present = "kubernetes", conflicts_with = "kubernetes")]
        source: Option<PathBuf>,
        /// In a cluster.
        #[command(flatten)]
        in_cluster: InCluster,
        /// For which program
        #[arg(long, value_enum)]
        to: ExportFormat,
        /// What opens it.
        #[command(flatten)]
        open: OpenArgs,
        /// Leave out sealed_key, which is the data encryption key in the clear: then it is opened by recovery alone
        #[arg(long)]
        no_sealed_key: bool,
    },
}

/// Recovery keys and secrets at hand, and what they must fit.
#[derive(Debug, Args, Clone)]
pub struct AtHand {
    /// PEM file of a recovery private key; once for each party
    #[arg(short, long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// And a key on a token.
    #[command(flatten)]
    pub token: TokenKey,
    /// Recovery data that `manifest set` answered (JSON); needed if the backup does not hold the encrypted secrets
    #[arg(long, value_name = "FILE")]
    pub recoverydata: Option<PathBuf>,
    /// Decrypted recovery secret (raw bytes); once for each party
    #[arg(long, value_name = "FILE")]
    pub secret: Vec<PathBuf>,
    /// Root certificate (PEM) that it must belong to
    #[arg(long, value_name = "FILE")]
    pub root: Option<PathBuf>,
}

/// What opens a state offline.
#[derive(Debug, Args, Clone)]
pub struct OpenArgs {
    /// Recovery keys and secrets.
    #[command(flatten)]
    pub at_hand: AtHand,
    /// Simulation: the file that plays the host's seal key
    #[arg(long, value_name = "FILE", env = "MARBLERUN_SIMULATION_HOST_KEY")]
    pub simulation_host_key: Option<PathBuf>,
}

/// Forms a state is exported to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The Go Coordinator, 1.9: files of its seal directory
    Upstream,
    /// Several Go Coordinators in Kubernetes: Secret and ConfigMap, as YAML
    UpstreamKubernetes,
}
