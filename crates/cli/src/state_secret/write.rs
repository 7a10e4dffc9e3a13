//! Writing a Secret as a file that `kubectl` takes unchanged. Every text is quoted: a fingerprint of digits alone, or one
//! with an `e` in it, would be a number.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{PART, StateSecret};

impl StateSecret {
    /// As YAML, parts first: `kubectl` goes from front to back, and a state must not stand before what it consists of.
    /// `about`: lines for people.
    pub fn to_yaml(&self, about: &[String]) -> String {
        let mut yaml: String = about.iter().map(|line| format!("# {line}\n")).collect();
        for (part, bytes) in &self.parts {
            let data = BTreeMap::from([(PART.to_owned(), bytes.clone())]);
            let name = part.name(&self.name);
            let part = Self { name, namespace: self.namespace.clone(), data, ..Self::default() };
            yaml += &part.document("Secret", "data", "type: Opaque\n");
            yaml += "---\n";
        }
        yaml + &self.document("Secret", "data", "type: Opaque\n")
    }

    /// As a ConfigMap of binary values.
    pub fn to_config_map(&self) -> String {
        self.document("ConfigMap", "binaryData", "")
    }

    fn document(&self, kind: &str, values: &str, type_: &str) -> String {
        let mut yaml = format!("apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {}\n", quoted(&self.name));
        // Writing to a String never fails.
        if let Some(namespace) = &self.namespace {
            let _ = writeln!(yaml, "  namespace: {}", quoted(namespace));
        }
        for (field, map) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if !map.is_empty() {
                let _ = writeln!(yaml, "  {field}:");
            }
            for (key, value) in map {
                let _ = writeln!(yaml, "    {}: {}", quoted(key), quoted(value));
            }
        }
        let _ = writeln!(yaml, "{type_}{values}:");
        for (key, value) in &self.data {
            let _ = writeln!(yaml, "  {}: \"{}\"", quoted(key), marblerun_api::bytes::encode(value));
        }
        yaml
    }
}

/// A JSON string is a YAML string, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
