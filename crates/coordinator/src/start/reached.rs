//! The place that the configuration names, reached: Kubernetes, or etcd in builds that have it.

#[cfg(feature = "etcd")]
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

#[cfg(feature = "etcd")]
use marblerun_etcd::{Etcd, EtcdConfig};
use marblerun_kubernetes::{Access, Discovery, Kubernetes, KubernetesConfig, Names, SERVICE_ACCOUNT};
use marblerun_state::BootId;
use marblerun_store::cluster::{Changed, PlaceError, SharedPlace};

use super::shared::SharedError;
#[cfg(feature = "etcd")]
use crate::config::EtcdPlace;
use crate::config::{ClusterPlace, KubernetesPlace};

/// A shared place, and who else is there. Clones are the same.
#[derive(Clone)]
pub(super) enum Reached {
    Kubernetes(Box<Kubernetes>, Discovery),
    #[cfg(feature = "etcd")]
    Etcd {
        etcd: Etcd,
        /// Where the others reach this one, if it is configured.
        advertise: Option<String>,
    },
}

impl Reached {
    pub(super) async fn of(place: &ClusterPlace) -> Result<Self, SharedError> {
        match place {
            ClusterPlace::Kubernetes(place) => {
                let kubernetes = Kubernetes::connect(kubernetes_config(place)?).await?;
                let discovery = kubernetes.discovery();
                Ok(Self::Kubernetes(Box::new(kubernetes), discovery))
            }
            #[cfg(feature = "etcd")]
            ClusterPlace::Etcd(place) => {
                let etcd = Etcd::connect(etcd_config(place)?)?;
                Ok(Self::Etcd { etcd, advertise: place.advertise.clone() })
            }
            #[cfg(not(feature = "etcd"))]
            ClusterPlace::Etcd(_) => Err(SharedError::NoEtcd),
        }
    }

    pub(super) fn backend(&self) -> &'static str {
        match self {
            Self::Kubernetes(..) => "kubernetes",
            #[cfg(feature = "etcd")]
            Self::Etcd { .. } => "etcd",
        }
    }

    pub(super) fn place(&self) -> Box<dyn SharedPlace> {
        match self {
            Self::Kubernetes(kubernetes, _) => Box::new(kubernetes.place()),
            #[cfg(feature = "etcd")]
            Self::Etcd { etcd, .. } => Box::new(etcd.place()),
        }
    }

    /// Of all Coordinators there, this one perhaps among them.
    pub(super) async fn addresses(&self) -> Result<Vec<String>, PlaceError> {
        match self {
            Self::Kubernetes(_, discovery) => discovery.addresses().await,
            #[cfg(feature = "etcd")]
            Self::Etcd { etcd, .. } => etcd.addresses().await,
        }
    }

    /// Never ends.
    pub(super) async fn watch(&self, on_change: impl Fn(Changed) + Send + Sync) {
        match self {
            Self::Kubernetes(kubernetes, _) => kubernetes.watch(on_change).await,
            #[cfg(feature = "etcd")]
            Self::Etcd { etcd, .. } => etcd.watch(on_change).await,
        }
    }

    /// Says where this one's key service is, where the place does not know by itself. Never ends.
    #[cfg_attr(not(feature = "etcd"), allow(unused_variables, reason = "Kubernetes knows its pods"))]
    pub(super) async fn announce(&self, key_service: SocketAddr) {
        match self {
            Self::Kubernetes(..) => std::future::pending().await,
            #[cfg(feature = "etcd")]
            Self::Etcd { etcd, advertise } => match own_address(etcd, advertise.as_deref(), key_service) {
                Ok(address) => etcd.announce(&address).await,
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "the other Coordinators are not told where this one is; set MARBLERUN_ETCD_ADVERTISE"
                    );
                    std::future::pending().await
                }
            },
        }
    }

    /// Takes that back. Best effort.
    pub(super) async fn withdraw(&self) {
        match self {
            Self::Kubernetes(..) => {}
            #[cfg(feature = "etcd")]
            Self::Etcd { etcd, .. } => etcd.withdraw().await,
        }
    }
}

/// Names the writer for people, nothing more.
fn boot() -> BootId {
    let mut boot = [0; 16];
    let _ = aws_lc_rs::rand::fill(&mut boot);
    BootId(boot)
}

fn kubernetes_config(place: &KubernetesPlace) -> Result<KubernetesConfig, SharedError> {
    let namespace = match &place.namespace {
        Some(namespace) => namespace.clone(),
        None => std::fs::read_to_string(Path::new(SERVICE_ACCOUNT).join("namespace"))
            .map_err(SharedError::Namespace)?
            .trim()
            .to_owned(),
    };
    let mut access = Access::of_process();
    if let Some((host, port)) = &place.api_server {
        access.host = Some(host.clone());
        access.port = Some(port.to_string());
    }
    Ok(KubernetesConfig {
        access,
        names: Names::new(&namespace, &place.state, &place.kek_map, &place.service)?,
        boot: boot(),
        pod: None,
    })
}

#[cfg(feature = "etcd")]
fn etcd_config(place: &EtcdPlace) -> Result<EtcdConfig, SharedError> {
    let variable = |name: &str| {
        let value = match name {
            "MARBLERUN_ETCD_ENDPOINTS" => &place.endpoints,
            "MARBLERUN_ETCD_CA_FILE" => &place.ca_file,
            "MARBLERUN_ETCD_CERT_FILE" => &place.cert_file,
            "MARBLERUN_ETCD_KEY_FILE" => &place.key_file,
            "MARBLERUN_ETCD_PREFIX" => &place.prefix,
            _ => return None,
        };
        Some(OsString::from(value))
    };
    EtcdConfig::from_variables(boot(), variable).map_err(|error| SharedError::Etcd(error.into()))
}

#[cfg(feature = "etcd")]
fn own_address(etcd: &Etcd, advertise: Option<&str>, key_service: SocketAddr) -> std::io::Result<String> {
    if let Some(advertise) = advertise {
        return Ok(advertise.to_owned());
    }
    let ip = key_service.ip();
    let ip = if ip.is_unspecified() { etcd.local_address()? } else { ip };
    Ok(SocketAddr::new(ip, key_service.port()).to_string())
}
