//! The page that lists the values is made of the comments in `values.yaml`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::helm::{chart, parse, root};

const BEGIN: &str = "<!-- Made from values.yaml; a test compares it. -->\n";
const END: &str = "<!-- End of what is made. -->\n";

#[test]
fn the_reference_page_is_what_the_values_say() {
    let path = root().join("docs/src/reference/chart.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let made = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("MARBLERUN_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == made,
        "out of date: run `MARBLERUN_UPDATE_DOCS=1 cargo test -p marblerun-testkit --test chart reference_page`"
    );
}

#[test]
fn each_value_is_explained_once_and_known_to_the_schema() {
    let text = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let comments = comments(&text);
    let mut leaves = Vec::new();
    collect_leaves("", &parse(&text), &mut leaves);
    assert!(leaves.len() > 100, "{leaves:?}");
    for leaf in &leaves {
        let explained: Vec<&String> = comments.keys().filter(|path| leads_to(path, leaf)).collect();
        assert_eq!(explained.len(), 1, "{leaf}: {explained:?}");
    }
    for path in comments.keys() {
        assert!(leaves.iter().any(|leaf| leads_to(path, leaf)), "{path} is no value");
    }
    let schema = std::fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    for path in comments.keys() {
        let mut place = &schema;
        for key in path.split('.') {
            place = &place["properties"][key];
        }
        assert!(place.is_object(), "values.schema.json does not know {path}");
    }
}

fn table() -> String {
    let text = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let values = parse(&text);
    let mut table = String::from("| Value | Default | Meaning |\n| --- | --- | --- |\n");
    let comments = comments(&text);
    // In the order of the file, but each group as a whole.
    for path in order(&text).iter().filter(|path| comments.contains_key(*path)) {
        let value = path.split('.').fold(&values, |value, key| &value[key]);
        table += &format!("| `{path}` | `{}` | {} |\n", flow(value), comments[path]);
    }
    table
}

/// A value in one line of YAML.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| format!("{key}: {}", flow(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Whether a path names a value, or a group that it is in.
fn leads_to(path: &str, leaf: &str) -> bool {
    leaf.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A list or an empty map is one value.
fn collect_leaves(path: &str, value: &Value, leaves: &mut Vec<String>) {
    match value.as_object() {
        Some(fields) if !fields.is_empty() => {
            let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            fields.iter().for_each(|(key, value)| collect_leaves(&below(key), value, leaves));
        }
        _ => leaves.push(path.to_owned()),
    }
}

/// Paths of the keys in a file, in its order, with the comment above each.
fn keys(text: &str) -> Vec<(String, String)> {
    let mut keys = Vec::new();
    let mut parents: Vec<&str> = Vec::new();
    let mut comment = String::new();
    for line in text.lines() {
        let words = line.trim_start();
        if let Some(text) = words.strip_prefix('#') {
            comment += text;
            continue;
        }
        let depth = (line.len() - words.len()) / 2;
        match words.split_once(':') {
            Some((key, _)) if !words.starts_with('-') => {
                parents.truncate(depth);
                parents.push(key);
                keys.push((parents.join("."), comment.trim().to_owned()));
            }
            _ => {}
        }
        comment.clear();
    }
    keys
}

fn order(text: &str) -> Vec<String> {
    keys(text).into_iter().map(|(path, _)| path).collect()
}

fn comments(text: &str) -> BTreeMap<String, String> {
    keys(text).into_iter().filter(|(_, comment)| !comment.is_empty()).collect()
}
