//! The pod as it came: raw JSON, so that fields which this program does not know survive. A field that is
//! `null` counts as absent, as the API server's own types read it.

use json_patch::jsonptr::PointerBuf;
use serde_json::{Map, Value};

/// Something in the pod has another form than the API promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not {expected}", if path.is_empty() { "request.object" } else { path })]
pub struct InvalidPod {
    /// JSON pointer into the pod; empty for the pod itself.
    pub path: String,
    /// What was expected there.
    pub expected: &'static str,
}

/// An object in the pod, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    fields: &'a Map<String, Value>,
    pointer: PointerBuf,
}

impl<'a> Node<'a> {
    /// The pod itself.
    pub(super) fn root(pod: &'a Value) -> Result<Self, InvalidPod> {
        Self::new(pod, PointerBuf::new())
    }

    fn new(value: &'a Value, pointer: PointerBuf) -> Result<Self, InvalidPod> {
        match value {
            Value::Object(fields) => Ok(Self { fields, pointer }),
            _ => Err(invalid(&pointer, "an object")),
        }
    }

    pub(super) fn pointer_to(&self, key: &str) -> PointerBuf {
        let mut pointer = self.pointer.clone();
        pointer.push_back(key);
        pointer
    }

    /// Names of all fields, in the order they came in.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.fields.keys().map(String::as_str)
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, InvalidPod> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(invalid(&self.pointer_to(key), "a string")),
        }
    }

    pub(super) fn is_true(&self, key: &str) -> Result<bool, InvalidPod> {
        match self.value(key) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(invalid(&self.pointer_to(key), "a boolean")),
        }
    }

    pub(super) fn child(&self, key: &str) -> Result<Option<Self>, InvalidPod> {
        self.value(key).map(|value| Self::new(value, self.pointer_to(key))).transpose()
    }

    /// The objects of a list; none if there is no list.
    pub(super) fn children(&self, key: &str) -> Result<Vec<Self>, InvalidPod> {
        let pointer = self.pointer_to(key);
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .iter()
                .enumerate()
                .map(|(index, value)| {
                    let mut pointer = pointer.clone();
                    pointer.push_back(index);
                    Self::new(value, pointer)
                })
                .collect(),
            Some(_) => Err(invalid(&pointer, "a list")),
        }
    }
}

fn invalid(pointer: &PointerBuf, expected: &'static str) -> InvalidPod {
    InvalidPod { path: pointer.as_str().to_owned(), expected }
}
