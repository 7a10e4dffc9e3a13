//! `eq`, `ne`, `lt`, `le`, `gt`, `ge`.

use std::cmp::Ordering;

use super::value::Value;

const BAD_TYPE: &str = "invalid type for comparison";

/// Whether the first equals any of the others.
pub(super) fn equal_any(first: &Value<'_>, others: &[Value<'_>]) -> Result<bool, String> {
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        if equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Go's `==` over the basic types; integers compare whatever their sign, `nil` equals `nil` only.
pub(super) fn equal(a: &Value<'_>, b: &Value<'_>) -> Result<bool, String> {
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        return Ok(a == b);
    }
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        #[expect(clippy::float_cmp, reason = "the same comparison as in Go")]
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a.as_slice() == b.as_slice()),
        _ if is_basic(a) != is_basic(b) || (is_basic(a) && is_basic(b)) => {
            if a.is_valid() && b.is_valid() {
                Err(incompatible(a, b))
            } else {
                Ok(false)
            }
        }
        _ => equal_others(a, b),
    }
}

/// Values that are compared with nil alone.
fn equal_others(a: &Value<'_>, b: &Value<'_>) -> Result<bool, String> {
    if [a, b].iter().any(|value| matches!(value, Value::Certificate(certificate) if !certificate.is_set())) {
        return Err("comparing an unset certificate is not supported".to_owned());
    }
    if a.is_valid() && b.is_valid() && shape(a) != shape(b) {
        return Err(format!("non-comparable types {}, {}", a.type_name(), b.type_name()));
    }
    match (is_nil(a), is_nil(b)) {
        (false, false) => Err(format!("non-comparable type {}", b.type_name())),
        (a, b) => Ok(a == b),
    }
}

/// Whether the first is less than the second.
pub(super) fn less(a: &Value<'_>, b: &Value<'_>) -> Result<bool, String> {
    if !is_basic(a) || !is_basic(b) {
        return Err(BAD_TYPE.to_owned());
    }
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        return Ok(a < b);
    }
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b) == Some(Ordering::Less)),
        (Value::Text(a), Value::Text(b)) => Ok(a.as_slice() < b.as_slice()),
        (Value::Bool(_), Value::Bool(_)) => Err(BAD_TYPE.to_owned()),
        _ => Err(incompatible(a, b)),
    }
}

fn incompatible(a: &Value<'_>, b: &Value<'_>) -> String {
    format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name())
}

fn integer(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        Value::Byte(value) => Some(i128::from(*value)),
        _ => None,
    }
}

fn is_basic(value: &Value<'_>) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Byte(_) | Value::Float(_) | Value::Text(_))
}

fn is_nil(value: &Value<'_>) -> bool {
    match value {
        Value::Invalid => true,
        Value::Bytes(list) => list.is_nil(),
        Value::Strings(list) => list.is_nil(),
        _ => false,
    }
}

/// Go's kind, as far as two different ones cannot be compared.
fn shape(value: &Value<'_>) -> u8 {
    match value {
        Value::Bytes(_) | Value::Strings(_) => 0,
        Value::Secrets(_) => 1,
        _ => 2,
    }
}
