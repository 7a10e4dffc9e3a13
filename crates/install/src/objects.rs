//! The objects of an installation, as the chart would render them.

mod coordinator;
mod environment;
mod injector;
mod labels;
mod metrics;
mod mounts;
mod network;
mod pod;
mod role;
mod service;
mod storage;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, Resource};
use serde::Serialize;
use serde_json::Value;

pub use role::{archives, parts};

use crate::settings::{Labels, Settings};
use crate::values::ValuesError;

/// What the objects depend on.
#[derive(Debug, Clone, Copy)]
pub struct Installation<'a> {
    /// The values.
    pub settings: &'a Settings,
    /// Where it is installed.
    pub namespace: &'a str,
    /// The version of the programs, where no value names another.
    pub app_version: &'a str,
}

/// A Kubernetes object, with what it takes to address it.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// API group, empty for the core.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// The kind in a URL.
    pub plural: String,
    /// Name.
    pub name: String,
    /// Namespace; `None` if it is in none.
    pub namespace: Option<String>,
    /// The object itself.
    pub body: Value,
}

impl Object {
    /// Of a typed object.
    ///
    /// # Errors
    /// Never for what has no maps with keys other than strings.
    pub fn new<T: Resource + Metadata<Ty = ObjectMeta> + Serialize>(object: &T) -> Result<Self, ValuesError> {
        let metadata = object.metadata();
        Ok(Self {
            group: T::GROUP.to_owned(),
            version: T::VERSION.to_owned(),
            kind: T::KIND.to_owned(),
            plural: T::URL_PATH_SEGMENT.to_owned(),
            name: metadata.name.clone().unwrap_or_default(),
            namespace: metadata.namespace.clone(),
            body: serde_json::to_value(object).map_err(|error| ValuesError::Type(error.to_string()))?,
        })
    }

    /// Of a kind that is not Kubernetes' own. `metadata`, and the rest of its fields.
    fn custom(kind: Custom, metadata: &ObjectMeta, spec: Value) -> Result<Self, ValuesError> {
        let metadata_value = serde_json::to_value(metadata).map_err(|error| ValuesError::Type(error.to_string()))?;
        Ok(Self {
            group: kind.group.to_owned(),
            version: "v1".to_owned(),
            kind: kind.kind.to_owned(),
            plural: kind.plural.to_owned(),
            name: metadata.name.clone().unwrap_or_default(),
            namespace: metadata.namespace.clone(),
            body: serde_json::json!({
                "apiVersion": format!("{}/v1", kind.group),
                "kind": kind.kind,
                "metadata": metadata_value,
                "spec": spec,
            }),
        })
    }

    /// `group/version`, or the version alone.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// As people call it: `Deployment marblerun-coordinator`.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

/// A kind of cert-manager or the Prometheus operator.
#[derive(Debug, Clone, Copy)]
struct Custom {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
}

/// All objects of an installation, in the order in which they are to be made. The namespace and the webhook's Secret are
/// not among them, as the chart does not make them either.
///
/// # Errors
/// If values contradict each other.
pub fn objects(installation: Installation<'_>) -> Result<Vec<Object>, ValuesError> {
    let mut objects = Vec::new();
    role::add(installation, &mut objects)?;
    storage::add(installation, &mut objects)?;
    service::add(installation, &mut objects)?;
    network::add(installation, &mut objects)?;
    coordinator::add(installation, &mut objects)?;
    metrics::add(installation, &mut objects)?;
    injector::add(installation, &mut objects)?;
    Ok(objects)
}

/// Metadata of an object in the installation's namespace.
fn metadata(installation: Installation<'_>, name: &str, labels: Option<Labels>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(installation.namespace.to_owned()),
        labels,
        ..ObjectMeta::default()
    }
}

/// Text that may be absent.
fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A list that may be absent.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
