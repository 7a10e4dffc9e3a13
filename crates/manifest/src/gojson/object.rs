//! The fields of one object, pulled by name: for small request bodies that need no type of their own.

use std::collections::BTreeMap;

use super::decode::{Context, Decode, same_field};
use super::error::Error;
use super::value::{Kind, Value};

/// An object (or `null`, which has no fields).
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    value: Value<'a>,
    name: &'static str,
}

impl<'a> Object<'a> {
    pub(super) fn new(value: Value<'a>, name: &'static str) -> Self {
        Self { value, name }
    }

    /// The field of that name, matched case-insensitively; absent if no name fits.
    #[must_use]
    pub fn field(&self, name: &'static str) -> Field<'a> {
        let values = self.value.entries().filter(|(key, _)| same_field(key, name)).map(|(_, value)| value).collect();
        Field { values, name, object: self.name }
    }
}

/// All values given for one field, in order; none if it is absent.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    values: Vec<Value<'a>>,
    name: &'static str,
    object: &'static str,
}

impl Field<'_> {
    /// Whether it is given at all, be it as `null`.
    #[must_use]
    pub fn is_given(&self) -> bool {
        !self.values.is_empty()
    }

    /// Whether its last value is something other than `null`.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.values.last().is_some_and(|value| value.kind() != Kind::Null)
    }

    /// Bytes: base64 or an array of numbers; empty if absent or `null`.
    ///
    /// # Errors
    /// If it is of another type or not base64.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        self.decode()
    }

    /// Text; empty if absent or `null`.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn string(&self) -> Result<String, Error> {
        self.decode()
    }

    /// A number; 0 if absent or `null`.
    ///
    /// # Errors
    /// If it is of another type, negative, no plain integer or too large.
    pub fn u64(&self) -> Result<u64, Error> {
        self.decode()
    }

    /// A truth value; false if absent or `null`.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn bool(&self) -> Result<bool, Error> {
        self.decode()
    }

    /// Entries by name; empty if absent or `null`.
    ///
    /// # Errors
    /// If it is no object, or an entry is wrong.
    pub fn map<T: Decode + Default>(&self) -> Result<BTreeMap<String, T>, Error> {
        self.decode()
    }

    /// Any type that can be decoded; its default if the field is absent.
    ///
    /// # Errors
    /// If a value does not fit.
    pub fn decode<T: Decode + Default>(&self) -> Result<T, Error> {
        let mut context = Context::default();
        let mut target = T::default();
        for value in &self.values {
            context.in_field(self.object, self.name, |context| target.decode(*value, context));
        }
        context.finish()?;
        Ok(target)
    }
}
