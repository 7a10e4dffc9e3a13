//! JSON as Go writes it: compact, keys sorted bytewise, characters that matter to HTML escaped.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::MAX_OUTPUT;

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    /// Finite.
    Float(f64),
    Text(Vec<u8>),
    List(Vec<Json>),
    Map(BTreeMap<Vec<u8>, Json>),
}

/// `None` if the text grows beyond [`MAX_OUTPUT`].
pub(super) fn write(value: &Json) -> Option<Vec<u8>> {
    let mut out = String::new();
    push(value, &mut out)?;
    Some(out.into_bytes())
}

fn push(value: &Json, out: &mut String) -> Option<()> {
    if out.len() > MAX_OUTPUT {
        return None;
    }
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        // Writing to a String cannot fail.
        Json::Int(number) => write!(out, "{number}").ok()?,
        Json::Uint(number) => write!(out, "{number}").ok()?,
        Json::Float(number) => out.push_str(&float(*number)),
        Json::Text(text) => push_text(text, out),
        Json::List(list) => {
            out.push('[');
            for (index, element) in list.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                push(element, out)?;
            }
            out.push(']');
        }
        Json::Map(map) => {
            out.push('{');
            for (index, (key, element)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                push_text(key, out);
                out.push(':');
                push(element, out)?;
            }
            out.push('}');
        }
    }
    Some(())
}

fn push_text(text: &[u8], out: &mut String) {
    out.push('"');
    let mut rest = text;
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                valid.chars().for_each(|c| push_char(c, out));
                break;
            }
            Err(error) => {
                let (valid, invalid) = rest.split_at_checked(error.valid_up_to()).unwrap_or((rest, &[]));
                std::str::from_utf8(valid).unwrap_or_default().chars().for_each(|c| push_char(c, out));
                // Byte by byte, and as an escape, unlike the character itself.
                out.push_str("\\ufffd");
                rest = invalid.get(1..).unwrap_or_default();
            }
        }
    }
    out.push('"');
}

fn push_char(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        c => out.push(c),
    }
}

/// Shortest digits that read back the same; with an exponent below 1e-6 and from 1e21 on.
fn float(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let scientific = format!("{number:e}");
        let (digits, exponent) = shortest(&scientific);
        let sign = if exponent < 0 { '-' } else { '+' };
        let exponent = exponent.abs();
        // Go writes two digits of exponent and then drops the leading zero of negative ones only.
        return if sign == '-' { format!("{digits}e-{exponent}") } else { format!("{digits}e+{exponent:02}") };
    }
    format!("{number}")
}

/// A float as a map key: Go's `%g` of the number as a 32-bit float.
pub(super) fn float_key(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "upstream's keys are 32-bit floats")]
    let number = number as f32;
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf".to_owned() } else { "-.inf".to_owned() };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = shortest(&scientific);
    if (-4..6).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Digits and exponent of Rust's own form with an exponent.
fn shortest(scientific: &str) -> (&str, i32) {
    let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    (digits, exponent.parse().unwrap_or(0))
}
