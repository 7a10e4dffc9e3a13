//! Names of upstream's store keys: `<type>` or `<type>:<name>`. A name may itself contain colons.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::CounterKey;

pub(crate) const STATE: &str = "state";
pub(crate) const MANIFEST: &str = "manifest";
pub(crate) const MANIFEST_SIGNATURE: &str = "manifestSignature";
pub(crate) const ROOT_SECRET: &str = "rootSecret";
pub(crate) const PREVIOUS_ROOT_SECRET: &str = "previousRootSecret";
pub(crate) const UPDATE_LOG: &str = "updateLog";
pub(crate) const PENDING_UPDATE: &str = "pendingUpdate";
pub(crate) const ROOT_CERTIFICATE: &str = "certificate:coordinatorRootCert";
pub(crate) const INTERMEDIATE_CERTIFICATE: &str = "certificate:coordinatorIntermediateCert";
pub(crate) const MARBLE_ROOT_CERTIFICATE: &str = "certificate:marbleRootCert";
pub(crate) const ROOT_KEY: &str = "privateKey:coordinatorRootKey";
pub(crate) const INTERMEDIATE_KEY: &str = "privateKey:coordinatorIntermediateKey";

const AUTHORITY: [&str; 5] =
    [ROOT_CERTIFICATE, INTERMEDIATE_CERTIFICATE, MARBLE_ROOT_CERTIFICATE, ROOT_KEY, INTERMEDIATE_KEY];

/// Type and name of a key, split at the first colon alone.
pub(crate) fn split(key: &str) -> (&str, Option<&str>) {
    match key.split_once(':') {
        Some((kind, name)) => (kind, Some(name)),
        None => (key, None),
    }
}

/// Whether the value under this key is one of the authority's.
pub(crate) fn is_of_authority(key: &str) -> bool {
    AUTHORITY.contains(&key)
}

/// Whether the value under this key is the manifest or follows from it alone.
pub(crate) fn is_of_manifest(key: &str) -> bool {
    match split(key) {
        (kind, Some(_)) => matches!(kind, "TLS" | "infrastructure" | "marble" | "user"),
        (kind, None) => matches!(kind, STATE | MANIFEST | MANIFEST_SIGNATURE),
    }
}

pub(crate) fn package(name: &str) -> String {
    format!("package:{name}")
}

pub(crate) fn secret(name: &str) -> String {
    format!("secret:{name}")
}

pub(crate) fn previous_secret(name: &str) -> String {
    format!("previousSecret:{name}")
}

pub(crate) fn activations(marble_type: &str) -> String {
    format!("activations:{marble_type}")
}

/// Type, UUID bytes and name in base64, so that colons in them do not matter.
pub(crate) fn counter(key: &CounterKey) -> String {
    let [marble_type, uuid, name] =
        [key.marble_type.as_bytes(), &key.uuid, key.name.as_bytes()].map(|part| BASE64_STANDARD.encode(part));
    format!("monotonicCounter:{marble_type}:{uuid}:{name}")
}

/// The counter behind the name of a `monotonicCounter` key; `None` if it is not of that form.
pub(crate) fn counter_of(name: &str) -> Option<CounterKey> {
    let mut parts = name.split(':').map(|part| BASE64_STANDARD.decode(part).ok());
    let (marble_type, uuid, counter) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() {
        return None;
    }
    Some(CounterKey {
        marble_type: String::from_utf8(marble_type).ok()?,
        uuid: uuid.try_into().ok()?,
        name: String::from_utf8(counter).ok()?,
    })
}
