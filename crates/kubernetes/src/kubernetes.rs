//! One deployment in one cluster: what its parts share.

use std::sync::Arc;

use kube::Client;
use marblerun_state::BootId;
use marblerun_store::cluster::Changed;
use tokio::runtime::Handle;

use crate::access::Access;
use crate::caller::Caller;
use crate::connection::{self, ConnectError};
use crate::discovery::Discovery;
use crate::events::Events;
use crate::exchange::Exchange;
use crate::names::Names;
use crate::place::KubernetesPlace;
use crate::refusals::Refusals;
use crate::watch;

/// What is to be reached, and by whom.
#[derive(Debug, Clone)]
pub struct KubernetesConfig {
    /// Which API server.
    pub access: Access,
    /// Which objects.
    pub names: Names,
    /// This process.
    pub boot: BootId,
    /// Whom Events are about; the Secret if `None`.
    pub pod: Option<PodReference>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodReference {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Option<String>,
}

/// A connection to the API server. Clones share it.
#[derive(Clone)]
pub struct Kubernetes {
    config: Arc<KubernetesConfig>,
    exchange: Exchange,
    refusals: Refusals,
    source: String,
}

impl Kubernetes {
    /// Finds the API server and makes ready to speak to it; it is not asked yet, so it may be away.
    ///
    /// # Errors
    /// [`ConnectError`]: what is configured cannot be used.
    pub async fn connect(config: KubernetesConfig) -> Result<Self, ConnectError> {
        let found = config.access.find().await?;
        let client = connection::client(&found.config).map_err(|error| ConnectError::Credentials {
            source_name: found.source.clone(),
            reason: crate::exchange::chain(error.as_ref()),
        })?;
        tracing::info!(api_server = %found.source, names = ?config.names, "Kubernetes");
        Ok(Self {
            exchange: Exchange::new(client, Handle::current()),
            config: Arc::new(config),
            refusals: Refusals::default(),
            source: found.source,
        })
    }

    /// Which API server, and as whom, for people.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The place that the store uses.
    #[must_use]
    pub fn place(&self) -> KubernetesPlace {
        let caller = Caller {
            exchange: self.exchange.clone(),
            names: self.config.names.clone(),
            manager: format!("marblerun-{}", hex::encode(self.config.boot.0)),
            refusals: self.refusals.clone(),
        };
        KubernetesPlace::new(caller, Events::new(self.config.pod.clone()))
    }

    /// Where the other Coordinators are.
    #[must_use]
    pub fn discovery(&self) -> Discovery {
        Discovery::new(self.exchange.clone(), self.config.names.clone())
    }

    /// Calls `on_change` whenever the state, the keys of the hosts or the addresses of the Coordinators may have
    /// changed, and after each gap. Never ends; nothing depends on it.
    pub async fn watch(&self, on_change: impl Fn(Changed) + Send + Sync) {
        watch::all(self.client(), &self.config.names, &self.refusals, &on_change).await;
    }

    /// What the account's Role lacks and is done without, as far as it was noticed.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    fn client(&self) -> &Client {
        self.exchange.client()
    }
}

impl std::fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubernetes")
            .field("source", &self.source)
            .field("names", &self.config.names)
            .finish_non_exhaustive()
    }
}
