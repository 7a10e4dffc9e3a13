//! The command line, as `clap` types. Names and defaults are upstream's where upstream has them.

mod access;
mod context;
mod update;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

pub use access::{AccessCommand, ExplainArgs};
pub use context::{AddContext, ContextCommand};
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
    /// Back up, verify and restore the state of a standalone Coordinator
    #[command(subcommand, arg_required_else_help = true)]
    Backup(BackupCommand),
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

/// `backup ..`
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Back up the state of a Coordinator, also while it runs
    ///
    /// From a Coordinator's address it takes a user who may update the manifest (--cert, --key, or those of a context).
    Create {
        /// Seal directory of the Coordinator (EDG_COORDINATOR_SEAL_DIR), or address of its client API, HOST:PORT
        #[arg(value_name = "SEAL_DIR|COORDINATOR")]
        source: String,
        /// Folder, or file that does not exist yet
        destination: PathBuf,
        /// With an address: who asks.
        #[command(flatten)]
        client: ClientCert,
    },
    /// List the backups in a folder
    List {
        /// Folder
        dir: PathBuf,
    },
    /// Tell what a backup is. Needs no key
    Inspect {
        /// Backup file, or seal directory
        backup: PathBuf,
    },
    /// Prove, offline, that a backup opens with these recovery keys
    Verify {
        /// Backup file, or seal directory
        backup: PathBuf,
        /// What opens it.
        #[command(flatten)]
        at_hand: AtHand,
    },
    /// Put a backup in place. What it replaces is kept beside it
    Restore {
        /// Backup file
        backup: PathBuf,
        /// Seal directory of the Coordinator
        seal_dir: PathBuf,
        /// Replace even a newer state or another deployment
        #[arg(long)]
        force: bool,
    },
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
    /// SOURCE is a backup, a seal directory, or a sealed_data of upstream. Without a key the header alone is told, which
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
    /// Writes sealed_data and sealed_key into the folder named with -o, which must not hold any yet. The same recovery
    /// secrets open it there. A seal directory in simulation opens by its own sealed_key where no key is given.
    Export {
        /// Backup file, or seal directory
        source: PathBuf,
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
    /// The Go Coordinator, 1.9
    Upstream,
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
