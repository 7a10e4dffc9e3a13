//! What `install` made, by its label.

use std::collections::BTreeMap;

use anyhow::Result;
use kube::api::{DeleteParams, ListParams};
use marblerun_install::kinds::{KINDS, Kind};
use marblerun_install::names;

use super::cluster::{Cluster, Told as _, is_absent, is_forbidden};
use crate::output::note;

/// An object of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl Own {
    /// `deployment/marblerun-coordinator`.
    pub fn title(&self) -> String {
        format!("{}/{}", self.kind.kind.to_lowercase(), self.name)
    }
}

/// All of them, in the order in which they are to be removed. Volume claims are not among them, as they are state.
pub async fn find(cluster: &Cluster) -> Result<Vec<Own>> {
    let mut found = Vec::new();
    for kind in KINDS {
        found.extend(ours(cluster, &kind).await?.into_iter().map(|name| Own { kind, name }));
    }
    Ok(found)
}

/// Removes objects. Answers what it removed.
pub async fn remove(cluster: &Cluster, objects: &[Own]) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for object in objects {
        match cluster.of_kind(&object.kind).delete(&object.name, &DeleteParams::background()).await {
            Ok(_) => removed.push(object.title()),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error).told("removing an object"),
        }
    }
    Ok(removed)
}

/// Names of objects of a kind with our label. Of those in no namespace only the one that names ours.
async fn ours(cluster: &Cluster, kind: &Kind) -> Result<Vec<String>> {
    let by_label = ListParams::default().labels(&format!("{}={}", names::MANAGED_BY, names::MANAGER));
    let api = cluster.of_kind(kind);
    if !kind.is_namespaced {
        let name = names::webhook_configuration(&cluster.namespace);
        let found = match api.get_metadata_opt(&name).await {
            Ok(found) => found,
            Err(error) if is_forbidden(&error) => {
                note(&format!("you may not see {name}, so it is left as it is"));
                return Ok(Vec::new());
            }
            Err(error) => return Err(error).told("looking for the webhook's configuration"),
        };
        let label = |labels: BTreeMap<String, String>| labels.get(names::MANAGED_BY).cloned();
        let is_ours =
            found.and_then(|found| found.metadata.labels).and_then(label).is_some_and(|m| m == names::MANAGER);
        return Ok(if is_ours { vec![name] } else { Vec::new() });
    }
    match api.list_metadata(&by_label).await {
        Ok(found) => Ok(found.items.into_iter().filter_map(|item| item.metadata.name).collect()),
        // Of a kind that this cluster does not have there are none.
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(error) if is_forbidden(&error) => {
            note(&format!("you may not list {}, so they are left as they are", kind.plural));
            Ok(Vec::new())
        }
        Err(error) => Err(error).told("looking for what was installed"),
    }
}
