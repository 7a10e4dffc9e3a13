//! Commands over a Kubernetes cluster: `install`, `uninstall`, `check`, `precheck`, `doctor`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Which cluster.
#[derive(Debug, Args, Clone, Default)]
pub struct ClusterArgs {
    /// Kubeconfig file [default: those of $KUBECONFIG, else ~/.kube/config, else the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub kube_context: Option<String>,
}

/// Who is asked what would happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// The API server, which checks everything and changes nothing.
    Server,
    /// Nobody: the objects are made without a cluster.
    Client,
}

/// `install`
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Registry and path of the images, such as registry.example/marblerun [default: that of the installation]
    #[arg(long, value_name = "HOST/PATH")]
    pub repository: Option<String>,
    /// Names and addresses of the Coordinator's certificate besides those in the cluster
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub domain: Vec<String>,
    /// Run several Coordinators with one state, which is kept in the cluster
    #[arg(long)]
    pub distributed_deployment: bool,
    /// Coordinators to run; more than one needs --distributed-deployment [default: as many as there are, else 1]
    #[arg(long, value_name = "N")]
    pub replicas: Option<u16>,
    /// Run without a trusted execution environment: nothing is protected. For tests
    #[arg(long)]
    pub simulation: bool,
    /// Trusted execution environment that Coordinators must find: sgx, tdx, snp, or auto [default: sgx]
    #[arg(long, value_name = "NAME", value_parser = ["sgx", "tdx", "snp", "auto"], conflicts_with = "simulation")]
    pub tee: Option<String>,
    /// What the state is sealed with, such as tpm or platform,platform+pkcs11 [default: the platform]
    #[arg(long, value_name = "BACKENDS")]
    pub seal: Option<String>,
    /// Secret in the cluster with the passphrase of the sealing backend passphrase, in the key "passphrase"
    #[arg(long, value_name = "SECRET")]
    pub seal_passphrase_secret: Option<String>,
    /// Secret in the cluster with the configuration of the token of the sealing backend pkcs11, in the key "token.json"
    #[arg(long, value_name = "SECRET")]
    pub seal_pkcs11_secret: Option<String>,
    /// Label of the AES key on that token
    #[arg(long, value_name = "LABEL")]
    pub seal_pkcs11_key_label: Option<String>,
    /// Address of the service with the collateral that evidence is verified with [default: that of the quote provider]
    #[arg(long, value_name = "URL", conflicts_with = "collateral_config_map")]
    pub collateral_url: Option<String>,
    /// ConfigMap in the cluster with that collateral, instead of an address
    #[arg(long, value_name = "CONFIGMAP")]
    pub collateral_config_map: Option<String>,
    /// Resource of the cluster's SGX device plugin [default: that of the first node with one, else sgx.intel.com/epc]
    #[arg(long, value_name = "KEY")]
    pub resource_key: Option<String>,
    /// File for the SGX quote provider (sgx_default_qcnl.conf)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dcap_pccs_url", "dcap_secure_cert"])]
    pub dcap_qcnl_config_file: Option<PathBuf>,
    /// Provisioning certificate caching service of the SGX quote provider [default: that of the chart]
    #[arg(long, value_name = "URL")]
    pub dcap_pccs_url: Option<String>,
    /// Whether that service must have a valid certificate: TRUE or FALSE [default: TRUE]
    #[arg(long, value_name = "BOOL")]
    pub dcap_secure_cert: Option<String>,
    /// Leave out the webhook that makes Marbles of pods
    #[arg(long)]
    pub disable_auto_injection: bool,
    /// Port of the Marble API [default: 2001]
    #[arg(long, value_name = "PORT")]
    pub mesh_server_port: Option<u16>,
    /// Port of the client API [default: 4433]
    #[arg(long, value_name = "PORT")]
    pub client_server_port: Option<u16>,
    /// Values for the chart, YAML; may be repeated, later files win
    #[arg(long, value_name = "FILE")]
    pub values: Vec<PathBuf>,
    /// One value for the chart, as Helm's --set; wins over files; flags of this command win over both
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Change nothing. `server` (also without a word): show what would change, checked by the API server; `client`: make
    /// the objects without a cluster. With --output yaml or json, print the objects
    #[arg(long, value_enum, value_name = "WHO", num_args = 0..=1, require_equals = true, default_missing_value = "server")]
    pub dry_run: Option<DryRun>,
    /// Take over what others have set in these objects, instead of refusing
    #[arg(long)]
    pub force_conflicts: bool,
    /// Wait until all pods are ready. The default
    #[arg(long, overrides_with = "no_wait")]
    pub wait: bool,
    /// Do not wait until pods are ready
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// Folder with the chart, of this program's version, whose values.yaml has other defaults
    #[arg(long, value_name = "DIR")]
    pub marblerun_chart_path: Option<PathBuf>,
    /// Version to install; this program has only its own
    #[arg(long = "version", value_name = "VERSION")]
    pub chart_version: Option<String>,
    /// Had a meaning once
    #[arg(long, hide = true)]
    pub enterprise_access_token: Option<String>,
    /// Had a meaning once
    #[arg(long, hide = true)]
    pub dcap_qpl: Option<String>,
}

/// `uninstall`
#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Delete the state, too: volume, Secret and its archives, sealed keys. It cannot be brought back but from a backup
    #[arg(long)]
    pub delete_state: bool,
    /// How long to wait for the end of the pods, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
}

/// `check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How long to wait, in seconds; 0: look once
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub timeout: u64,
}
