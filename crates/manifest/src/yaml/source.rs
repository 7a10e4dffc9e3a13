//! From bytes to text: UTF-8 with or without a byte order mark, or UTF-16 with one.

use super::YamlError;

pub(super) fn decode(input: &[u8]) -> Result<String, YamlError> {
    let text = match input {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        _ => {
            let input = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
            String::from_utf8(input.to_vec()).map_err(|_| YamlError::Encoding("invalid UTF-8".to_owned()))?
        }
    };
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(c) => Err(YamlError::Encoding(format!("control characters are not allowed (U+{:04X})", u32::from(c)))),
        None => Ok(text),
    }
}

fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, YamlError> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let text = char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).collect::<Result<String, _>>();
    match text {
        Ok(text) if rest.is_empty() => Ok(text),
        _ => Err(YamlError::Encoding("invalid UTF-16".to_owned())),
    }
}
