//! PEM as upstream's clients write and upstream reads it (Go's `encoding/pem`): the first block in a text,
//! whatever stands around it, with any line length, and with or without header lines.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Go ignores non-zero trailing bits; padding is required.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// One PEM block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands after `BEGIN`.
    pub label: String,
    /// The decoded bytes.
    pub contents: Vec<u8>,
}

/// The first well-formed block of a text; malformed ones before it are skipped.
#[must_use]
pub fn first_block(text: &str) -> Option<Block> {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(label) = delimiter(line, "BEGIN") else { continue };
        if let Some(contents) = body(lines.clone(), label) {
            return Some(Block { label: label.to_owned(), contents });
        }
    }
    None
}

/// The label of a line `-----BEGIN label-----`; white space may follow.
fn delimiter<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.trim_end().strip_prefix("-----")?.strip_prefix(word)?.strip_prefix(' ')?.strip_suffix("-----")
}

/// Everything up to the matching end line: header lines (`Name: value`), then base64.
fn body<'a>(lines: impl Iterator<Item = &'a str>, label: &str) -> Option<Vec<u8>> {
    let mut encoded = String::new();
    let mut in_headers = true;
    for line in lines {
        if let Some(end) = delimiter(line, "END") {
            return (end == label).then(|| BASE64.decode(&encoded).ok())?;
        }
        in_headers = in_headers && line.contains(':');
        if !in_headers {
            encoded.extend(line.chars().filter(|c| !c.is_ascii_whitespace()));
        }
    }
    None
}
