//! Values that may have more than one form.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize as _, Deserializer};
use serde_json::Value;

/// A part of an object that is taken as it stands, with quantities and the like as numbers or text. `null` is nothing, and
/// so is an empty map, as to the templates.
pub(super) fn plain<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    match quantities_as_text(Value::deserialize(deserializer)?) {
        Value::Null => Ok(T::default()),
        Value::Object(map) if map.is_empty() => Ok(T::default()),
        value => serde_json::from_value(value).map_err(D::Error::custom),
    }
}

/// Kubernetes takes quantities as numbers, too; the generated types do not.
fn quantities_as_text(value: Value) -> Value {
    let is_amounts = |name: &str| matches!(name, "limits" | "requests");
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| match value {
                    Value::Object(amounts) if is_amounts(&name) => {
                        let text = |value| match value {
                            Value::Number(number) => Value::String(number.to_string()),
                            other => other,
                        };
                        let amounts = amounts.into_iter().filter(|(_, amount)| !amount.is_null());
                        (name, Value::Object(amounts.map(|(key, amount)| (key, text(amount))).collect()))
                    }
                    other => (name, quantities_as_text(other)),
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(quantities_as_text).collect()),
        other => other,
    }
}

/// Text, or a number that is meant as text.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Ok(String::new()),
        other => Err(D::Error::custom(format!("{other} is neither text nor a number"))),
    }
}
