//! UUIDs in every spelling that Go's parser takes; Marbles that work today use some of them.

use uuid::Uuid;

/// Why a text is no UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UuidError {
    /// No accepted form has that many bytes.
    #[error("invalid UUID length: {0}")]
    Length(usize),
    /// The 45-byte form does not begin with `urn:uuid:`.
    #[error("invalid urn prefix: {0:?}")]
    UrnPrefix(String),
    /// Not hexadecimal digits and hyphens where they belong.
    #[error("invalid UUID format")]
    Format,
}

/// Parses `8-4-4-4-12`, `urn:uuid:…` (any case), `{…}` (only the length counts, as in Go) and 32 hex digits.
/// The nil UUID parses; whether it may be used is for the caller to say ([`Uuid::is_nil`]).
///
/// # Errors
/// [`UuidError`] with Go's text.
pub fn parse_uuid(text: &str) -> Result<Uuid, UuidError> {
    let bytes = text.as_bytes();
    let hyphenated = match bytes.len() {
        32 => return from_hex(bytes.iter().copied()),
        36 => bytes,
        38 => bytes.get(1..37).ok_or(UuidError::Format)?,
        45 => {
            let (prefix, rest) = bytes.split_at_checked(9).ok_or(UuidError::Format)?;
            if !prefix.eq_ignore_ascii_case(b"urn:uuid:") {
                return Err(UuidError::UrnPrefix(String::from_utf8_lossy(prefix).into_owned()));
            }
            rest
        }
        length => return Err(UuidError::Length(length)),
    };
    let hyphens = [8, 13, 18, 23];
    if hyphens.iter().any(|&at| hyphenated.get(at) != Some(&b'-')) {
        return Err(UuidError::Format);
    }
    from_hex(hyphenated.iter().enumerate().filter(|(at, _)| !hyphens.contains(at)).map(|(_, &byte)| byte))
}

fn from_hex(digits: impl Iterator<Item = u8>) -> Result<Uuid, UuidError> {
    let digits: Vec<u8> = digits.collect();
    let mut bytes = [0u8; 16];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| UuidError::Format)?;
    Ok(Uuid::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANONICAL: &str = "0f1e2d3c-4b5a-4968-8778-695a4b3c2d1e";

    #[test]
    fn every_spelling_gives_the_same_canonical_text() {
        for text in [
            CANONICAL.to_owned(),
            CANONICAL.to_uppercase(),
            format!("urn:uuid:{CANONICAL}"),
            format!("URN:UuId:{CANONICAL}"),
            format!("{{{CANONICAL}}}"),
            format!("x{CANONICAL}y"),
            CANONICAL.replace('-', ""),
        ] {
            assert_eq!(parse_uuid(&text).unwrap().to_string(), CANONICAL, "{text}");
        }
    }

    #[test]
    fn errors_are_go_s() {
        let cases = [
            ("", "invalid UUID length: 0"),
            ("33333333333333333333333333333333x", "invalid UUID length: 33"),
            ("0f1e2d3c-4b5a-4968-8778-695a4b3c2d1e\n", "invalid UUID length: 37"),
            ("0f1e2d3c-4b5a-4968-8778+695a4b3c2d1e", "invalid UUID format"),
            ("0f1e2d3c-4b5a-4968-8778-695a4b3c2d1g", "invalid UUID format"),
            ("0f1e2d3c4b5a49688778695a4b3c2d1g", "invalid UUID format"),
            ("urx:uuid:0f1e2d3c-4b5a-4968-8778-695a4b3c2d1e", "invalid urn prefix: \"urx:uuid:\""),
            ("ü1e2d3c-4b5a-4968-8778-695a4b3c2d1e", "invalid UUID format"),
        ];
        for (text, message) in cases {
            assert_eq!(parse_uuid(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn the_nil_uuid_is_seen_as_such() {
        assert!(parse_uuid("00000000-0000-0000-0000-000000000000").unwrap().is_nil());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,48}") {
            let _ = parse_uuid(&text);
        }

        #[test]
        fn what_is_printed_is_parsed(bytes: [u8; 16]) {
            let uuid = Uuid::from_bytes(bytes);
            proptest::prop_assert_eq!(parse_uuid(&uuid.to_string()).unwrap(), uuid);
        }
    }
}
