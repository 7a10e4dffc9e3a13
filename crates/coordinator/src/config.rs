//! Configuration: every environment variable, and the flag of the same meaning.
//!
//! [`Options`] is what was written, as text. [`Config`] is what it means. The step between the two is
//! pure, so that every rule here is a test without a process around it. A variable that is set but
//! empty counts as not set, as upstream reads its environment.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use jiff::SignedDuration;
use marblerun_attestation::{Build, OtherBuild, SimulatedIdentity, TeeChoice};
use marblerun_collateral::Place;
use marblerun_store::RollbackPolicy;

mod cluster;
mod reference;
mod seal;

pub use cluster::{ClusterPlace, ClusterSettings, EtcdPlace, KubernetesPlace};
pub use reference::reference_page;
pub use seal::{SealBackend, SealSettings, TokenSettings};

/// The options as they were written.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "marblerun-coordinator",
    version,
    about = "The MarbleRun Coordinator: attests Marbles, provisions them, and keeps the state of a deployment sealed.",
    after_help = "Every option with an [env: ..] note can be set as that environment variable instead."
)]
pub struct Options {
    /// Address of the Marble API (gRPC over mutual TLS), `host:port` or `:port`.
    #[arg(
        long,
        env = "EDG_COORDINATOR_MESH_ADDR",
        hide_env_values = true,
        default_value = ":2001",
        value_name = "ADDR"
    )]
    pub mesh_addr: String,
    /// Address of the client API (HTTPS), `host:port` or `:port`.
    #[arg(
        long,
        env = "EDG_COORDINATOR_CLIENT_ADDR",
        hide_env_values = true,
        default_value = ":4433",
        value_name = "ADDR"
    )]
    pub client_addr: String,
    /// Address of metrics, events and health (plain HTTP). Not served if empty.
    #[arg(
        long,
        env = "EDG_COORDINATOR_PROMETHEUS_ADDR",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "ADDR"
    )]
    pub prometheus_addr: String,
    /// DNS names and IP addresses of the Coordinator's certificates, separated by commas. Only counts when a deployment is made.
    #[arg(
        long,
        env = "EDG_COORDINATOR_DNS_NAMES",
        hide_env_values = true,
        default_value = "localhost",
        value_name = "NAMES"
    )]
    pub dns_names: String,
    /// Directory of the sealed state. Default: `marblerun-coordinator-data` in `EDG_CWD` or the working directory.
    #[arg(
        long,
        env = "EDG_COORDINATOR_SEAL_DIR",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "DIR"
    )]
    pub seal_dir: String,
    /// Directory that stands for the working directory in the default of the seal directory.
    #[arg(
        long,
        env = "EDG_CWD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "DIR"
    )]
    pub cwd: String,
    /// Read for compatibility and without effect: what protects the Coordinator is for `MARBLERUN_TEE` alone.
    #[arg(long, env = "EDG_COORDINATOR_DEV_MODE", hide_env_values = true, default_value = "0", value_name = "0|1")]
    pub dev_mode: String,
    /// Manifest, JSON or YAML, that is set at start. Skipped if the same one is in force; never set over another state.
    #[arg(
        long,
        env = "EDG_STARTUP_MANIFEST",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "FILE"
    )]
    pub startup_manifest: String,
    /// File for the recovery data of the start-up manifest, mode 0600. Default: `startup-recovery-data.json` beside the seal directory.
    #[arg(
        long,
        env = "MARBLERUN_STARTUP_RECOVERY_DATA",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "FILE"
    )]
    pub startup_recovery_data: String,
    /// `1`: also log what helps to find faults.
    #[arg(long, env = "EDG_DEBUG_LOGGING", hide_env_values = true, default_value = "0", value_name = "0|1")]
    pub debug_logging: String,
    /// Form of the log: `text` or `json`.
    #[arg(long, env = "EDG_LOG_FORMAT", hide_env_values = true, default_value = "text", value_name = "FORMAT")]
    pub log_format: String,
    /// Trusted execution environment: `auto`, `simulation`, `sgx`, `tdx`, `snp` or `snp-vtpm`. `auto` looks for one; where there is none, it is `simulation`.
    #[arg(long, env = "MARBLERUN_TEE", hide_env_values = true, default_value = "auto", value_name = "TEE")]
    pub tee: String,
    /// What the state is sealed with: `auto`, or one or more of `platform`, `tpm`, `pkcs11`, `azure-hsm`, `passphrase`, `host-key`, `plain`, separated by commas. Each opens the state by itself, and they are tried in this order; `platform+pkcs11` opens it only with both. `auto`: the platform where there is one, else, in simulation, the host key if there is one, else nothing.
    #[arg(long, env = "MARBLERUN_SEAL", hide_env_values = true, default_value = "auto", value_name = "BACKENDS")]
    pub seal: String,
    /// File with the passphrase of `passphrase`, 16 to 4096 bytes; one line end does not count.
    #[arg(
        long,
        env = "MARBLERUN_SEAL_PASSPHRASE_FILE",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "FILE"
    )]
    pub seal_passphrase_file: String,
    /// Configuration file (JSON) of the token of `pkcs11`: `Path`, `TokenLabel`, `Pin` or `PinSource`, .., as `--pkcs11-config` of the command line takes it. `MARBLERUN_PKCS11_PIN` may hold the PIN.
    #[arg(
        long,
        env = "MARBLERUN_SEAL_PKCS11_CONFIG",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "FILE"
    )]
    pub seal_pkcs11_config: String,
    /// Id of the AES-256 key on that token, as text, `hex:6b31`, or a `pkcs11:` URI.
    #[arg(
        long,
        env = "MARBLERUN_SEAL_PKCS11_KEY_ID",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "ID"
    )]
    pub seal_pkcs11_key_id: String,
    /// Label of that key, likewise.
    #[arg(
        long,
        env = "MARBLERUN_SEAL_PKCS11_KEY_LABEL",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "LABEL"
    )]
    pub seal_pkcs11_key_label: String,
    /// Where collateral comes from, which evidence of hardware is verified with: address of a PCCS or of Intel's service, or a file or folder. Default: `/etc/sgx_default_qcnl.conf`, else Intel.
    #[arg(
        long,
        env = "MARBLERUN_COLLATERAL",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "URL|FILE|DIR"
    )]
    pub collateral: String,
    /// Folder that keeps collateral over restarts. Not kept if empty.
    #[arg(
        long,
        env = "MARBLERUN_COLLATERAL_CACHE",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "DIR"
    )]
    pub collateral_cache: String,
    /// Address of AMD's key service or a mirror; `none`: never asked. Default: AMD.
    #[arg(
        long,
        env = "MARBLERUN_KDS_URL",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "URL"
    )]
    pub kds_url: String,
    /// Simulation only: file that plays the host's seal key, made if absent. Without it the state is sealed to nothing.
    #[arg(
        long,
        env = "MARBLERUN_SIMULATION_HOST_KEY",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "FILE"
    )]
    pub simulation_host_key: String,
    /// Whether a manifest may be set over a state that waits for recovery: `allow` (the old state is archived) or `deny`.
    #[arg(
        long,
        env = "MARBLERUN_RECOVERY_RESET",
        hide_env_values = true,
        default_value = "allow",
        value_name = "allow|deny"
    )]
    pub recovery_reset: String,
    /// What to do about a state older than the newest one this host knows of: `warn` serves it, `refuse` asks for recovery. Default: `warn` in simulation, else `refuse`.
    #[arg(
        long,
        env = "MARBLERUN_ROLLBACK",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "warn|refuse"
    )]
    pub rollback: String,
    /// Whether the key holders' encrypted secrets stand in the sealed file, so that a lost answer loses nothing: `on` or `off`.
    #[arg(
        long,
        env = "MARBLERUN_RECOVERY_IN_HEADER",
        hide_env_values = true,
        default_value = "on",
        value_name = "on|off"
    )]
    pub recovery_in_header: String,
    /// How long Marbles that stay up over an update keep their access to the client API, such as `24h` or `90m`, at most `720h`. `0`: until the update.
    #[arg(
        long,
        env = "MARBLERUN_MARBLE_GRACE",
        hide_env_values = true,
        default_value = "24h",
        value_name = "DURATION"
    )]
    pub marble_grace: String,
    /// `1`: one of several Coordinators of a deployment.
    #[arg(
        long,
        env = "EDG_DISTRIBUTED_COORDINATOR",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "0|1"
    )]
    pub distributed: String,
    /// Older form of the option before: contains `distributedcoordinator`.
    #[arg(
        long,
        env = "EDG_ENTERPRISE_LICENSED_FEATURES",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "LIST"
    )]
    pub licensed_features: String,
    /// Where a distributed Coordinator keeps its state: `k8s-secret` or `etcd`. Empty: in files.
    #[arg(
        long,
        env = "EDG_STORE_BACKEND",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "BACKEND"
    )]
    pub store_backend: String,
    /// `k8s-secret`: namespace of the objects below. Default: the one the Coordinator runs in.
    #[arg(
        long,
        env = "EDG_K8S_NAMESPACE",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "NAMESPACE"
    )]
    pub k8s_namespace: String,
    /// `k8s-secret`: Secret with the state.
    #[arg(
        long,
        env = "EDG_K8S_STATE_NAME",
        hide_env_values = true,
        default_value = "marblerun-state",
        value_name = "NAME"
    )]
    pub k8s_state_name: String,
    /// `k8s-secret`: ConfigMap with the key encryption keys, each sealed to a host.
    #[arg(
        long,
        env = "EDG_K8S_KEK_MAP",
        hide_env_values = true,
        default_value = "marblerun-sealed-kek",
        value_name = "NAME"
    )]
    pub k8s_kek_map: String,
    /// `k8s-secret`: Service whose endpoints are the other Coordinators.
    #[arg(
        long,
        env = "EDG_K8S_SERVICE_NAME",
        hide_env_values = true,
        default_value = "coordinator-key-api",
        value_name = "NAME"
    )]
    pub k8s_service_name: String,
    /// `k8s-secret`: host of the API server. Default: as the environment of a pod says.
    #[arg(
        long,
        env = "EDG_KUBERNETES_SERVICE_HOST",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "HOST"
    )]
    pub kubernetes_service_host: String,
    /// `k8s-secret`: port of the API server. Default: 443.
    #[arg(
        long,
        env = "EDG_KUBERNETES_SERVICE_PORT",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "PORT"
    )]
    pub kubernetes_service_port: String,
    /// `etcd`: client URLs of the members, such as `https://etcd-0:2379`, separated by commas.
    #[arg(
        long,
        env = "MARBLERUN_ETCD_ENDPOINTS",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "URLS"
    )]
    pub etcd_endpoints: String,
    /// `etcd`: certificates (PEM) of those who issue the members' certificates.
    #[arg(
        long,
        env = "MARBLERUN_ETCD_CA_FILE",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "FILE"
    )]
    pub etcd_ca_file: String,
    /// `etcd`: own client certificate (PEM), with its key in the next.
    #[arg(
        long,
        env = "MARBLERUN_ETCD_CERT_FILE",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "FILE"
    )]
    pub etcd_cert_file: String,
    /// `etcd`: key (PEM) of that certificate.
    #[arg(
        long,
        env = "MARBLERUN_ETCD_KEY_FILE",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "FILE"
    )]
    pub etcd_key_file: String,
    /// `etcd`: what all keys of this deployment begin with.
    #[arg(
        long,
        env = "MARBLERUN_ETCD_PREFIX",
        hide_env_values = true,
        default_value = "/marblerun/default/",
        value_name = "PREFIX"
    )]
    pub etcd_prefix: String,
    /// `etcd`: where the other Coordinators reach this one's key service, `host:port`. Default: the address of this machine towards etcd, and the port of the key service.
    #[arg(
        long,
        env = "MARBLERUN_ETCD_ADVERTISE",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "ADDR"
    )]
    pub etcd_advertise: String,
    /// Distributed: how long Marbles are activated while the shared state cannot be reached, such as `5m` or `90s`, at most `24h`. `0`: not at all.
    #[arg(
        long,
        env = "MARBLERUN_OFFLINE_GRACE",
        hide_env_values = true,
        default_value = "5m",
        value_name = "DURATION"
    )]
    pub offline_grace: String,
    /// Distributed: bytes of the shared object above which the state goes into parts, or is refused where there may be none.
    #[arg(
        long,
        env = "MARBLERUN_STATE_INLINE_MAX",
        hide_env_values = true,
        default_value = "950000",
        value_name = "BYTES"
    )]
    pub state_inline_max: String,
    /// Address of the key service, over which the Coordinators of a deployment talk to each other, `host:port` or `:port`.
    #[arg(long, env = "MARBLERUN_KEY_ADDR", hide_env_values = true, default_value = ":5433", value_name = "ADDR")]
    pub key_addr: String,
    /// Key services of other Coordinators, `host:port` each, separated by commas, besides those that Kubernetes lists. All addresses behind a name are asked.
    #[arg(
        long,
        env = "MARBLERUN_PEERS",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "ADDRS"
    )]
    pub peers: String,
    /// Oldest SecurityVersion of another Coordinator to take keys and recovery secrets from. Default: the one before its own.
    #[arg(
        long,
        env = "MARBLERUN_PEER_MIN_SVN",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "NUMBER"
    )]
    pub peer_min_svn: String,
    /// Simulation only: who this Coordinator is to the others, such as `measurement=01,signer=02,product=1,svn=3,debug=0` (hex, filled up with zeros; what is left out is 0).
    #[arg(
        long,
        env = "MARBLERUN_SIMULATION_IDENTITY",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "IDENTITY"
    )]
    pub simulation_identity: String,
    /// Continue a damaged state from this record, giving up what came after it. For one start only, so there is no variable for it.
    #[arg(long, value_name = "SEQUENCE")]
    pub accept_loss_after: Option<u64>,
    /// Rename every trace of an earlier state away and begin a new deployment. For one start only, so there is no variable for it.
    #[arg(long)]
    pub discard_existing_state: bool,
}

/// Where to listen. An empty host means every address of the machine, IPv4 and IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// Name or address; empty for all.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where collateral comes from, and where it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CollateralPlaces {
    /// Intel's; `None`: what the machine is configured for.
    pub intel: Option<Place>,
    /// AMD's; `None`: AMD itself.
    pub amd: Option<String>,
    /// Kept here.
    pub cache: Option<PathBuf>,
}

/// What the options mean.
#[derive(Debug, Clone)]
pub struct Config {
    /// Marble API.
    pub mesh_addr: ListenAddress,
    /// Client API.
    pub client_addr: ListenAddress,
    /// Metrics; `None`: not served.
    pub prometheus_addr: Option<ListenAddress>,
    /// List of names for new certificates, as written.
    pub dns_names: String,
    /// Directory of the sealed state.
    pub seal_dir: PathBuf,
    /// Where collateral comes from.
    pub collateral: CollateralPlaces,
    /// Manifest to set at start.
    pub startup_manifest: Option<PathBuf>,
    /// Where its recovery data go.
    pub startup_recovery_data: PathBuf,
    /// Log more.
    pub debug_logging: bool,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Which environment to use.
    pub tee: TeeChoice,
    /// What the program was built for.
    pub build: Build,
    /// What the state is sealed with.
    pub seal: SealSettings,
    /// Forbid a new manifest over a state that waits for recovery.
    pub deny_recovery_reset: bool,
    /// What to do about an older state; `None`: as fits the environment.
    pub rollback: Option<RollbackPolicy>,
    /// Keep encrypted recovery secrets in the header.
    pub recovery_in_header: bool,
    /// How long Marbles that stay up over an update keep their access.
    pub marble_grace: SignedDuration,
    /// Set: one of several Coordinators, which share a state.
    pub cluster: Option<ClusterSettings>,
    /// Key service.
    pub key_addr: ListenAddress,
    /// Key services of others, `host:port`.
    pub peers: Vec<String>,
    /// Oldest version of a peer to take keys from; `None`: the one before its own.
    pub peer_min_svn: Option<u64>,
    /// Who a simulated Coordinator is to its peers.
    pub simulation_identity: SimulatedIdentity,
    /// Continue a damaged file from there.
    pub accept_loss_after: Option<u64>,
    /// Rename every trace of an earlier state away.
    pub discard_existing_state: bool,
    /// What an operator should know about these options.
    pub warnings: Vec<String>,
}

/// An option that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The value means nothing.
    #[error("{variable}={value:?}: {expected}")]
    BadValue {
        /// Environment variable.
        variable: &'static str,
        /// As written.
        value: String,
        /// What would be understood.
        expected: &'static str,
    },
    /// The program was built for another environment.
    #[error(transparent)]
    OtherBuild(#[from] OtherBuild),
    /// Two options contradict each other.
    #[error("{0}")]
    Conflict(&'static str),
    /// The working directory is needed for a default and cannot be read.
    #[error("the working directory cannot be read ({0}); set EDG_COORDINATOR_SEAL_DIR")]
    NoWorkingDirectory(String),
}

impl Config {
    /// Reads the arguments and the environment of a process that was built for an environment, or for all. Ends the process
    /// on `--help`, `--version` and unknown flags.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_process(build: Build) -> Result<Self, ConfigError> {
        let matches = Options::command().version(build.version()).get_matches();
        let options = Options::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        Self::from_options(&options, std::env::current_dir())?.of_build(build)
    }

    /// The same, for a program that was built for an environment.
    ///
    /// # Errors
    /// [`OtherBuild`].
    fn of_build(self, build: Build) -> Result<Self, ConfigError> {
        Ok(Self { tee: build.narrow(self.tee)?, build, ..self })
    }

    /// Reads arguments as a process would get them (the first is the program's name), with the process's environment.
    ///
    /// # Errors
    /// Text for a person: unknown flags, or [`ConfigError`].
    pub fn from_arguments(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, String> {
        let options = Options::try_parse_from(arguments).map_err(|e| e.to_string())?;
        Self::from_options(&options, std::env::current_dir()).map_err(|e| e.to_string())
    }

    /// What the options mean. `current_dir` counts only where a default needs it.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_options(options: &Options, current_dir: std::io::Result<PathBuf>) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        let cluster = cluster::cluster(options, &mut warnings)?;
        if options.dev_mode == "1" {
            warnings.push(
                "EDG_COORDINATOR_DEV_MODE=1 has no effect: whoever can set it must not switch off what protects the \
                 Coordinator. To run without protection, set MARBLERUN_TEE=simulation"
                    .to_owned(),
            );
        }

        let seal_dir = match non_empty(&options.seal_dir) {
            Some(dir) => PathBuf::from(dir),
            None => {
                let base = match non_empty(&options.cwd) {
                    Some(dir) => PathBuf::from(dir),
                    None => current_dir.map_err(|e| ConfigError::NoWorkingDirectory(e.to_string()))?,
                };
                base.join("marblerun-coordinator-data")
            }
        };
        if options.accept_loss_after.is_some() && options.discard_existing_state {
            return Err(ConfigError::Conflict(
                "--accept-loss-after and --discard-existing-state contradict each other: the one keeps a damaged state, the other puts it away",
            ));
        }

        Ok(Self {
            mesh_addr: address("EDG_COORDINATOR_MESH_ADDR", or(&options.mesh_addr, ":2001"))?,
            client_addr: address("EDG_COORDINATOR_CLIENT_ADDR", or(&options.client_addr, ":4433"))?,
            prometheus_addr: non_empty(&options.prometheus_addr)
                .map(|text| address("EDG_COORDINATOR_PROMETHEUS_ADDR", text))
                .transpose()?,
            dns_names: or(&options.dns_names, "localhost").to_owned(),
            startup_manifest: non_empty(&options.startup_manifest).map(PathBuf::from),
            startup_recovery_data: non_empty(&options.startup_recovery_data)
                .map_or_else(|| default_recovery_data(&seal_dir), PathBuf::from),
            seal_dir,
            // As upstream: exactly "1" switches on, everything else is off.
            debug_logging: options.debug_logging == "1",
            log_format: choose(
                "EDG_LOG_FORMAT",
                &options.log_format,
                "text or json",
                &[("", LogFormat::Text), ("text", LogFormat::Text), ("json", LogFormat::Json)],
            )?,
            tee: options.tee.parse().map_err(|_| ConfigError::BadValue {
                variable: "MARBLERUN_TEE",
                value: options.tee.clone(),
                expected: "expected auto, simulation, sgx, tdx, snp or snp-vtpm",
            })?,
            build: Build::ANY,
            seal: seal::settings(options)?,
            collateral: CollateralPlaces {
                intel: non_empty(&options.collateral).and_then(|text| text.parse().ok()),
                amd: non_empty(&options.kds_url).map(str::to_owned),
                cache: non_empty(&options.collateral_cache).map(PathBuf::from),
            },
            deny_recovery_reset: choose(
                "MARBLERUN_RECOVERY_RESET",
                &options.recovery_reset,
                "allow or deny",
                &[("", false), ("allow", false), ("deny", true)],
            )?,
            rollback: choose(
                "MARBLERUN_ROLLBACK",
                &options.rollback,
                "warn or refuse",
                &[("", None), ("warn", Some(RollbackPolicy::Warn)), ("refuse", Some(RollbackPolicy::Refuse))],
            )?,
            recovery_in_header: choose(
                "MARBLERUN_RECOVERY_IN_HEADER",
                &options.recovery_in_header,
                "on or off",
                &[("", true), ("on", true), ("off", false)],
            )?,
            marble_grace: grace(or(&options.marble_grace, "24h"))?,
            cluster,
            key_addr: address("MARBLERUN_KEY_ADDR", or(&options.key_addr, ":5433"))?,
            peers: peers(&options.peers)?,
            peer_min_svn: non_empty(&options.peer_min_svn)
                .map(|text| {
                    text.parse().map_err(|_| ConfigError::BadValue {
                        variable: "MARBLERUN_PEER_MIN_SVN",
                        value: text.to_owned(),
                        expected: "expected a number",
                    })
                })
                .transpose()?,
            simulation_identity: options.simulation_identity.parse().map_err(|_| ConfigError::BadValue {
                variable: "MARBLERUN_SIMULATION_IDENTITY",
                value: options.simulation_identity.clone(),
                expected: "expected measurement=HEX,signer=HEX,product=NUMBER,svn=NUMBER,debug=0|1, each at most once",
            })?,
            accept_loss_after: options.accept_loss_after,
            discard_existing_state: options.discard_existing_state,
            warnings,
        })
    }
}

impl ListenAddress {
    /// Reads `host:port`, `:port` or `[v6]:port`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let host = match host.strip_prefix('[') {
            Some(inner) => {
                let inner = inner.strip_suffix(']')?;
                inner.parse::<Ipv6Addr>().ok()?;
                inner
            }
            // A bare IPv6 address would make it unclear where the port begins.
            None if host.contains(':') => return None,
            None => host,
        };
        Some(Self { host: host.to_owned(), port })
    }

    /// The addresses to try in turn for an empty host: IPv6 (which takes IPv4 along), then IPv4 alone
    /// where the machine has no IPv6. `None`: the host is a name or an address to resolve.
    #[must_use]
    pub fn wildcards(&self) -> Option<[SocketAddr; 2]> {
        self.host.is_empty().then(|| {
            [SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.port)), SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port))]
        })
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The recovery data stand beside the seal directory, not in it: who copies the directory as a backup does not copy them along.
fn default_recovery_data(seal_dir: &Path) -> PathBuf {
    seal_dir.parent().unwrap_or_else(|| Path::new(".")).join("startup-recovery-data.json")
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    non_empty(text).unwrap_or(default)
}

fn address(variable: &'static str, text: &str) -> Result<ListenAddress, ConfigError> {
    ListenAddress::parse(text).ok_or_else(|| ConfigError::BadValue {
        variable,
        value: text.to_owned(),
        expected: "expected host:port, :port or [address]:port",
    })
}

/// Each must name a host, which an address to listen on need not.
fn peers(text: &str) -> Result<Vec<String>, ConfigError> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let checked = entries.map(|entry| {
        let known = ListenAddress::parse(entry).filter(|address| !address.host.is_empty() && address.port != 0);
        known.map(|address| address.to_string()).ok_or_else(|| ConfigError::BadValue {
            variable: "MARBLERUN_PEERS",
            value: text.to_owned(),
            expected: "expected host:port or [address]:port, separated by commas",
        })
    });
    checked.collect()
}

/// A longer one would be a way to have no update in force for good.
const MAX_GRACE: SignedDuration = SignedDuration::from_hours(720);

fn grace(text: &str) -> Result<SignedDuration, ConfigError> {
    let period = if text == "0" { Some(SignedDuration::ZERO) } else { text.parse::<SignedDuration>().ok() };
    period.filter(|period| (SignedDuration::ZERO..=MAX_GRACE).contains(period)).ok_or_else(|| ConfigError::BadValue {
        variable: "MARBLERUN_MARBLE_GRACE",
        value: text.to_owned(),
        expected: "expected a duration such as 24h or 90m, at most 720h, or 0",
    })
}

fn choose<T: Copy>(
    variable: &'static str,
    text: &str,
    expected: &'static str,
    choices: &[(&str, T)],
) -> Result<T, ConfigError> {
    choices
        .iter()
        .find_map(|(name, value)| text.eq_ignore_ascii_case(name).then_some(*value))
        .ok_or_else(|| ConfigError::BadValue { variable, value: text.to_owned(), expected })
}

#[cfg(test)]
mod tests;
