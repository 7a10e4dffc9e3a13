//! The values of the chart, and what a user changes of them: merged as Helm does, so that a values file means the same
//! to both.

use serde_json::{Map, Value};

use crate::set::{self, SetError};

/// What is wrong with values.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// Not YAML.
    #[error("these values are not YAML: {0}")]
    Yaml(String),
    /// Not a map.
    #[error("values are a map of names, as in the chart's values.yaml")]
    NoMap,
    /// An assignment that cannot be understood.
    #[error(transparent)]
    Set(#[from] SetError),
    /// Values that the templates cannot use, or that contradict each other.
    #[error("the values do not fit the chart: {0}")]
    Type(String),
    /// A folder with another chart.
    #[error("this is the chart {0:?}, not that of MarbleRun; install it with 'helm install'")]
    NotThisChart(String),
    /// Another version of the chart.
    #[error(
        "this program installs version {this} of the chart, not {other}; use the marblerun command of that version, or 'helm install'"
    )]
    OtherChart {
        /// This program's.
        this: String,
        /// The chart's.
        other: String,
    },
}

/// What users say, in the order of their saying it; later words win. A `null` takes a default away.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UserValues(Map<String, Value>);

impl UserValues {
    /// The values of a file.
    ///
    /// # Errors
    /// If it is not a map in YAML.
    pub fn from_yaml(text: &str) -> Result<Self, ValuesError> {
        match parse(text)? {
            Value::Null => Ok(Self::default()),
            Value::Object(map) => Ok(Self(map)),
            _ => Err(ValuesError::NoMap),
        }
    }

    /// Takes in others, which win.
    pub fn add(&mut self, later: Self) {
        overlay(&mut self.0, later.0);
    }

    /// As [`UserValues::add`], with the words of `--set`.
    ///
    /// # Errors
    /// If they cannot be understood.
    pub fn set(&mut self, text: &str) -> Result<(), ValuesError> {
        Ok(set::assign(&mut self.0, text)?)
    }

    /// One value at a path of names.
    pub fn put(&mut self, path: &[&str], value: Value) {
        let Some((last, before)) = path.split_last() else { return };
        let mut map = &mut self.0;
        for name in before {
            let place = map.entry(*name).or_insert_with(|| Value::Object(Map::new()));
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            let Value::Object(next) = place else { return };
            map = next;
        }
        map.insert((*last).to_owned(), value);
    }

    /// What stands at a path of names, if the user said anything of it; also `null`.
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        let (first, below) = path.split_first()?;
        below.iter().try_fold(self.0.get(*first)?, |value, name| value.get(name))
    }
}

/// The defaults of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct ChartValues(Map<String, Value>);

impl ChartValues {
    /// Those of a `values.yaml`.
    ///
    /// # Errors
    /// If it is not a map in YAML.
    pub fn from_yaml(text: &str) -> Result<Self, ValuesError> {
        match parse(text)? {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(ValuesError::NoMap),
        }
    }

    /// What stands at a path of names.
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        let (first, below) = path.split_first()?;
        below.iter().try_fold(self.0.get(*first)?, |value, name| value.get(name))
    }

    /// The values that the templates see.
    pub fn with(&self, user: &UserValues) -> Value {
        Value::Object(coalesce(user.0.clone(), &self.0))
    }
}

fn parse(text: &str) -> Result<Value, ValuesError> {
    serde_saphyr::from_str(text).map_err(|error| ValuesError::Yaml(error.to_string()))
}

/// Later words over earlier ones; a `null` is a word.
fn overlay(earlier: &mut Map<String, Value>, later: Map<String, Value>) {
    for (name, value) in later {
        match (earlier.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => overlay(old, new),
            (_, value) => {
                earlier.insert(name, value);
            }
        }
    }
}

/// The user's words over the defaults; a `null` takes the default away.
fn coalesce(mut user: Map<String, Value>, defaults: &Map<String, Value>) -> Map<String, Value> {
    for (name, default) in defaults {
        let merged = match (user.remove(name), default) {
            (None, default) => default.clone(),
            (Some(Value::Null), _) => continue,
            (Some(Value::Object(said)), Value::Object(default)) => Value::Object(coalesce(said, default)),
            // Where only one of them is a map, Helm keeps the user's word.
            (Some(said), _) => said,
        };
        user.insert(name.clone(), merged);
    }
    user
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chart() -> ChartValues {
        ChartValues::from_yaml(
            "a: {b: 1, c: {d: x}}\nlist: [1, 2]\nlimits: {k: 1}\nempty: {}\nnothing: null\ntext: t\n",
        )
        .unwrap()
    }

    fn user(text: &str) -> UserValues {
        UserValues::from_yaml(text).unwrap()
    }

    #[test]
    fn maps_are_merged_lists_are_replaced_and_null_takes_away() {
        for (said, expected) in [
            ("a: {b: 2}", json!({"a": {"b": 2, "c": {"d": "x"}}})),
            ("a: {c: {d: null}}", json!({"a": {"b": 1, "c": {}}})),
            ("a: {c: null}", json!({"a": {"b": 1}})),
            ("a: null", json!({"a": null})),
            ("a: text", json!({"a": "text"})),
            ("text: {k: v}", json!({"text": {"k": "v"}})),
            ("list: [3]", json!({"list": [3]})),
            ("limits: {other: 2}", json!({"limits": {"other": 2, "k": 1}})),
            ("limits: {other: null}", json!({"limits": {"other": null, "k": 1}})),
        ] {
            let merged = chart().with(&user(said));
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(merged.get(name).unwrap_or(&Value::Null), value, "{said}");
            }
        }
        assert_eq!(chart().with(&UserValues::default()), Value::Object(chart().0));
    }

    #[test]
    fn later_words_win_and_a_null_is_a_word_until_the_end() {
        let mut values = user("a: {b: null, c: {d: 1, e: 2}}");
        values.add(user("a: {c: {d: 3}}"));
        values.set("a.c.e=null,list={x}").unwrap();
        values.put(&["a", "f"], json!(true));
        assert_eq!(values.get(&["a", "b"]), Some(&Value::Null));
        let merged = chart().with(&values);
        assert_eq!(merged["a"], json!({"c": {"d": 3, "e": null}, "f": true}));
        assert_eq!(merged["list"], json!(["x"]));
    }

    #[test]
    fn values_that_are_no_map_are_refused_and_none_are_none() {
        assert!(matches!(UserValues::from_yaml("- a"), Err(ValuesError::NoMap)));
        assert!(matches!(UserValues::from_yaml("a: [b"), Err(ValuesError::Yaml(_))));
        assert_eq!(user("# nothing\n"), UserValues::default());
    }
}
