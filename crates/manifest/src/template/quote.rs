//! Quoting as Go does it (`%q`, `%U`), and reading quoted constants back.

use super::buffer::Buffer;
use super::rune::{REPLACEMENT, chars, decode, is_bad, is_print};

/// Appends a byte string in double quotes. With `ascii`, everything beyond ASCII is escaped.
pub(super) fn append(out: &mut Buffer, text: &[u8], ascii: bool) {
    out.push(b'"');
    for (c, encoded) in chars(text) {
        if is_bad(c, encoded) {
            encoded.iter().for_each(|byte| append_hex(out, "\\x", u32::from(*byte), 2));
        } else {
            append_escaped(out, c, '"', ascii);
        }
    }
    out.push(b'"');
}

/// Appends a character in single quotes.
pub(super) fn append_char(out: &mut Buffer, c: char, ascii: bool) {
    out.push(b'\'');
    append_escaped(out, c, '\'', ascii);
    out.push(b'\'');
}

/// A byte string in double quotes, for error messages.
pub(super) fn to_string(text: &[u8]) -> String {
    let mut out = Buffer::new(text.len() + 2, usize::MAX);
    append(&mut out, text, false);
    String::from_utf8_lossy(&out.into_bytes()).into_owned()
}

/// A character as `U+002D '-'`, for error messages.
pub(super) fn code_point(c: char) -> String {
    let number = u32::from(c);
    if is_print(c) { format!("U+{number:04X} '{c}'") } else { format!("U+{number:04X}") }
}

/// Whether a byte string can stand between back quotes unchanged.
pub(super) fn can_backquote(text: &[u8]) -> bool {
    chars(text).all(|(c, encoded)| match c {
        '\u{feff}' | '`' | '\u{7f}' => false,
        '\t' => true,
        _ => c >= ' ' && !is_bad(c, encoded),
    })
}

/// Reads a constant in double or back quotes. `None` if it is malformed.
pub(super) fn unquote(quoted: &[u8]) -> Option<Vec<u8>> {
    let (&mark, rest) = quoted.split_first()?;
    let (&end, inner) = rest.split_last()?;
    if end != mark {
        return None;
    }
    if mark == b'`' {
        return Some(inner.iter().copied().filter(|b| *b != b'\r').collect());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        let (unit, tail) = unquote_unit(rest, mark)?;
        match unit {
            Unit::Byte(byte) => out.push(byte),
            Unit::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = tail;
    }
    Some(out)
}

/// Reads a character constant, quotes included. `Err(true)` if it is longer than one character.
pub(super) fn unquote_char(quoted: &[u8]) -> Result<u32, bool> {
    let inner = quoted.get(1..).unwrap_or_default();
    let (unit, tail) = unquote_unit(inner, b'\'').ok_or(false)?;
    if tail != b"'" {
        return Err(true);
    }
    Ok(match unit {
        Unit::Byte(byte) => u32::from(byte),
        Unit::Char(c) => u32::from(c),
    })
}

enum Unit {
    Byte(u8),
    Char(char),
}

/// One character or escape sequence.
fn unquote_unit(text: &[u8], mark: u8) -> Option<(Unit, &[u8])> {
    let (c, width) = decode(text)?;
    let tail = text.get(width..)?;
    if c != '\\' {
        let allowed = c != '\n' && !(c.is_ascii() && c == char::from(mark));
        return allowed.then_some((if c.is_ascii() { Unit::Byte(c as u8) } else { Unit::Char(c) }, tail));
    }
    let (&kind, tail) = tail.split_first()?;
    let simple = |byte| Some((Unit::Byte(byte), tail));
    match kind {
        b'a' => simple(7),
        b'b' => simple(8),
        b'f' => simple(12),
        b'n' => simple(b'\n'),
        b'r' => simple(b'\r'),
        b't' => simple(b'\t'),
        b'v' => simple(11),
        b'\\' => simple(b'\\'),
        b'\'' | b'"' if kind == mark => simple(kind),
        b'x' => {
            let (value, tail) = digits(tail, 2, 16)?;
            Some((Unit::Byte(u8::try_from(value).ok()?), tail))
        }
        b'u' | b'U' => {
            let (value, tail) = digits(tail, if kind == b'u' { 4 } else { 8 }, 16)?;
            Some((Unit::Char(char::from_u32(value)?), tail))
        }
        b'0'..=b'7' => {
            let (low, tail) = digits(tail, 2, 8)?;
            let value = (u32::from(kind - b'0') << 6) | low;
            Some((Unit::Byte(u8::try_from(value).ok()?), tail))
        }
        _ => None,
    }
}

fn digits(text: &[u8], count: usize, radix: u32) -> Option<(u32, &[u8])> {
    let (head, tail) = text.split_at_checked(count)?;
    let value = head.iter().try_fold(0u32, |value, byte| {
        Some(value.wrapping_mul(radix).wrapping_add(char::from(*byte).to_digit(radix)?))
    })?;
    Some((value, tail))
}

fn append_escaped(out: &mut Buffer, c: char, mark: char, ascii: bool) {
    if c == mark || c == '\\' {
        out.push(b'\\');
        out.push_char(c);
        return;
    }
    if is_print(c) && (c.is_ascii() || !ascii) {
        out.push_char(c);
        return;
    }
    match c {
        '\u{7}' => out.extend(b"\\a"),
        '\u{8}' => out.extend(b"\\b"),
        '\u{c}' => out.extend(b"\\f"),
        '\n' => out.extend(b"\\n"),
        '\r' => out.extend(b"\\r"),
        '\t' => out.extend(b"\\t"),
        '\u{b}' => out.extend(b"\\v"),
        _ if c < ' ' || c == '\u{7f}' => append_hex(out, "\\x", u32::from(c), 2),
        _ if u32::from(c) < 0x10000 => append_hex(out, "\\u", u32::from(c), 4),
        _ => append_hex(out, "\\U", u32::from(c), 8),
    }
}

fn append_hex(out: &mut Buffer, prefix: &str, value: u32, width: usize) {
    out.extend(prefix.as_bytes());
    out.extend(format!("{value:0width$x}").as_bytes());
}

/// The character of a number, U+FFFD if it is none.
pub(super) fn char_of(value: u64) -> char {
    u32::try_from(value).ok().and_then(char::from_u32).unwrap_or(REPLACEMENT)
}
