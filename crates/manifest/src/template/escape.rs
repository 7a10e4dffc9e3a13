//! `html`, `js` and `urlquery`.

use super::buffer::Buffer;
use super::rune::{chars, is_print};

/// Escapes what is special in HTML text and attributes.
pub(super) fn html(text: &[u8], out: &mut Buffer) {
    for byte in text {
        match byte {
            0 => out.extend("\u{fffd}".as_bytes()),
            b'"' => out.extend(b"&#34;"),
            b'\'' => out.extend(b"&#39;"),
            b'&' => out.extend(b"&amp;"),
            b'<' => out.extend(b"&lt;"),
            b'>' => out.extend(b"&gt;"),
            other => out.push(*other),
        }
    }
}

/// Escapes what is special in a JavaScript string.
pub(super) fn js(text: &[u8], out: &mut Buffer) {
    for (c, encoded) in chars(text) {
        match c {
            '\\' => out.extend(b"\\\\"),
            '\'' => out.extend(b"\\'"),
            '"' => out.extend(b"\\\""),
            '<' | '>' | '&' | '=' => out.extend(format!("\\u{:04X}", u32::from(c)).as_bytes()),
            // DEL is passed through, as Go does.
            ' '..='\u{7f}' => out.extend(encoded),
            _ if is_print(c) => out.extend(encoded),
            _ => out.extend(format!("\\u{:04X}", u32::from(c)).as_bytes()),
        }
    }
}

/// Escapes for the query part of a URL; a blank becomes `+`.
pub(super) fn url_query(text: &[u8], out: &mut Buffer) {
    for byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(*byte),
            b' ' => out.push(b'+'),
            _ => out.extend(format!("%{byte:02X}").as_bytes()),
        }
    }
}
