//! A state as upstream's map of store keys.

use std::collections::BTreeMap;

use marblerun_manifest::model::SecretDefinition;
use marblerun_pki::Secret;
use zeroize::Zeroizing;

use super::json::Json;
use super::{keys, values};
use crate::{ChangeError, State};

/// Store keys and values, sorted as upstream sorts them: by the bytes of the key.
pub(super) type Map = BTreeMap<String, Zeroizing<Vec<u8>>>;

type Placeholder<'a> = &'a dyn Fn(&str, &SecretDefinition) -> Result<Secret, String>;

pub(super) fn export(state: &State, placeholder: Placeholder<'_>) -> Result<Zeroizing<Vec<u8>>, ChangeError> {
    let mut map = derived(state);
    add_placeholders(state, &mut map, placeholder)?;
    for (key, value) in state.extra() {
        map.insert(key.to_owned(), Zeroizing::new(value.to_vec()));
    }
    // A character is escaped to at most six bytes.
    let capacity = map.iter().map(|(key, value)| key.len() * 6 + value.len() * 4 / 3 + 16).sum();
    let mut json = Json::with_capacity(capacity);
    json.map(&map, |json, value| {
        json.bytes(Some(value));
    });
    Ok(json.finish())
}

/// What we write for a state, without anything kept of an import.
pub(super) fn derived(state: &State) -> Map {
    let mut map = Map::new();
    let mut put = |key: &str, value: Zeroizing<Vec<u8>>| map.insert(key.to_owned(), value);
    let plain = |bytes: &[u8]| Zeroizing::new(bytes.to_vec());

    put(keys::STATE, plain((state.phase() as u8).to_string().as_bytes()));
    let authority = state.authority();
    put(keys::ROOT_CERTIFICATE, plain(&authority.root_certificate));
    put(keys::INTERMEDIATE_CERTIFICATE, plain(&authority.intermediate_certificate));
    put(keys::MARBLE_ROOT_CERTIFICATE, plain(&authority.marble_root_certificate));
    put(keys::ROOT_KEY, authority.root_key.to_sec1_der());
    put(keys::INTERMEDIATE_KEY, authority.intermediate_key.to_sec1_der());
    // Old states have no root secret: there the scalar of the root key stands for it.
    if state.root_secret.0.as_slice() != authority.root_key.scalar().as_slice() {
        put(keys::ROOT_SECRET, state.root_secret.0.clone());
    }
    if let Some(previous) = &state.previous_root_secret {
        put(keys::PREVIOUS_ROOT_SECRET, previous.0.clone());
    }
    if let Some(active) = state.manifest() {
        put(keys::MANIFEST, plain(&active.raw));
        put(keys::MANIFEST_SIGNATURE, plain(&active.signature));
        let manifest = &active.manifest;
        for (name, marble) in &manifest.marbles {
            put(&format!("marble:{name}"), values::marble(marble));
        }
        for (name, tag) in &manifest.tls {
            put(&format!("TLS:{name}"), values::tls_tag(tag));
        }
        for (name, infrastructure) in &manifest.infrastructures {
            put(&format!("infrastructure:{name}"), values::infrastructure(infrastructure));
        }
        for (name, user) in &active.users {
            put(&format!("user:{name}"), values::user(user));
        }
    }
    for (name, package) in state.packages() {
        put(&keys::package(name), values::package(package));
    }
    for (name, secret) in state.secrets() {
        put(&keys::secret(name), values::secret(secret));
    }
    for (name, secret) in state.previous_secrets() {
        put(&keys::previous_secret(name), values::secret(secret));
    }
    for (name, count) in state.activations.iter() {
        put(&keys::activations(name), plain(format!("{count:x}").as_bytes()));
    }
    for (key, value) in state.counters.iter() {
        put(&keys::counter(key), plain(&value.to_le_bytes()));
    }
    if !state.update_log.is_empty() {
        let mut log: String = state.update_log().collect::<Vec<_>>().join("\n");
        log.push('\n');
        put(keys::UPDATE_LOG, Zeroizing::new(log.into_bytes()));
    }
    if let Some(update) = state.pending_update() {
        put(keys::PENDING_UPDATE, values::pending_update(update));
    }
    map
}

/// Whether a secret is made anew for each Marble, so that upstream stores a placeholder for it.
pub(super) fn is_per_marble(secret: &Secret) -> bool {
    !secret.shared && !secret.user_defined
}

fn add_placeholders(state: &State, map: &mut Map, placeholder: Placeholder<'_>) -> Result<(), ChangeError> {
    for (name, secret) in state.secrets().filter(|(_, secret)| is_per_marble(secret)) {
        let wanted: Vec<String> = [keys::secret(name), keys::previous_secret(name)]
            .into_iter()
            .filter(|key| map.contains_key(key) && !state.extra.contains_key(key.as_str()))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let definition = state.manifest().and_then(|active| active.manifest.secrets.get(name));
        let Some(definition) = definition else {
            return Err(ChangeError(format!("secret {name:?} is not defined in the manifest")));
        };
        let made = placeholder(name, definition)
            .map_err(|reason| ChangeError(format!("making a placeholder for secret {name:?}: {reason}")))?;
        let value = values::secret(&Secret { valid_for: secret.valid_for, ..made });
        for key in wanted {
            map.insert(key, value.clone());
        }
    }
    Ok(())
}
