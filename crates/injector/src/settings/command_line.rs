//! The command line: upstream's flags, in the syntax of Go's `flag` package.

use std::ffi::OsString;

use clap::Parser;

/// The flags as they were written.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "marblerun-injector",
    version,
    about = "MarbleRun's admission webhook: gives pods that are labelled as Marbles their environment.",
    after_help = "Flags may be written with one dash as well.",
    args_override_self = true
)]
pub(super) struct Options {
    /// Address of the Coordinator's Marble API, as Marbles reach it [env: MARBLERUN_INJECTOR_COORD_ADDR] [default: coordinator-mesh-api.marblerun:2001]
    #[arg(long = "coordAddr", value_name = "HOST:PORT")]
    pub(super) coord_addr: Option<String>,
    /// TLS certificate of the webhook and its chain, PEM; read again when it changes [env: MARBLERUN_INJECTOR_TLS_CERT_FILE] [default: /etc/webhook/certs/tls.crt]
    #[arg(long = "tlsCertFile", value_name = "FILE")]
    pub(super) tls_cert_file: Option<String>,
    /// Its private key, PEM; read again when it changes [env: MARBLERUN_INJECTOR_TLS_KEY_FILE] [default: /etc/webhook/certs/tls.key]
    #[arg(long = "tlsKeyFile", value_name = "FILE")]
    pub(super) tls_key_file: Option<String>,
    /// Domain of the cluster's Services [env: MARBLERUN_INJECTOR_CLUSTER_DOMAIN] [default: cluster.local]
    #[arg(long = "clusterDomain", value_name = "DOMAIN")]
    pub(super) cluster_domain: Option<String>,
    /// Resource of the SGX device plugin. Empty or "none": no SGX (confidential VMs, simulation) [env: MARBLERUN_INJECTOR_SGX_RESOURCE] [default: sgx.intel.com/epc]
    #[arg(long = "sgxResource", value_name = "RESOURCE")]
    pub(super) sgx_resource: Option<String>,
    /// Where to listen, host:port or :port [env: MARBLERUN_INJECTOR_LISTEN] [default: :8443]
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<String>,
    /// Form of the log: text or json [env: EDG_LOG_FORMAT] [default: text]
    #[arg(long = "logFormat", value_name = "FORMAT")]
    pub(super) log_format: Option<String>,
    /// Level at which failed TLS handshakes and broken connections are logged: debug, info, warn or error [env: EDG_HTTP_ERROR_LOG_LEVEL] [default: error]
    #[arg(long = "httpErrorLogLevel", value_name = "LEVEL")]
    pub(super) http_error_log_level: Option<String>,
    /// 1: also log what helps to find faults [env: EDG_DEBUG_LOGGING] [default: 0]
    #[arg(long = "debug", value_name = "0|1")]
    pub(super) debug: Option<String>,
}

impl Options {
    /// Reads arguments; the first is the program's name.
    pub(super) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(from_go(arguments))
    }
}

/// Go's syntax of flags as clap's: two dashes, and each value joined to its flag. What follows a flag is its value
/// even if it begins with a dash.
fn from_go(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut translated: Vec<OsString> = arguments.next().into_iter().collect();
    while let Some(argument) = arguments.next() {
        let flag = argument.to_str().and_then(|text| text.strip_prefix("--").or_else(|| text.strip_prefix('-')));
        let Some(flag) = flag.filter(|flag| !flag.is_empty()) else {
            translated.push(argument);
            continue;
        };
        let mut joined = OsString::from(format!("--{flag}"));
        match flag {
            "h" | "help" => joined = "--help".into(),
            "V" | "version" => joined = "--version".into(),
            _ if flag.contains('=') => {}
            _ => {
                if let Some(value) = arguments.next() {
                    joined.push("=");
                    joined.push(value);
                }
            }
        }
        translated.push(joined);
    }
    translated
}
