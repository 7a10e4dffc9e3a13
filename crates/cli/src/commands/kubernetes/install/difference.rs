//! What would become different in an object, as paths and values that people can read.

use serde_json::Value;

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: String,
    /// What was there.
    pub before: Option<String>,
    /// What will be there.
    pub after: Option<String>,
}

/// Fields that the API server keeps for itself.
const KEPT_BY_SERVER: [&str; 8] = [
    "status",
    "metadata.managedFields",
    "metadata.resourceVersion",
    "metadata.generation",
    "metadata.uid",
    "metadata.creationTimestamp",
    "metadata.selfLink",
    "metadata.annotations.deployment.kubernetes.io/revision",
];
/// Longer values are cut.
const SHOWN: usize = 60;

/// All of them. Values of Secrets are not shown.
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let is_secret = after.get("kind").is_some_and(|kind| kind == "Secret");
    let mut found = Vec::new();
    walk("", Some(before), Some(after), &mut found);
    found.retain(|difference| !KEPT_BY_SERVER.iter().any(|kept| is_at_or_below(&difference.path, kept)));
    if is_secret {
        for difference in found.iter_mut().filter(|difference| is_at_or_below(&difference.path, "data")) {
            for value in [&mut difference.before, &mut difference.after] {
                *value = value.take().map(|_| "(not shown)".to_owned());
            }
        }
    }
    found
}

fn is_at_or_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn walk(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&below, old.get(name), new.get(name), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                // People know containers, variables and ports by their names.
                let item = new.get(index).or_else(|| old.get(index));
                let name = item.and_then(|item| item.get("name")).and_then(Value::as_str);
                let below = match name {
                    Some(name) => format!("{path}[{name}]"),
                    None => format!("{path}[{index}]"),
                };
                let old = match name {
                    Some(name) => old.iter().find(|item| item.get("name").and_then(Value::as_str) == Some(name)),
                    None => old.get(index),
                };
                walk(&below, old, new.get(index), found);
            }
        }
        (before, after) => {
            found.push(Difference { path: path.to_owned(), before: before.map(shown), after: after.map(shown) })
        }
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: &Value, after: &Value) -> Vec<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        differences(before, after)
            .iter()
            .map(|d| format!("{}: {} -> {}", d.path, text(&d.before), text(&d.after)))
            .collect()
    }

    #[test]
    fn what_changes_is_told_with_its_place_and_what_the_server_keeps_is_not() {
        let before = json!({
            "metadata": {"generation": 1, "managedFields": [1], "labels": {"a": "b"}},
            "spec": {"replicas": 1, "containers": [{"name": "c", "image": "i:1", "env": [{"name": "A", "value": "1"}]}]},
            "status": {"x": 1},
        });
        let after = json!({
            "metadata": {"generation": 2, "managedFields": [2], "labels": {}},
            "spec": {"replicas": 1, "containers": [{"name": "c", "image": "i:2", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]}]},
            "status": {"x": 2},
        });
        assert_eq!(
            told(&before, &after),
            [
                "metadata.labels.a: b -> -",
                r#"spec.containers[c].env[B]: - -> {"name":"B","value":"2"}"#,
                "spec.containers[c].image: i:1 -> i:2",
            ]
        );
        assert!(told(&before, &before).is_empty());
    }

    #[test]
    fn secrets_are_not_shown_and_long_values_are_cut() {
        let secret = |value: &str| json!({"kind": "Secret", "data": {"tls.key": value}});
        assert_eq!(told(&secret("aaa"), &secret("bbb")), ["data.tls.key: (not shown) -> (not shown)"]);
        let long = "é".repeat(100);
        assert!(told(&json!({"a": 1}), &json!({"a": long}))[0].ends_with("éé.."));
    }
}
