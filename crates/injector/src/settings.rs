//! Flags, and the environment variable of the same meaning.
//!
//! Flags are upstream's, in the syntax of Go's `flag` package: `-coordAddr x`, `-coordAddr=x`, and both with two
//! dashes. A flag wins over its variable; a variable that is set but empty counts as not set.

mod command_line;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::admission::dns::is_dns_name;
use crate::admission::{INTEL, Rules};

use command_line::Options;

/// A setting: its flag, the environment variable of the same meaning, and what holds if neither is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Flag, without dashes.
    pub flag: &'static str,
    /// Environment variable.
    pub variable: &'static str,
    /// Default.
    pub default: &'static str,
}

const COORD_ADDR: Setting = Setting {
    flag: "coordAddr",
    variable: "MARBLERUN_INJECTOR_COORD_ADDR",
    default: "coordinator-mesh-api.marblerun:2001",
};
const TLS_CERT_FILE: Setting = Setting {
    flag: "tlsCertFile",
    variable: "MARBLERUN_INJECTOR_TLS_CERT_FILE",
    default: "/etc/webhook/certs/tls.crt",
};
const TLS_KEY_FILE: Setting =
    Setting { flag: "tlsKeyFile", variable: "MARBLERUN_INJECTOR_TLS_KEY_FILE", default: "/etc/webhook/certs/tls.key" };
const CLUSTER_DOMAIN: Setting =
    Setting { flag: "clusterDomain", variable: "MARBLERUN_INJECTOR_CLUSTER_DOMAIN", default: "cluster.local" };
const SGX_RESOURCE: Setting =
    Setting { flag: "sgxResource", variable: "MARBLERUN_INJECTOR_SGX_RESOURCE", default: INTEL };
const LISTEN: Setting = Setting { flag: "listen", variable: "MARBLERUN_INJECTOR_LISTEN", default: ":8443" };
const LOG_FORMAT: Setting = Setting { flag: "logFormat", variable: "EDG_LOG_FORMAT", default: "text" };
const HTTP_ERROR_LOG_LEVEL: Setting =
    Setting { flag: "httpErrorLogLevel", variable: "EDG_HTTP_ERROR_LOG_LEVEL", default: "error" };
const DEBUG: Setting = Setting { flag: "debug", variable: "EDG_DEBUG_LOGGING", default: "0" };

/// All there are.
pub const SETTINGS: [Setting; 9] = [
    COORD_ADDR,
    TLS_CERT_FILE,
    TLS_KEY_FILE,
    CLUSTER_DOMAIN,
    SGX_RESOURCE,
    LISTEN,
    LOG_FORMAT,
    HTTP_ERROR_LOG_LEVEL,
    DEBUG,
];

/// What the flags and variables mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What Marbles are told.
    pub rules: Rules,
    /// Certificate of the webhook.
    pub tls_cert_file: PathBuf,
    /// Its key.
    pub tls_key_file: PathBuf,
    /// Where to listen.
    pub listen: ListenAddress,
    /// Form of the log.
    pub log_format: LogFormat,
    /// How loud connections fail.
    pub http_error_log_level: tracing::Level,
    /// Log more.
    pub debug: bool,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// Name or address; empty for all addresses, IPv4 and IPv6.
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

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The command line: unknown flags, or a question for help.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// A value means nothing.
    #[error("-{flag} (or {variable}) is {value:?}: {expected}")]
    BadValue {
        /// Flag.
        flag: &'static str,
        /// Environment variable.
        variable: &'static str,
        /// As written.
        value: String,
        /// What would be understood.
        expected: &'static str,
    },
}

impl Settings {
    /// Reads arguments (the first is the program's name) and environment.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let options = Options::read(arguments)?;
        // The flag if it was given, even if empty; else the variable; else the default.
        let choose = |setting: Setting, given: Option<String>| {
            let value = given.or_else(|| variable(setting.variable).filter(|value| !value.is_empty()));
            Chosen { setting, value: value.unwrap_or_else(|| setting.default.to_owned()) }
        };
        let file = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        Ok(Self {
            rules: Rules {
                coordinator: choose(COORD_ADDR, options.coord_addr)
                    .parse("expected host:port", |text| is_host_and_port(text).then(|| text.to_owned()))?,
                cluster_domain: choose(CLUSTER_DOMAIN, options.cluster_domain)
                    .parse("expected a DNS name in lower case", |text| is_dns_name(text).then(|| text.to_owned()))?,
                sgx: choose(SGX_RESOURCE, options.sgx_resource).parse(
                    "expected the resource of an SGX device plugin, such as sgx.intel.com/epc; empty or none: no SGX",
                    |text| text.parse().ok(),
                )?,
            },
            tls_cert_file: choose(TLS_CERT_FILE, options.tls_cert_file).parse("expected a file", file)?,
            tls_key_file: choose(TLS_KEY_FILE, options.tls_key_file).parse("expected a file", file)?,
            listen: choose(LISTEN, options.listen)
                .parse("expected host:port, :port or [address]:port", ListenAddress::parse)?,
            log_format: choose(LOG_FORMAT, options.log_format).parse("expected text or json", |text| {
                match text.to_ascii_lowercase().as_str() {
                    "text" => Some(LogFormat::Text),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                }
            })?,
            http_error_log_level: choose(HTTP_ERROR_LOG_LEVEL, options.http_error_log_level)
                .parse("expected debug, info, warn or error", |text| text.parse().ok())?,
            // As for the Coordinator: exactly "1" switches on.
            debug: choose(DEBUG, options.debug).value == "1",
        })
    }
}

impl ListenAddress {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().ok().map(|_| address)?,
            None if host.contains([':', '[', ']']) => return None,
            None => host,
        };
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
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

/// A value, and where it can be set.
struct Chosen {
    setting: Setting,
    value: String,
}

impl Chosen {
    fn parse<T>(self, expected: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, SettingsError> {
        let Self { setting: Setting { flag, variable, .. }, value } = self;
        parse(&value).ok_or(SettingsError::BadValue { flag, variable, value, expected })
    }
}

/// As the premain will resolve it. What DNS would know is not asked here: the Coordinator may come later.
fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        // `$(NAME)` would be a reference to another variable of the container.
        let harmless = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '$' | ',' | '"');
        !host.is_empty() && host.chars().all(harmless) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests;
