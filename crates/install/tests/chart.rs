//! The objects are those that the chart renders: for every case of values that the chart has on file.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use marblerun_install::values::UserValues;
use marblerun_install::{Chart, Installation, Settings, objects};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/tests/fixtures/chart")
}

/// What Kubernetes does not tell apart is made the same, and what only Helm writes is left out.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(key, _)| !key.starts_with("helm.sh/") && key != "app.kubernetes.io/managed-by")
                .map(|(key, value)| match value {
                    // A quantity may be a number.
                    Value::Object(amounts) if matches!(key.as_str(), "limits" | "requests") => {
                        let text = |amount: Value| match amount {
                            Value::Number(number) => Value::String(number.to_string()),
                            other => other,
                        };
                        let amounts = amounts.into_iter().map(|(key, amount)| (key, text(amount)));
                        (key, normal(Value::Object(amounts.collect())))
                    }
                    value => (key, normal(value)),
                })
                .filter(|(key, value)| {
                    let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
                    let no_annotations = key == "annotations" && value.as_object().is_some_and(serde_json::Map::is_empty);
                    !is_empty && !no_annotations
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(normal).collect()),
        other => other,
    }
}

fn title(object: &Value) -> String {
    format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}

fn sorted(objects: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut objects: Vec<Value> = objects.into_iter().map(normal).collect();
    objects.sort_by_key(title);
    objects
}

#[test]
fn each_case_of_values_makes_the_objects_that_the_chart_renders() {
    let chart = Chart::built_in().unwrap();
    let text = |path: PathBuf| std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut cases = 0;
    for entry in std::fs::read_dir(fixtures().join("cases")).unwrap() {
        let folder = entry.unwrap().path();
        let mut user = UserValues::from_yaml(&text(fixtures().join("common.yaml"))).unwrap();
        user.add(UserValues::from_yaml(&text(folder.join("values.yaml"))).unwrap());
        let settings = Settings::read(chart.values.with(&user)).unwrap();
        let installation = Installation { settings: &settings, namespace: "marblerun", app_version: &chart.app_version };
        let made = sorted(objects(installation).unwrap().into_iter().map(|object| object.body));
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text(folder.join("objects.yaml"))).unwrap();
        let rendered = sorted(documents.into_iter().filter(|document| !document.is_null()));
        let titles = |objects: &[Value]| objects.iter().map(title).collect::<Vec<_>>();
        assert_eq!(titles(&made), titles(&rendered), "{}", folder.display());
        for (made, rendered) in made.iter().zip(&rendered) {
            assert_eq!(
                made,
                rendered,
                "{}: {}\nmade: {made:#}\nrendered: {rendered:#}",
                folder.display(),
                title(made)
            );
        }
        cases += 1;
    }
    assert!(cases > 15, "the cases were not found");
}
