//! The variables from which the premain learns who it is and whom to ask.

use serde_json::{Value, json};

use super::additions::Additions;
use super::dns::dns_names;
use super::labels::Labels;
use super::pod::{InvalidPod, Node};
use super::rules::Rules;

/// File with the UUID of the Marble.
pub(super) const UUID_FILE: &str = "EDG_MARBLE_UUID_FILE";

/// The four variables of a Marble, in the order they are appended in.
#[derive(Debug, Clone)]
pub(super) struct Environment([(&'static str, String); 4]);

impl Environment {
    pub(super) fn new(rules: &Rules, labels: &Labels<'_>, namespace: &str) -> Self {
        Self([
            ("EDG_MARBLE_COORDINATOR_ADDR", rules.coordinator.clone()),
            ("EDG_MARBLE_TYPE", labels.marble_type.to_owned()),
            ("EDG_MARBLE_DNS_NAMES", dns_names(labels.marble_type, namespace, &rules.cluster_domain).join(",")),
            (UUID_FILE, format!("{}/{}", labels.uuid_directory(), super::uuid_volume::FILE)),
        ])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// Appends what the container does not have. What it has stays, whatever its value.
    pub(super) fn append(&self, container: &Node<'_>, additions: &mut Additions) -> Result<(), InvalidPod> {
        let mut missing: Vec<Value> = Vec::new();
        for (name, value) in self.iter() {
            if find(container, name)?.is_none() {
                missing.push(json!({"name": name, "value": value}));
            }
        }
        additions.append(container, "env", missing)
    }
}

/// The variable of that name in a container. Of several the last one counts, as for the kubelet.
pub(super) fn find<'a>(container: &Node<'a>, name: &str) -> Result<Option<Node<'a>>, InvalidPod> {
    let mut found = None;
    for variable in container.children("env")? {
        if variable.text("name")? == Some(name) {
            found = Some(variable);
        }
    }
    Ok(found)
}
