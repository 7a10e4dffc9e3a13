//! A cluster, and what its API server says, in words that an operator can use.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Client, Resource};
use marblerun_install::Object;
use marblerun_install::kinds::Kind;
use marblerun_kubernetes::config::{self, Environment, Selection};
use serde::de::DeserializeOwned;

use crate::args::{ClusterArgs, Global};
use crate::failure::ClusterFailure;

/// A cluster that does not answer for that long will not.
const CONNECT: Duration = Duration::from_secs(10);
/// Nothing that is asked here takes longer.
const ANSWER: Duration = Duration::from_secs(60);
/// Where MarbleRun is if nobody says otherwise.
const NAMESPACE: &str = "marblerun";

/// A cluster, and the namespace of MarbleRun in it.
pub struct Cluster {
    /// Its API server.
    pub client: Client,
    /// Where MarbleRun is, or is to be.
    pub namespace: String,
    /// The context of the kubeconfig; `None` inside a pod.
    pub context: Option<String>,
    /// Address of the API server.
    pub server: String,
}

/// The namespace that a command is about.
pub fn namespace(global: &Global) -> Result<String> {
    if let Some(namespace) = global.namespace.clone() {
        return Ok(namespace);
    }
    let of_context = global.chosen()?.and_then(|chosen| chosen.context.namespace.clone());
    Ok(of_context.unwrap_or_else(|| NAMESPACE.to_owned()))
}

impl Cluster {
    /// Finds the cluster. Asks it nothing yet.
    pub async fn find(namespace: String, args: &ClusterArgs) -> Result<Self> {
        let selection = Selection { kubeconfig: args.kubeconfig.clone(), context: args.kube_context.clone() };
        let found = config::load(&selection, &Environment::of_process()).await?;
        let mut config = found.config;
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(ANSWER);
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).told("using the kubeconfig")?;
        Ok(Self { client, namespace, context: found.context, server: server.trim_end_matches('/').to_owned() })
    }

    /// Objects of a kind in the namespace.
    pub fn here<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects of a kind that is in no namespace.
    pub fn everywhere<K>(&self) -> Api<K>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    /// All objects of a kind in the namespace.
    pub async fn list<K>(&self) -> kube::Result<Vec<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        Ok(self.here::<K>().list(&ListParams::default()).await?.items)
    }

    /// Where an object is.
    pub fn of_object(&self, object: &Object) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: object.group.clone(),
            version: object.version.clone(),
            api_version: object.api_version(),
            kind: object.kind.clone(),
            plural: object.plural.clone(),
        };
        match &object.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Where objects of a kind are.
    pub fn of_kind(&self, kind: &Kind) -> Api<DynamicObject> {
        let api_version =
            if kind.group.is_empty() { kind.version.to_owned() } else { format!("{}/{}", kind.group, kind.version) };
        let resource = ApiResource {
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            api_version,
            kind: kind.kind.to_owned(),
            plural: kind.plural.to_owned(),
        };
        if kind.is_namespaced {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        }
    }

    /// Whether the API server serves a group.
    pub async fn serves(&self, group: &str) -> Result<bool> {
        let groups = self.client.list_api_groups().await.told("asking which APIs there are")?;
        Ok(groups.groups.iter().any(|served| served.name == group))
    }
}

/// Errors of the API server, in words.
pub trait Told<T> {
    /// With what was being done.
    fn told(self, doing: &'static str) -> Result<T>;
}

impl<T> Told<T> for kube::Result<T> {
    fn told(self, doing: &'static str) -> Result<T> {
        self.map_err(plain).context(doing)
    }
}

/// An error of the client, without the library's words around it.
pub fn plain(error: kube::Error) -> ClusterFailure {
    match error {
        kube::Error::Api(status) => ClusterFailure::of_status(&status),
        kube::Error::Auth(error) => ClusterFailure::Credentials(root(&error)),
        other => {
            let text = root(&other);
            // rustls tells it so.
            if text.contains("invalid peer certificate") {
                ClusterFailure::Untrusted(text)
            } else {
                ClusterFailure::Unreachable(text)
            }
        }
    }
}

/// The cause below all causes.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Whether there is no such object, or no such kind.
pub fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the user may not.
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}
