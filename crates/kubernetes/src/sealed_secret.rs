//! The Secret with the state, between the API server's form and the store's. Pure.
//!
//! Everything in it that is not ours goes back as it came: keys, labels, annotations, type. Only
//! `kubectl.kubernetes.io/last-applied-configuration` is dropped, which holds an old copy of the whole state, and
//! `managedFields`, which the API server keeps by itself.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use marblerun_store::cluster::{Content, Notes, Object, Version};

pub(crate) const SEALED_DATA: &str = "sealed_data";
pub(crate) const SEALED_KEY: &str = "sealed_key";
pub(crate) const PARTS: &str = "parts";

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is known of the object that is to be replaced: all of it that is not ours.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) version: Version,
    /// Whether it holds a state.
    pub(crate) filled: bool,
    rest: Secret,
}

/// An object as an API server answered.
pub(crate) struct Stored {
    secret: Secret,
    version: Version,
}

impl Stored {
    /// Reads an answer that should be the object of that name.
    pub(crate) fn parse(body: &[u8], name: &str) -> Result<Self, String> {
        let secret: Secret = serde_json::from_slice(body).map_err(|error| format!("it is no Secret: {error}"))?;
        let version = version(&secret.metadata, name)?;
        Ok(Self { secret, version })
    }

    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    /// A value; an empty one is none.
    pub(crate) fn value(&self, key: &str) -> Option<&Vec<u8>> {
        self.secret.data.as_ref()?.get(key).map(|value| &value.0).filter(|value| !value.is_empty())
    }

    /// As the store sees it.
    pub(crate) fn object(&self) -> Object {
        let foreign = |(key, value): (&String, &ByteString)| if is_ours(key) { 0 } else { value.0.len() };
        Object {
            version: self.version.clone(),
            sealed_data: self.value(SEALED_DATA).cloned(),
            sealed_key: self.value(SEALED_KEY).cloned(),
            parts: self.value(PARTS).cloned(),
            foreign_bytes: self.secret.data.iter().flatten().map(foreign).sum(),
            immutable: self.secret.immutable == Some(true),
            last_writer: last_writer(self.secret.metadata.managed_fields.as_deref().unwrap_or_default()),
        }
    }

    /// Whether it holds just what was sent.
    pub(crate) fn carries(&self, content: &Content) -> bool {
        self.value(SEALED_DATA) == Some(&content.sealed_data)
            && self.value(SEALED_KEY) == content.sealed_key.as_ref()
            && self.value(PARTS) == content.parts.as_ref()
    }

    /// The same object with another value `parts`, for a PUT that only this very version takes.
    pub(crate) fn with_parts(&self, parts: &[u8]) -> Secret {
        let mut secret = self.secret.clone();
        secret.metadata.managed_fields = None;
        secret.data.get_or_insert_default().insert(PARTS.to_owned(), ByteString(parts.to_vec()));
        secret
    }

    /// What to keep for the next write.
    pub(crate) fn into_known(self) -> Known {
        let filled = self.value(SEALED_DATA).is_some();
        let mut rest = self.secret;
        rest.metadata.managed_fields = None;
        if let Some(data) = &mut rest.data {
            data.retain(|key, _| !is_ours(key));
        }
        if let Some(annotations) = &mut rest.metadata.annotations {
            annotations.retain(|key, _| key != LAST_APPLIED && !NOTES.contains(&key.as_str()));
        }
        Known { version: self.version, filled, rest }
    }
}

impl Known {
    /// The object with that content, for a PUT that only this very version takes.
    pub(crate) fn with(&self, content: &Content) -> Secret {
        let mut secret = self.rest.clone();
        secret.metadata.uid = Some(self.version.uid.clone());
        secret.metadata.resource_version = Some(self.version.revision.clone());
        fill(&mut secret, content);
        secret
    }
}

/// A new object with that content.
pub(crate) fn fresh(name: &str, content: &Content) -> Secret {
    let mut secret = Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    fill(&mut secret, content);
    secret
}

/// Which write an answer tells of, if it is of the object of that name.
pub(crate) fn version(metadata: &ObjectMeta, name: &str) -> Result<Version, String> {
    if metadata.name.as_deref() != Some(name) {
        return Err(format!("it is not of the object {name}"));
    }
    let filled = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    match (filled(&metadata.uid), filled(&metadata.resource_version)) {
        (Some(uid), Some(revision)) => Ok(Version { uid, revision }),
        _ => Err(format!("it tells neither uid nor resourceVersion of {name}")),
    }
}

fn is_ours(key: &str) -> bool {
    matches!(key, SEALED_DATA | SEALED_KEY | PARTS)
}

fn fill(secret: &mut Secret, content: &Content) {
    let data = secret.data.get_or_insert_default();
    data.insert(SEALED_DATA.to_owned(), ByteString(content.sealed_data.clone()));
    let others = [(SEALED_KEY, &content.sealed_key), (PARTS, &content.parts)];
    for (key, value) in others.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
        data.insert(key.to_owned(), ByteString(value.clone()));
    }
    secret.metadata.annotations.get_or_insert_default().extend(annotations(&content.notes));
}

const NOTES: [&str; 6] = [
    "marblerun/deployment",
    "marblerun/incarnation",
    "marblerun/sequence",
    "marblerun/manifest",
    "marblerun/root",
    "marblerun/format",
];

fn annotations(notes: &Notes) -> BTreeMap<String, String> {
    let values = [
        notes.deployment.clone(),
        notes.incarnation.to_string(),
        notes.sequence.to_string(),
        notes.manifest.clone(),
        notes.root.clone(),
        notes.format.to_string(),
    ];
    let named = NOTES.into_iter().map(str::to_owned).zip(values);
    named.filter(|(_, value)| !value.is_empty()).collect()
}

/// Who wrote `sealed_data` last, as the API server noted it.
fn last_writer(managers: &[ManagedFieldsEntry]) -> String {
    let wrote = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:data/f:sealed_data").is_some())
    };
    let last = managers.iter().filter(wrote).max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    last.map_or_else(
        || "unknown".to_owned(),
        |entry| {
            let manager = entry.manager.as_deref().unwrap_or("unknown");
            let time = entry.time.as_ref().map(|time| format!(" at {}", time.0)).unwrap_or_default();
            format!("{manager}{time}")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn content() -> Content {
        let notes = Notes {
            deployment: "dd".to_owned(),
            incarnation: 2,
            sequence: 3,
            manifest: String::new(),
            root: "ee".to_owned(),
            format: 1,
        };
        Content { sealed_data: vec![1, 2], sealed_key: Some(vec![3]), parts: None, notes }
    }

    fn foreign() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "example.com/own",
            "metadata": {
                "name": "s", "namespace": "n", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"l": "1"}, "finalizers": ["example.com/f"],
                "annotations": {LAST_APPLIED: "{}", "a": "2", "marblerun/manifest": "old", "marblerun/own": "kept"},
                "managedFields": [
                    {"manager": "early", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:data": {"f:sealed_data": {}}}},
                    {"manager": "late", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:data": {"f:other": {}}}},
                    {"manager": "writer", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:data": {"f:sealed_data": {}}}},
                ],
            },
            "data": {"sealed_data": "AAA=", "parts": "AQ==", "other": "AAAA"},
        })
    }

    fn parse(value: &Value) -> Result<Stored, String> {
        Stored::parse(value.to_string().as_bytes(), "s")
    }

    #[test]
    fn what_is_not_ours_goes_back_as_it_came() {
        let stored = parse(&foreign()).unwrap();
        let object = stored.object();
        assert_eq!((object.sealed_data, object.sealed_key, object.parts), (Some(vec![0, 0]), None, Some(vec![1])));
        assert_eq!((object.foreign_bytes, object.immutable), (3, false));
        assert_eq!(object.last_writer, "writer at 2026-01-02T00:00:00Z");
        let sent = serde_json::to_value(stored.into_known().with(&content())).unwrap();
        let mut expected = foreign();
        expected["data"] = json!({"other": "AAAA", "sealed_data": "AQI=", "sealed_key": "Aw=="});
        expected["metadata"]["annotations"] = json!({
            "a": "2", "marblerun/own": "kept", "marblerun/deployment": "dd", "marblerun/incarnation": "2",
            "marblerun/sequence": "3", "marblerun/root": "ee", "marblerun/format": "1",
        });
        expected["metadata"].as_object_mut().unwrap().remove("managedFields");
        assert_eq!(sent, expected);
    }

    #[test]
    fn the_same_content_is_the_same_bytes() {
        let bytes = || serde_json::to_vec(&parse(&foreign()).unwrap().into_known().with(&content())).unwrap();
        assert_eq!(bytes(), bytes());
    }

    #[test]
    fn an_object_without_sealed_data_holds_no_state() {
        for data in [json!(null), json!({}), json!({"sealed_data": ""}), json!({"other": "AA=="})] {
            let mut empty = foreign();
            empty["data"] = data;
            let stored = parse(&empty).unwrap();
            assert_eq!(stored.object().sealed_data, None);
            assert!(!stored.into_known().filled);
        }
    }

    #[test]
    fn an_answer_that_is_not_the_object_is_not_taken() {
        assert!(Stored::parse(b"{}", "s").is_err());
        assert!(Stored::parse(b"<html>", "s").is_err());
        for (field, value) in [("name", "t"), ("uid", ""), ("resourceVersion", "")] {
            let mut other = foreign();
            other["metadata"][field] = json!(value);
            assert!(parse(&other).is_err(), "{field}");
        }
        let mut other = foreign();
        other["kind"] = json!("ConfigMap");
        assert!(parse(&other).is_err());
    }

    #[test]
    fn an_acknowledgement_of_something_else_is_seen() {
        let mut answer = foreign();
        answer["data"] = json!({"sealed_data": "AQI=", "sealed_key": "Aw==", "other": "AAAA"});
        assert!(parse(&answer).unwrap().carries(&content()));
        for (key, value) in [("sealed_data", "AQM="), ("sealed_key", "BA=="), ("parts", "AA==")] {
            let mut changed = answer.clone();
            changed["data"][key] = json!(value);
            assert!(!parse(&changed).unwrap().carries(&content()), "{key}");
        }
    }
}
