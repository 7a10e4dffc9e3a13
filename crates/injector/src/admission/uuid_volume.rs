//! The file from which a Marble takes its UUID: that of the pod, by way of the downward API, so that a
//! container which starts again is the same Marble.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::additions::Additions;
use super::environment;
use super::labels::Labels;
use super::pod::{InvalidPod, Node};

/// Name of the file in the volume.
pub(super) const FILE: &str = "uuid-file";
/// How names of such volumes begin.
const PREFIX: &str = "uuid-file-";
/// The API server takes DNS labels as names of volumes.
const MAX_NAME: usize = 63;

/// The volume of one pod.
#[derive(Debug)]
pub(super) struct UuidVolume {
    name: String,
    present: bool,
}

impl UuidVolume {
    /// The one that an earlier run of this webhook has added, else a new one named for the request.
    pub(super) fn choose(spec: &Node<'_>, request_uid: &str) -> Result<Self, InvalidPod> {
        let mut names = HashSet::new();
        for volume in spec.children("volumes")? {
            let Some(name) = volume.text("name")? else { continue };
            if name.starts_with(PREFIX) && holds_uuid_file(&volume)? {
                return Ok(Self { name: name.to_owned(), present: true });
            }
            names.insert(name);
        }
        let mut name = fresh_name(request_uid, "");
        let mut number = 1_u64;
        while names.contains(name.as_str()) {
            name = fresh_name(request_uid, &format!("-{number}"));
            number += 1;
        }
        Ok(Self { name, present: false })
    }

    /// Mounts it in a container that needs it: one that names no UUID file, and mounts nothing in its place.
    /// Tells whether it did.
    pub(super) fn mount(
        &self,
        container: &Node<'_>,
        labels: &Labels<'_>,
        additions: &mut Additions,
    ) -> Result<bool, InvalidPod> {
        if environment::find(container, environment::UUID_FILE)?.is_some()
            || mounted_instead(container, labels)?.is_some()
        {
            return Ok(false);
        }
        let mount = json!({"mountPath": labels.uuid_directory(), "name": self.name});
        additions.append(container, "volumeMounts", vec![mount])?;
        Ok(true)
    }

    /// Adds the volume itself.
    pub(super) fn add(&self, spec: &Node<'_>, additions: &mut Additions) -> Result<(), InvalidPod> {
        if self.present {
            return Ok(());
        }
        let source = json!({"items": [{"path": FILE, "fieldRef": {"fieldPath": "metadata.uid"}}]});
        additions.append(spec, "volumes", vec![json!({"name": self.name, "downwardAPI": source})])
    }
}

/// Name of the volume that the container mounts already where the UUID file is to be.
pub(super) fn mounted_instead<'a>(container: &Node<'a>, labels: &Labels<'_>) -> Result<Option<&'a str>, InvalidPod> {
    for mount in container.children("volumeMounts")? {
        let path = mount.text("mountPath")?.unwrap_or_default();
        // The kubelet would mount one over the other.
        if path.trim_end_matches('/') == labels.uuid_directory() {
            return Ok(Some(mount.text("name")?.unwrap_or_default()));
        }
    }
    Ok(None)
}

/// Whether a volume has the pod's UID where the premain looks for it.
pub(super) fn holds_uuid_file(volume: &Node<'_>) -> Result<bool, InvalidPod> {
    let Some(source) = volume.child("downwardAPI")? else { return Ok(false) };
    for item in source.children("items")? {
        let field = item.child("fieldRef")?;
        let field = field.as_ref().and_then(|field| field.value("fieldPath")).and_then(Value::as_str);
        if item.text("path")? == Some(FILE) && field == Some("metadata.uid") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A DNS label, whatever the request's UID looks like.
fn fresh_name(request_uid: &str, suffix: &str) -> String {
    let room = MAX_NAME - PREFIX.len() - suffix.len();
    let uid = request_uid.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let uid: String = uid.chars().take(room).collect();
    format!("{PREFIX}{uid}{suffix}").trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_whatever_the_request_is_called() {
        for (uid, name) in [
            ("0b1c2d3e-0000-4000-8000-000000000001", "uuid-file-0b1c2d3e-0000-4000-8000-000000000001"),
            ("", "uuid-file"),
            ("ABC/Ö.", "uuid-file-abc"),
        ] {
            assert_eq!(fresh_name(uid, ""), name);
        }
        let long = fresh_name(&"x".repeat(500), "-17");
        assert!(long.len() == 63 && long.ends_with("xx-17"), "{long}");
    }
}
