//! Limits of protobuf messages that are read before they are authenticated.
//!
//! A repeated field of empty messages costs two bytes on the wire and a hundred in memory. So occurrences are
//! counted on the wire, before anything is decoded.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// How often a field may occur in one message.
pub(super) struct Count {
    /// Field numbers from the outermost message inwards.
    pub path: &'static [u32],
    /// At most.
    pub most: usize,
}

/// Counts the fields at each path.
pub(super) fn check(bytes: &[u8], counts: &[Count]) -> Result<(), &'static str> {
    counts.iter().try_for_each(|count| occurrences(bytes, count.path, count.most))
}

fn occurrences(mut bytes: &[u8], path: &[u32], most: usize) -> Result<(), &'static str> {
    let Some((wanted, inner)) = path.split_first() else { return Ok(()) };
    let mut seen = 0;
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes).map_err(|_| "encoding")?;
        if tag != *wanted {
            skip_field(wire_type, tag, &mut bytes, DecodeContext::default()).map_err(|_| "encoding")?;
            continue;
        }
        if wire_type != WireType::LengthDelimited {
            return Err("encoding");
        }
        let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
        let (message, rest) = length.and_then(|length| bytes.split_at_checked(length)).ok_or("encoding")?;
        bytes = rest;
        seen += 1;
        if inner.is_empty() && seen > most {
            return Err("too many entries");
        }
        occurrences(message, inner, most)?;
    }
    Ok(())
}

/// A field of exactly `N` bytes.
pub(super) fn exactly<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], &'static str> {
    bytes.try_into().map_err(|_| what)
}

/// A text of at most `most` bytes.
pub(super) fn at_most(text: &str, most: usize, what: &'static str) -> Result<(), &'static str> {
    if text.len() > most { Err(what) } else { Ok(()) }
}
