//! Number and character constants.
//!
//! Go keeps a constant under every type that can hold it and lets its spelling decide. What we
//! cannot read exactly as Go does (complex numbers, hexadecimal floats) is refused with its name.

use super::lex::Token;
use super::quote;

/// A constant under every type that can hold it.
pub(super) struct Number {
    /// As it stands in the template.
    pub(super) written: Box<[u8]>,
    int: Option<i64>,
    float: Option<f64>,
}

/// What a constant is where nothing asks for a type.
pub(super) enum Ideal {
    Int(i64),
    Float(f64),
    /// Too large.
    Overflow,
}

impl Number {
    /// Reads a number or character token.
    ///
    /// # Errors
    /// The message of the parse error.
    pub(super) fn parse(written: &[u8], token: Token) -> Result<Self, String> {
        let mut number = Self { written: written.into(), int: None, float: None };
        if token == Token::CharConstant {
            let value = quote::unquote_char(written).map_err(|too_long| {
                if too_long {
                    format!("malformed character constant: {}", String::from_utf8_lossy(written))
                } else {
                    "invalid syntax".to_owned()
                }
            })?;
            number.int = Some(i64::from(value));
            return Ok(number);
        }
        let text = String::from_utf8_lossy(written);
        if token == Token::Complex || text.ends_with('i') {
            return Err(format!("complex number {} is not supported", quote::to_string(written)));
        }
        number.int = parse_int(&text);
        if number.int.is_some() || parse_uint(&text).is_some() {
            return Ok(number);
        }
        let Some(float) = parse_float(&text)? else {
            return Err(format!("illegal number syntax: {}", quote::to_string(written)));
        };
        if !text.contains(['.', 'e', 'E', 'p', 'P']) {
            return Err(format!("integer overflow: {}", quote::to_string(written)));
        }
        number.float = Some(float);
        Ok(number)
    }

    /// The type its spelling says, as in `{{ 1.0 }}`.
    pub(super) fn ideal(&self) -> Ideal {
        let text: &[u8] = &self.written;
        let hex_int =
            text.len() > 2 && matches!(text, [b'0', b'x' | b'X', ..]) && !text.iter().any(|b| matches!(b, b'p' | b'P'));
        let rune = text.first() == Some(&b'\'');
        let fraction = text.iter().any(|b| matches!(b, b'.' | b'e' | b'E' | b'p' | b'P'));
        match (self.float, self.int) {
            (Some(float), _) if !hex_int && !rune && fraction => Ideal::Float(float),
            // An integer spelled with an `e`, as in -0x1e, counts as a float.
            #[expect(clippy::cast_precision_loss, reason = "the same conversion as in Go")]
            (None, Some(int)) if !hex_int && !rune && fraction => Ideal::Float(int as f64),
            (_, Some(int)) => Ideal::Int(int),
            _ => Ideal::Overflow,
        }
    }
}

/// An unsigned integer in any of Go's bases.
fn parse_uint(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', _, ..] => (16, lower.get(2..)?),
        [b'0', b'o', _, ..] => (8, lower.get(2..)?),
        [b'0', b'b', _, ..] => (2, lower.get(2..)?),
        [b'0'] => return Some(0),
        [b'0', ..] => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    if digits.starts_with(['+', '-']) || !underscores_fit(text) {
        return None;
    }
    let digits = digits.replace('_', "");
    u64::from_str_radix(&digits, radix).ok()
}

fn parse_int(text: &str) -> Option<i64> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = i128::from(parse_uint(magnitude)?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// A decimal float; `Ok(None)` if it is none.
fn parse_float(text: &str) -> Result<Option<f64>, String> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let hexadecimal = unsigned.starts_with("0x") || unsigned.starts_with("0X");
    if hexadecimal && unsigned.contains(['p', 'P']) {
        return Err(format!(
            "hexadecimal floating-point number {} is not supported",
            quote::to_string(text.as_bytes())
        ));
    }
    if !underscores_fit(text) {
        return Ok(None);
    }
    Ok(text.replace('_', "").parse::<f64>().ok().filter(|float| float.is_finite()))
}

/// Underscores must stand between digits, or between a base prefix and a digit.
fn underscores_fit(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text).as_bytes();
    let prefixed = matches!(text, [b'0', b'x' | b'X' | b'b' | b'B' | b'o' | b'O', ..]);
    let hex = matches!(text, [b'0', b'x' | b'X', ..]);
    let digits = if prefixed { text.get(2..).unwrap_or_default() } else { text };
    let (mut after_digit, mut after_underscore) = (prefixed, false);
    for byte in digits {
        let digit = byte.is_ascii_digit() || (hex && byte.is_ascii_hexdigit());
        if *byte == b'_' {
            if !after_digit {
                return false;
            }
        } else if after_underscore && !digit {
            return false;
        }
        after_underscore = *byte == b'_';
        after_digit = digit;
    }
    !after_underscore
}
