//! Names of upstream's store keys: `<type>` or `<type>:<name>`.

/// Values that upstream stores though they follow from the manifest.
const FROM_MANIFEST: [&str; 4] = ["TLS", "infrastructure", "marble", "user"];

/// Type and name of a key; split at the first colon alone, as a name may contain colons.
pub(crate) fn split(key: &str) -> (&str, Option<&str>) {
    match key.split_once(':') {
        Some((kind, name)) => (kind, Some(name)),
        None => (key, None),
    }
}

/// Whether the value under this key follows from the manifest.
pub(crate) fn follows_from_manifest(key: &str) -> bool {
    matches!(split(key), (kind, Some(_)) if FROM_MANIFEST.contains(&kind))
}

/// Key of a secret.
pub(crate) fn secret(name: &str) -> String {
    format!("secret:{name}")
}

/// Key of the generation of a secret before its last change.
pub(crate) fn previous_secret(name: &str) -> String {
    format!("previousSecret:{name}")
}
