//! What is in a thing that is given out, as a CycloneDX document: scanners read it, and tell what to replace.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::crates::Crate;
use super::release::Release;

/// A package of the distribution of which something is in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Name and version of its source.
    pub source: (String, String),
    /// Its licence, as an SPDX expression.
    pub licence: String,
}

/// The document, with a line feed at its end.
pub fn document(of: &str, release: &Release, crates: &BTreeSet<Crate>, parts: &BTreeSet<Part>) -> Result<Vec<u8>> {
    let mut components: Vec<Value> = crates
        .iter()
        .map(|one| {
            let mut component = component("library", &one.name, &one.version, &one.licence);
            if one.foreign {
                set(&mut component, "purl", json!(format!("pkg:cargo/{}@{}", one.name, escape(&one.version))));
            }
            component
        })
        .collect();
    components.push(component("library", "rust-std", &release.compiler, "MIT OR Apache-2.0"));
    for part in parts {
        let mut component = component("library", &part.name, &part.version, &part.licence);
        let (version, architecture) = (escape(&part.version), release.debian_architecture);
        let purl = format!("pkg:deb/debian/{}@{version}?arch={architecture}", part.name);
        set(&mut component, "purl", json!(purl));
        let source = format!("{} {}", part.source.0, part.source.1);
        set(&mut component, "properties", json!([{"name": "debian:source", "value": source}]));
        components.push(component);
    }
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": release.created()?,
            "component": component("application", of, &release.version, "Apache-2.0"),
        },
        "components": components,
    });
    let mut bytes = serde_json::to_vec_pretty(&document).context("writing the list of components")?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn component(kind: &str, name: &str, version: &str, licence: &str) -> Value {
    json!({"type": kind, "name": name, "version": version, "licenses": [{"expression": licence}]})
}

fn set(component: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = component {
        map.insert(key.to_owned(), value);
    }
}

/// A version as it stands in a package URL.
fn escape(version: &str) -> String {
    version.replace('+', "%2B").replace(':', "%3A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_named_with_version_licence_and_source() {
        let part = Part {
            name: "busybox-static".into(),
            version: "1:1.35.0-4+b1".into(),
            source: ("busybox".into(), "1:1.35.0-4".into()),
            licence: "GPL-2.0-only".into(),
        };
        let document = document("coordinator", &Release::sample(), &BTreeSet::new(), &[part].into()).unwrap();
        let document: Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(document["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
        assert_eq!(document["components"][0]["name"], "rust-std");
        let busybox = &document["components"][1];
        assert_eq!(busybox["purl"], "pkg:deb/debian/busybox-static@1%3A1.35.0-4%2Bb1?arch=amd64");
        assert_eq!(busybox["licenses"][0]["expression"], "GPL-2.0-only");
        assert_eq!(busybox["properties"][0]["value"], "busybox 1:1.35.0-4");
    }
}
