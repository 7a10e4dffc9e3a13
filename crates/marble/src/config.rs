//! The premain's settings, from environment variables. Upstream's names, and `MARBLERUN_*` of our own.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use marblerun_attestation::{AnyTee, Policy, TeeChoice};
use marblerun_client::collateral::{Qcnl, Settings};
use marblerun_client::{Endpoint, EraConfig};

use crate::address::CoordinatorAddress;
use crate::expected::Expected;
use crate::identity::Names;
use crate::retry::Backoff;
use crate::trust::{Trust, fingerprint};

/// A variable, for `--help`.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Name.
    pub name: &'static str,
    /// What holds if it is unset or empty.
    pub default: &'static str,
    /// Meaning.
    pub help: &'static str,
}

/// All variables the premain reads.
pub const VARIABLES: [Variable; 14] = [
    Variable { name: MARBLE_TYPE, default: "none, must be set", help: "Marble type: a name in the manifest's Marbles" },
    Variable {
        name: COORDINATOR_ADDR,
        default: "localhost:2001",
        help: "Address of the Coordinator's Marble API, host:port",
    },
    Variable {
        name: DNS_NAMES,
        default: "localhost",
        help: "DNS names and IP addresses of this Marble, separated by commas; 127.0.0.1 and ::1 are added",
    },
    Variable {
        name: UUID_FILE,
        default: "uuid in EDG_CWD or the working directory",
        help: "File with this Marble's UUID; made if it is missing",
    },
    Variable { name: CWD, default: "the working directory", help: "Directory of the default UUID file" },
    Variable {
        name: ROOT_CA,
        default: "none: the Coordinator is not verified",
        help: "The Coordinator's root certificate: a PEM or DER file, or its SHA-256 fingerprint in hex",
    },
    Variable {
        name: ERA,
        default: "none: no evidence is asked for",
        help: "What the Coordinator must run: an era configuration file (coordinator-era.json), which its evidence must meet",
    },
    Variable {
        name: COLLATERAL,
        default: "/etc/sgx_default_qcnl.conf, else Intel",
        help: "Where collateral comes from that the Coordinator's evidence is verified with: address, file or folder",
    },
    Variable {
        name: KDS_URL,
        default: "AMD's key service",
        help: "Address of AMD's key service or a mirror; none: never asked",
    },
    Variable {
        name: MANIFEST,
        default: "none: any manifest",
        help: "SHA-256 in hex of the manifest that must be in force; needs one of the two above",
    },
    Variable {
        name: CLIENT_ADDR,
        default: "the host of EDG_MARBLE_COORDINATOR_ADDR, port 4433",
        help: "Address of the Coordinator's client API, host:port, where evidence and manifest are asked for",
    },
    Variable {
        name: TIMEOUT,
        default: "10m",
        help: "How long to wait for a Coordinator that is not ready, in seconds or as 90s, 10m, 1h; 0 = try once",
    },
    Variable {
        name: TEE,
        default: "auto",
        help: "Trusted execution environment: auto, simulation, sgx, tdx, snp or snp-vtpm",
    },
    Variable { name: LOG_FORMAT, default: "text", help: "Form of the log: text or json" },
];

const MARBLE_TYPE: &str = "EDG_MARBLE_TYPE";
const COORDINATOR_ADDR: &str = "EDG_MARBLE_COORDINATOR_ADDR";
const DNS_NAMES: &str = "EDG_MARBLE_DNS_NAMES";
const UUID_FILE: &str = "EDG_MARBLE_UUID_FILE";
const CWD: &str = "EDG_CWD";
const ROOT_CA: &str = "MARBLERUN_COORDINATOR_ROOT_CA";
const ERA: &str = "MARBLERUN_COORDINATOR_ERA";
const COLLATERAL: &str = "MARBLERUN_COLLATERAL";
const KDS_URL: &str = "MARBLERUN_KDS_URL";
const MANIFEST: &str = "MARBLERUN_COORDINATOR_MANIFEST";
const CLIENT_ADDR: &str = "MARBLERUN_COORDINATOR_CLIENT_ADDR";
const TIMEOUT: &str = "MARBLERUN_PREMAIN_TIMEOUT";
const TEE: &str = "MARBLERUN_TEE";
/// Form of the log.
pub(crate) const LOG_FORMAT: &str = "EDG_LOG_FORMAT";

/// Settings of an activation.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to ask.
    pub coordinator: CoordinatorAddress,
    /// For which Marble type.
    pub marble_type: String,
    /// Names of this Marble.
    pub names: Names,
    /// Where its UUID is kept.
    pub uuid_file: PathBuf,
    /// Whom to believe.
    pub trust: Trust,
    /// What to ask of the Coordinator besides.
    pub expected: Option<Expected>,
    /// How long to wait for a Coordinator that is not ready.
    pub timeout: Duration,
    /// How often to ask meanwhile.
    pub backoff: Backoff,
    /// What makes evidence.
    pub tee: TeeChoice,
}

/// A variable that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It has no default.
    #[error("environment variable not set: {0}")]
    Missing(&'static str),
    /// It cannot be understood.
    #[error("environment variable {name}: {reason}")]
    Bad {
        /// Name.
        name: &'static str,
        /// Cause.
        reason: String,
    },
}

impl Config {
    /// Reads the settings from variables. An empty value counts as unset.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_env(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let os = |name: &'static str| lookup(name).filter(|value| !value.is_empty());
        let text = |name: &'static str| -> Result<Option<String>, ConfigError> {
            let not_text = |_| ConfigError::Bad { name, reason: "is not UTF-8 text".to_owned() };
            os(name).map(OsString::into_string).transpose().map_err(not_text)
        };
        let bad = |name: &'static str| move |reason: String| ConfigError::Bad { name, reason };

        let marble_type = text(MARBLE_TYPE)?.ok_or(ConfigError::Missing(MARBLE_TYPE))?;
        let coordinator = text(COORDINATOR_ADDR)?.unwrap_or_else(|| "localhost:2001".to_owned());
        let coordinator: CoordinatorAddress =
            coordinator.parse().map_err(|error: crate::BadAddress| bad(COORDINATOR_ADDR)(error.to_string()))?;
        let names = names(&text(DNS_NAMES)?.unwrap_or_else(|| "localhost".to_owned())).map_err(bad(DNS_NAMES))?;
        let uuid_file =
            os(UUID_FILE).map_or_else(|| os(CWD).map_or_else(PathBuf::new, PathBuf::from).join("uuid"), PathBuf::from);
        let trust = match os(ROOT_CA) {
            None => Trust::Anyone,
            Some(given) => Trust::from_setting(Path::new(&given)).map_err(bad(ROOT_CA))?,
        };
        let policy = match os(ERA) {
            None => None,
            Some(given) => Some(policy(Path::new(&given)).map_err(bad(ERA))?),
        };
        let manifest = match text(MANIFEST)? {
            None => None,
            Some(given) => Some(manifest(&given, policy.is_none() && trust == Trust::Anyone).map_err(bad(MANIFEST))?),
        };
        let client_api = text(CLIENT_ADDR)?.unwrap_or_else(|| client_api(&coordinator));
        let client_api = Endpoint::parse(&client_api).map_err(|error| bad(CLIENT_ADDR)(error.to_string()))?;
        let is_asked = policy.is_some() || manifest.is_some();
        let expected = match is_asked {
            true => {
                let place = text(COLLATERAL)?.and_then(|given| given.parse().ok());
                let collateral = Settings::resolve(place, text(KDS_URL)?, Path::new(Qcnl::PATH));
                let collateral = collateral.and_then(|settings| settings.open());
                let collateral = collateral.map_err(|error| bad(COLLATERAL)(error.to_string()))?;
                Some(Expected { client_api, policy, manifest, verifier: Arc::new(AnyTee::new(collateral)) })
            }
            false => None,
        };
        let timeout = match text(TIMEOUT)? {
            None => Duration::from_secs(600),
            Some(given) => duration(&given).map_err(bad(TIMEOUT))?,
        };
        let tee = text(TEE)?.unwrap_or_default();
        let tee = tee.parse().map_err(|error: marblerun_attestation::UnknownTee| bad(TEE)(error.to_string()))?;
        let backoff = Backoff::default();
        Ok(Self { coordinator, marble_type, names, uuid_file, trust, expected, timeout, backoff, tee })
    }
}

/// What an era configuration asks for. A restriction that is not understood is not passed over: the file says whom this
/// Marble obeys.
fn policy(path: &Path) -> Result<Policy, String> {
    let about = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let json = std::fs::read(path).map_err(|error| about(&error))?;
    let era = EraConfig::from_json(&json).map_err(|error| about(&error))?;
    match era.unknown_fields.as_slice() {
        [] => Ok(era.policy()),
        unknown => Err(format!("{}: unknown field {}", path.display(), unknown.join(", "))),
    }
}

fn manifest(text: &str, is_anyone: bool) -> Result<[u8; 32], String> {
    if is_anyone {
        return Err(format!("a manifest is no secret, so it does not say who answers: set {ERA} or {ROOT_CA} as well"));
    }
    fingerprint(text).ok_or_else(|| format!("{text:?} is no SHA-256 in hex"))
}

/// Where a Coordinator usually has its client API.
fn client_api(coordinator: &CoordinatorAddress) -> String {
    let (host, _) = coordinator.host_and_port();
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Split at commas, untrimmed; entries that are addresses become addresses.
fn names(list: &str) -> Result<Names, String> {
    let mut names = Names::default();
    for entry in list.split(',') {
        match entry.parse::<IpAddr>() {
            Ok(ip) => names.ips.push(ip.to_canonical()),
            Err(_) if entry.is_ascii() => names.dns.push(entry.to_owned()),
            Err(_) => return Err(format!("{entry:?} is not ASCII; write it in its xn-- form")),
        }
    }
    Ok(names)
}

/// A number of seconds, or one with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.chars().next_back()),
        None => (text, None),
    };
    let seconds = match unit {
        Some('m') => 60,
        Some('h') => 3600,
        _ => 1,
    };
    let number: u32 = number.parse().map_err(|_| format!("{text:?} is no duration: expected 90, 90s, 10m or 1h"))?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests;
