//! Answers as Go reads them: field names match in any case, and of two that do the last one counts; `null` is an
//! empty list or map. Coordinators of different age spell some names differently.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde_json::{Error, Map, Value};

/// Reads a value as a type.
pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(AnyCase(value))
}

struct AnyCase(Value);

impl IntoDeserializer<'_, Error> for AnyCase {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn visit_map<'de, V: Visitor<'de>>(map: Map<String, Value>, visitor: V) -> Result<V::Value, Error> {
    visitor.visit_map(MapDeserializer::new(map.into_iter().map(|(name, value)| (name, AnyCase(value)))))
}

/// Fields as the type spells them. Names that it does not know stay, and are ignored by it.
fn as_spelt(map: Map<String, Value>, fields: &[&str]) -> Map<String, Value> {
    let mut spelt = Map::new();
    for (name, value) in map {
        let known = fields.iter().find(|field| field.eq_ignore_ascii_case(&name));
        spelt.insert(known.map_or(name, |field| (*field).to_owned()), value);
    }
    spelt
}

impl<'de> Deserializer<'de> for AnyCase {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(map) => visit_map(map, visitor),
            Value::Array(elements) => visitor.visit_seq(SeqDeserializer::new(elements.into_iter().map(AnyCase))),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(map) => visit_map(as_spelt(map, fields), visitor),
            // Serde would take the elements for the fields in their order.
            Value::Array(_) => Err(Error::custom(format!("expected an object ({name}), found a list"))),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visit_map(Map::new(), visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => Self(Value::Array(Vec::new())).deserialize_any(visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use marblerun_api::{v2, v3};
    use serde_json::json;

    use super::*;

    #[test]
    fn names_match_in_any_case_at_every_depth_and_the_last_one_counts() {
        let answer =
            json!({"SECRETS": {"Mixed": {"type": "plain", "Type": "symmetric-key", "PRIVATE": "aGk=", "new": 1}}});
        let secrets: v2::Secrets = from_value(answer).unwrap();
        let secret = &secrets.secrets["Mixed"];
        assert_eq!(
            (secret.r#type.as_str(), secret.private.as_ref().unwrap().0.as_slice()),
            ("symmetric-key", &b"hi"[..])
        );
    }

    #[test]
    fn null_is_an_empty_map_or_list_and_no_object() {
        let set: v2::ManifestSet = from_value(json!({"RecoverySecrets": null})).unwrap();
        assert!(set.recovery_secrets.is_empty());
        let log: v2::UpdateLog = from_value(json!({"updateLog": null})).unwrap();
        assert!(log.update_log.is_empty());
        assert!(from_value::<v2::Status>(json!(null)).is_err());
        assert!(from_value::<v2::Status>(json!([1, "x"])).is_err());
        assert!(from_value::<v2::Status>(json!({"code": "3", "message": ""})).is_err());
    }

    #[test]
    fn enumerations_keep_their_spelling() {
        let phase: v3::Phase = from_value(json!("accepting_marbles")).unwrap();
        assert_eq!(phase, v3::Phase::AcceptingMarbles);
    }
}
