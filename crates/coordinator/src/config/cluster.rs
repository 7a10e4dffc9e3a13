//! One of several Coordinators: where their state lies, and what it takes to find it and each other.

use std::time::Duration;

use jiff::SignedDuration;

use super::{ConfigError, Options, non_empty, or};

/// Where a state lies that several Coordinators share, and how this one deals with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Where the state lies.
    pub place: ClusterPlace,
    /// How long activations go on while that place does not answer; zero: not at all.
    pub offline_grace: Duration,
    /// Bytes of a shared object above which a snapshot goes into parts, or is refused where there may be none.
    pub inline_max: usize,
}

/// A place that several Coordinators share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterPlace {
    /// Objects of a Kubernetes cluster.
    Kubernetes(KubernetesPlace),
    /// Keys of an etcd cluster.
    Etcd(EtcdPlace),
}

/// How etcd is reached. What is said here is checked when it is used, in builds that can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdPlace {
    /// Client URLs of the members, separated by commas.
    pub endpoints: String,
    /// Who issues the members' certificates.
    pub ca_file: String,
    /// Own certificate.
    pub cert_file: String,
    /// Its key.
    pub key_file: String,
    /// What all keys begin with.
    pub prefix: String,
    /// Where the others reach this one's key service; `None`: to be found out.
    pub advertise: Option<String>,
}

/// The names of those objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesPlace {
    /// Namespace of all of them; `None`: the one the process runs in.
    pub namespace: Option<String>,
    /// Secret with the state.
    pub state: String,
    /// ConfigMap with the key encryption keys, each sealed to a host.
    pub kek_map: String,
    /// Service whose endpoints are the other Coordinators.
    pub service: String,
    /// Host and port of the API server; `None`: as the environment of a pod says.
    pub api_server: Option<(String, u16)>,
}

/// Who asks for a shared store must not get a private one in silence.
pub(super) fn cluster(options: &Options, warnings: &mut Vec<String>) -> Result<Option<ClusterSettings>, ConfigError> {
    // Wrong values are told also where they have no effect yet.
    let offline_grace = offline_grace(or(&options.offline_grace, "5m"))?;
    let inline_max = inline_max(or(&options.state_inline_max, DEFAULT_INLINE_MAX))?;
    let settings = |place| Ok(Some(ClusterSettings { place, offline_grace, inline_max }));
    let distributed =
        options.distributed == "1" || options.licensed_features.to_ascii_lowercase().contains("distributedcoordinator");
    match (distributed, options.store_backend.as_str()) {
        (true, "k8s-secret") => settings(ClusterPlace::Kubernetes(kubernetes(options)?)),
        // Upstream has no such backend, so nothing says that it takes the other variable too.
        (_, "etcd") => settings(ClusterPlace::Etcd(etcd(options))),
        // As upstream: whatever else is named is no shared store.
        (true, _) => {
            warnings.push(
                "EDG_DISTRIBUTED_COORDINATOR is set, but EDG_STORE_BACKEND names no shared store: this Coordinator keeps its state in files, for itself alone"
                    .to_owned(),
            );
            Ok(None)
        }
        (false, "") => Ok(None),
        (false, other) => {
            warnings.push(format!(
                "EDG_STORE_BACKEND={other:?} has no effect without EDG_DISTRIBUTED_COORDINATOR=1: the state is kept in files"
            ));
            Ok(None)
        }
    }
}

fn etcd(options: &Options) -> EtcdPlace {
    EtcdPlace {
        endpoints: options.etcd_endpoints.clone(),
        ca_file: options.etcd_ca_file.clone(),
        cert_file: options.etcd_cert_file.clone(),
        key_file: options.etcd_key_file.clone(),
        prefix: options.etcd_prefix.clone(),
        advertise: non_empty(&options.etcd_advertise).map(str::to_owned),
    }
}

fn kubernetes(options: &Options) -> Result<KubernetesPlace, ConfigError> {
    let name = |variable, text: &str, default: &str| {
        let text = or(text, default);
        if is_object_name(text) {
            return Ok(text.to_owned());
        }
        let expected = "expected the name of a Kubernetes object: lower-case letters, digits, '-' and '.'";
        Err(ConfigError::BadValue { variable, value: text.to_owned(), expected })
    };
    let namespace = non_empty(&options.k8s_namespace).map(|text| name("EDG_K8S_NAMESPACE", text, text)).transpose()?;
    Ok(KubernetesPlace {
        namespace,
        state: name("EDG_K8S_STATE_NAME", &options.k8s_state_name, "marblerun-state")?,
        kek_map: name("EDG_K8S_KEK_MAP", &options.k8s_kek_map, "marblerun-sealed-kek")?,
        service: name("EDG_K8S_SERVICE_NAME", &options.k8s_service_name, "coordinator-key-api")?,
        api_server: api_server(options)?,
    })
}

fn api_server(options: &Options) -> Result<Option<(String, u16)>, ConfigError> {
    let port = non_empty(&options.kubernetes_service_port);
    let Some(host) = non_empty(&options.kubernetes_service_host) else {
        return match port {
            None => Ok(None),
            Some(_) => Err(ConfigError::Conflict(
                "EDG_KUBERNETES_SERVICE_PORT is set without EDG_KUBERNETES_SERVICE_HOST: set both, or neither",
            )),
        };
    };
    let port = port.unwrap_or("443");
    let number = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| ConfigError::BadValue {
        variable: "EDG_KUBERNETES_SERVICE_PORT",
        value: port.to_owned(),
        expected: "expected a port",
    })?;
    Ok(Some((host.to_owned(), number)))
}

/// A DNS subdomain (RFC 1123), which names of the objects in question are.
fn is_object_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(plain) && label.ends_with(plain) && label.chars().all(|c| plain(c) || c == '-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A longer one would be a way to have no change in force for good.
const MAX_OFFLINE_GRACE: SignedDuration = SignedDuration::from_hours(24);

fn offline_grace(text: &str) -> Result<Duration, ConfigError> {
    let grace = if text == "0" { Some(SignedDuration::ZERO) } else { text.parse::<SignedDuration>().ok() };
    let grace = grace.filter(|grace| (SignedDuration::ZERO..=MAX_OFFLINE_GRACE).contains(grace));
    grace.and_then(|grace| Duration::try_from(grace).ok()).ok_or_else(|| ConfigError::BadValue {
        variable: "MARBLERUN_OFFLINE_GRACE",
        value: text.to_owned(),
        expected: "expected a duration such as 5m or 90s, at most 24h, or 0",
    })
}

const DEFAULT_INLINE_MAX: &str = "950000";
/// What an API server takes for the values of an object, all together.
const MAX_INLINE: usize = 1_048_576;

fn inline_max(text: &str) -> Result<usize, ConfigError> {
    // Less than this holds no state at all.
    text.parse().ok().filter(|bytes| (16_384..=MAX_INLINE).contains(bytes)).ok_or_else(|| ConfigError::BadValue {
        variable: "MARBLERUN_STATE_INLINE_MAX",
        value: text.to_owned(),
        expected: "expected a number of bytes from 16384 to 1048576",
    })
}
