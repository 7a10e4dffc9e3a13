//! The ConfigMap with the sealed keys of the hosts. Each host touches its own values alone, by merge patches that name
//! nothing else, so no writer overwrites what another host's next start needs. Upstream's values are read, never written.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use marblerun_store::cluster::{PlaceError, WriteFailure};
use serde_json::{Map, Value, json};

use crate::caller::{Caller, Extent, Kind};
use crate::verdict;

pub(crate) fn read(caller: &Caller) -> Result<BTreeMap<String, Vec<u8>>, PlaceError> {
    let name = caller.names.kek_map();
    let Some(answer) = caller.get(Kind::ConfigMap, name, Extent::Whole)? else { return Ok(BTreeMap::new()) };
    let map: ConfigMap = serde_json::from_slice(&answer.body)
        .map_err(|error| PlaceError::Malformed(format!("{}: {error}", caller.asked("get", Kind::ConfigMap, name))))?;
    Ok(map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect())
}

pub(crate) fn change(caller: &Caller, set: &BTreeMap<String, Vec<u8>>, remove: &[String]) -> Result<(), PlaceError> {
    if let Some(theirs) = set.keys().chain(remove).find(|key| is_upstreams(key)) {
        return Err(PlaceError::Refused(format!(
            "{theirs} is a value of the original MarbleRun, which is never changed"
        )));
    }
    if set.is_empty() && remove.is_empty() {
        return Ok(());
    }
    let patch = patch(set, remove)?;
    let name = caller.names.kek_map();
    let failed = |failure| verdict::beside(caller.asked("patch", Kind::ConfigMap, name), failure);
    match caller.merge(Kind::ConfigMap, name, &patch) {
        Err(WriteFailure::Missing) => {
            make(caller)?;
            caller.merge(Kind::ConfigMap, name, &patch).map_err(failed)?;
        }
        answer => {
            answer.map_err(failed)?;
        }
    }
    let now = read(caller)?;
    let lost = set.iter().find(|(key, value)| now.get(*key) != Some(value)).map(|(key, _)| key);
    match lost.or_else(|| remove.iter().find(|key| now.contains_key(*key))) {
        Some(key) => Err(PlaceError::Unreachable(format!(
            "ConfigMap {name}: {key} is not what was written a moment ago; somebody else changes it, or puts an old copy back"
        ))),
        None => Ok(()),
    }
}

/// Makes it, without anything in it. That somebody else just did is as good.
fn make(caller: &Caller) -> Result<(), PlaceError> {
    let name = caller.names.kek_map();
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let empty = ConfigMap { metadata, ..ConfigMap::default() };
    match caller.create(Kind::ConfigMap, name, &empty) {
        Ok(_) | Err(WriteFailure::InDoubt { conflict: true, .. }) => Ok(()),
        Err(failure) => Err(verdict::beside(caller.asked("create", Kind::ConfigMap, name), failure)),
    }
}

fn patch(set: &BTreeMap<String, Vec<u8>>, remove: &[String]) -> Result<Value, PlaceError> {
    let mut values: Map<String, Value> = remove.iter().map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in set {
        let value = serde_json::to_value(ByteString(value.clone()));
        values.insert(key.clone(), value.map_err(|error| PlaceError::Refused(error.to_string()))?);
    }
    Ok(json!({ "binaryData": values }))
}

/// Upstream names a value by 16 bytes in hex, we by three of those with dots between them.
fn is_upstreams(key: &str) -> bool {
    key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_own_values_alone() {
        let set = BTreeMap::from([("a.b.c".to_owned(), vec![0xff])]);
        let patch = patch(&set, &["d.e.f".to_owned()]).unwrap();
        assert_eq!(patch, json!({"binaryData": {"a.b.c": "/w==", "d.e.f": null}}));
    }

    #[test]
    fn upstreams_values_are_known_by_their_names() {
        assert!(is_upstreams(&"0".repeat(32)));
        assert!(!is_upstreams(&format!("{}.{}.{}", "0".repeat(32), "1".repeat(32), "2".repeat(16))));
    }
}
