//! What a scalar means in YAML 1.1, as the reader behind upstream's command line takes it.

use super::tree::Scalar;
use crate::gojson::base64;

/// A resolved scalar.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Resolved {
    Null,
    Bool(bool),
    Int(i64),
    /// Only what does not fit in [`Resolved::Int`].
    Uint(u64),
    Float(f64),
    /// Bytes, because `!!binary` yields any.
    Text(Vec<u8>),
}

impl Resolved {
    /// Short tag, for messages.
    fn tag(&self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Bool(_) => "!!bool",
            Self::Int(_) | Self::Uint(_) => "!!int",
            Self::Float(_) => "!!float",
            Self::Text(_) => "!!str",
        }
    }
}

/// The value of a scalar under its tag, or what is wrong with it.
pub(super) fn resolve(scalar: &Scalar) -> Result<Resolved, String> {
    let text = || Resolved::Text(scalar.text.clone().into_bytes());
    let short = scalar.tag.strip_prefix("tag:yaml.org,2002:");
    match (scalar.tag.as_str(), short) {
        ("", _) if scalar.is_plain => Ok(implicit(&scalar.text)),
        ("", _) | (_, Some("str")) => Ok(text()),
        (_, Some("binary")) => base64::decode(&scalar.text)
            .map(Resolved::Text)
            .map_err(|_| "!!binary value contains invalid base64 data".to_owned()),
        (_, Some("timestamp")) if is_timestamp(&scalar.text) => Ok(text()),
        (_, Some(wanted @ ("bool" | "int" | "float" | "null" | "timestamp"))) => {
            let value = implicit(&scalar.text);
            match (wanted, value) {
                ("float", Resolved::Int(number)) => Ok(Resolved::Float(number as f64)),
                (wanted, value) if value.tag().strip_prefix("!!") == Some(wanted) => Ok(value),
                (wanted, value) => Err(format!("cannot decode {} `{}` as a !!{wanted}", value.tag(), scalar.text)),
            }
        }
        // Other tags mean nothing here; the text is taken as it is.
        _ => Ok(text()),
    }
}

/// A plain scalar without a tag.
fn implicit(text: &str) -> Resolved {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Resolved::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Resolved::Bool(false),
        "" | "~" | "null" | "Null" | "NULL" => Resolved::Null,
        ".nan" | ".NaN" | ".NAN" => Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Resolved::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Resolved::Float(f64::NEG_INFINITY),
        _ => number(text).unwrap_or_else(|| Resolved::Text(text.as_bytes().to_vec())),
    }
}

fn number(text: &str) -> Option<Resolved> {
    match text.bytes().next()? {
        b'.' => float(&without_separators(text)?).map(Resolved::Float),
        b'0'..=b'9' | b'+' | b'-' => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain).map(Resolved::Float))
        }
        _ => None,
    }
}

/// Go's base 0: `0x`, `0o`, `0b`, a leading zero for octal, else decimal.
fn integer(text: &str) -> Option<Resolved> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', ..] => (Some('-'), text.get(1..)?),
        [b'+', ..] => (Some('+'), text.get(1..)?),
        _ => (None, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'b' | b'B', _, ..] => (2, digits.get(2..)?),
        [b'0', b'o' | b'O', _, ..] => (8, digits.get(2..)?),
        [b'0', b'x' | b'X', _, ..] => (16, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match sign {
        Some('-') => i64::try_from(-i128::from(magnitude)).ok().map(Resolved::Int),
        _ => match i64::try_from(magnitude) {
            Ok(number) => Some(Resolved::Int(number)),
            // A sign is for signed numbers only.
            Err(_) => sign.is_none().then_some(Resolved::Uint(magnitude)),
        },
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?` within the range of a double.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let has_form = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && is_digits(fraction),
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => !mantissa.is_empty() && is_digits(mantissa),
    };
    if !has_form || !exponent.is_none_or(|exponent| !exponent.is_empty() && is_digits(exponent)) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Numbers that start with a point may have underscores between digits only.
fn without_separators(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_digit = |index: Option<usize>| index.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    let are_between_digits = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'_')
        .all(|(index, _)| is_digit(index.checked_sub(1)) && is_digit(Some(index + 1)));
    are_between_digits.then(|| text.replace('_', ""))
}

/// Roughly a date, with or without a time; the text is kept as it is in any case.
fn is_timestamp(text: &str) -> bool {
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let mut parts = date.split('-');
    let is_number = |part: Option<&str>, lengths: std::ops::RangeInclusive<usize>| {
        part.is_some_and(|part| lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    is_number(parts.next(), 4..=4)
        && is_number(parts.next(), 1..=2)
        && is_number(parts.next(), 1..=2)
        && parts.next().is_none()
}
