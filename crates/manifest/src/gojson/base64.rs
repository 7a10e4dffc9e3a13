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

fn decode_with(engine: &GeneralPurpose, text: &[u8]) -> Result<Vec<u8>, IllegalBase64> {
    let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let decoded = if text.iter().any(is_line_end) {
        let clean: Vec<u8> = text.iter().copied().filter(|byte| !is_line_end(byte)).collect();
        engine.decode(clean)
    } else {
        engine.decode(text)
    };
    decoded.map_err(|error| IllegalBase64 {
        offset: match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => text
                .iter()
                .enumerate()
                .filter(|(_, byte)| !is_line_end(byte))
                .nth(at)
                .map_or(text.len(), |(index, _)| index),
            // Cut short: Go names the start of the incomplete group.
            base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() - text.len() % 4,
        },
    })
}
