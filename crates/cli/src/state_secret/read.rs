//! Reading what `kubectl get secret -o yaml` (or json) wrote, or we did: one document or several, or a List.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{LAST_APPLIED, PART, Part, StateSecret, archived};

/// A Secret of 1 MiB with 15 parts of that size, in base64, and all that may stand around them.
const MOST: u64 = 64 << 20;
/// Enough to tell text from a sealed file.
const BEGINNING: u64 = 512;

/// An object, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
    #[serde(default)]
    items: Vec<Document>,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// A file that may be YAML or JSON. `None`: it is none, by its first bytes, or no file.
pub(super) fn text(path: &Path) -> Result<Option<String>> {
    // Whoever opens it next says what is wrong with it.
    let Ok(file) = std::fs::File::open(path) else { return Ok(None) };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let mut limited = file.take(BEGINNING);
    limited.read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
    // A sealed file of ours begins so; in one of the original zeros stand among the first bytes.
    if bytes.starts_with(b"MRSEAL") || bytes.contains(&0) || bytes.is_empty() {
        return Ok(None);
    }
    limited.set_limit(MOST);
    limited.read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
    if bytes.len() as u64 > MOST {
        bail!("{} is larger than {} MiB", path.display(), MOST >> 20);
    }
    Ok(String::from_utf8(bytes).ok())
}

/// The objects in a text. `None`: it is something else.
pub(super) fn documents(text: &str) -> Option<Vec<Document>> {
    let documents: Vec<Document> = if text.trim_start().starts_with('{') {
        vec![serde_json::from_str(text).ok()?]
    } else {
        serde_saphyr::from_multiple(text).ok()?
    };
    let mut all = Vec::new();
    for document in documents {
        if document.kind.ends_with("List") { all.extend(document.items) } else { all.push(document) }
    }
    all.iter().any(|document| !document.kind.is_empty()).then_some(all)
}

/// The one state among objects, with its parts.
pub(super) fn secret(path: &Path, documents: Vec<Document>) -> Result<StateSecret> {
    let path = path.display();
    let (mut states, mut others) = (Vec::new(), Vec::new());
    for document in documents.into_iter().filter(|document| document.kind == "Secret") {
        let secret = decode(document).with_context(|| path.to_string())?;
        if secret.has_state() { states.push(secret) } else { others.push(secret) }
    }
    // All Secrets of a namespace: the state, and archives of older ones.
    if states.len() > 1 {
        states.retain(|state| archived(&state.name).is_none());
    }
    let mut state = match states.len() {
        0 => bail!("{path} holds no Secret with a sealed_data"),
        1 => states.remove(0),
        _ => {
            let names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
            bail!("{path} holds several states ({}); leave one of them in it", names.join(", "))
        }
    };
    for other in others {
        if let (Some(part), Some(bytes)) = (Part::of_name(&other.name, &state.name), other.value(PART)) {
            state.parts.insert(part, bytes.to_vec());
        }
    }
    Ok(state)
}

fn decode(document: Document) -> Result<StateSecret> {
    let Document { metadata, data, .. } = document;
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    let decoded = data.into_iter().flatten().map(|(key, value)| {
        // Long values may have been folded into lines.
        let value: String = value.split_ascii_whitespace().collect();
        let bytes = marblerun_api::bytes::decode(&value)
            .with_context(|| format!("value {key} of Secret {} is not base64", metadata.name))?;
        Ok((key, bytes))
    });
    Ok(StateSecret {
        data: decoded.collect::<Result<_>>()?,
        name: metadata.name,
        namespace: metadata.namespace,
        labels: metadata.labels.unwrap_or_default(),
        annotations,
        parts: BTreeMap::new(),
    })
}
