//! Base64 as Go's `StdEncoding` reads it: standard alphabet, padding required, CR and LF ignored anywhere, non-zero
//! trailing bits tolerated.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const GO_STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

const GO_URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// Text that is not base64. The offset is a hint, as it is in Go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("illegal base64 data at input byte {offset}")]
pub struct IllegalBase64 {
    /// Where decoding stopped.
    pub offset: usize,
}

/// Decodes the standard alphabet (`+`, `/`).
///
/// # Errors
/// If the text is not base64.
pub fn decode(text: impl AsRef<[u8]>) -> Result<Vec<u8>, IllegalBase64> {
    decode_with(&GO_STANDARD, text.as_ref())
}

/// Decodes the URL-safe alphabet (`-`, `_`), padding required: the `nonce` parameter.
///
/// # Errors
/// If the text is not base64.
pub fn decode_url_safe(text: impl AsRef<[u8]>) -> Result<Vec<u8>, IllegalBase64> {
    decode_with(&GO_URL_SAFE, text.as_ref())
}

/// Encodes with the standard alphabet and padding.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    GO_STANDARD.encode(bytes)
}

fn decode_with(engine: &GeneralPurpose, text: &[u8]) -> Result<Vec<u8>, IllegalBase64> {
    let decoded = if text.iter().copied().any(is_line_end) {
        let clean: Vec<u8> = text.iter().copied().filter(|byte| !is_line_end(*byte)).collect();
        engine.decode(clean)
    } else {
        engine.decode(text)
    };
    decoded.map_err(|_| IllegalBase64 { offset: fault(text, |byte| engine.decode([byte, b'A', b'A', b'A']).is_ok()) })
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Where Go's decoder stops in text that is known to be wrong: it reads groups of four and names the odd byte, the
/// byte after misplaced padding, or the start of the incomplete group.
fn fault(text: &[u8], is_digit: impl Fn(u8) -> bool) -> usize {
    let skip_line_ends = |mut at: usize| {
        while text.get(at).copied().is_some_and(is_line_end) {
            at += 1;
        }
        at
    };
    let (mut at, mut in_group) = (0, 0);
    while let Some(byte) = text.get(at).copied() {
        match byte {
            byte if is_line_end(byte) => at += 1,
            b'=' if in_group == 2 => {
                at = skip_line_ends(at + 1);
                return match text.get(at) {
                    Some(b'=') => skip_line_ends(at + 1),
                    Some(_) => at.saturating_sub(1),
                    None => text.len(),
                };
            }
            b'=' if in_group == 3 => return skip_line_ends(at + 1),
            byte if !is_digit(byte) => return at,
            _ => {
                at += 1;
                in_group = (in_group + 1) % 4;
            }
        }
    }
    at.saturating_sub(in_group)
}
