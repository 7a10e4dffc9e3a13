//! Byte fields as Go's `encoding/json` reads and writes them: standard base64 with padding,
//! `null` for absent, and on input also an array of numbers 0..=255 and CR/LF inside the text.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Standard alphabet, padding required, non-zero trailing bits tolerated: what Go's decoder accepts.
const GO_STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// A byte string in JSON.
///
/// Serialises as standard base64. `Option<Base64>` serialises `None` as `null`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Base64(pub Vec<u8>);

impl std::fmt::Debug for Base64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Byte fields carry secrets as often as not.
        write!(f, "Base64({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Base64 {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Base64 {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

/// Decodes base64 as Go does: CR and LF are ignored, padding is required.
///
/// # Errors
/// The library's error if the text is not base64 of the standard alphabet.
pub fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    if text.contains(['\r', '\n']) {
        let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        return GO_STANDARD.decode(clean);
    }
    GO_STANDARD.decode(text)
}

/// Encodes as standard base64 with padding.
pub fn encode(bytes: &[u8]) -> String {
    GO_STANDARD.encode(bytes)
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;

        impl<'de> Visitor<'de> for BytesVisitor {
            type Value = Base64;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("base64 text or an array of numbers from 0 to 255")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                decode(text).map(Base64).map_err(|e| E::custom(format!("illegal base64 data: {e}")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut bytes = Vec::new();
                while let Some(number) = seq.next_element::<u64>()? {
                    bytes.push(
                        u8::try_from(number).map_err(|_| A::Error::custom(format!("cannot use {number} as a byte")))?,
                    );
                }
                Ok(Base64(bytes))
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
                Ok(Base64::default())
            }
        }

        deserializer.deserialize_any(BytesVisitor)
    }
}
