//! The nonce of `GET quote`: URL-safe base64 with padding.

use marblerun_manifest::gojson::base64;

use crate::error::{Error, ErrorKind};

/// Decodes the parameter; empty text is an empty nonce.
///
/// # Errors
/// 400 with upstream's text.
pub(in crate::server) fn decode(text: &str) -> Result<Vec<u8>, Error> {
    base64::decode_url_safe(text).map_err(|error| {
        Error::new(ErrorKind::BadRequest, "bad_nonce", format!("invalid query: bad nonce format: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_url_safe_base64_is_decoded() {
        assert_eq!(decode("AAECAw==").unwrap(), [0, 1, 2, 3]);
        assert_eq!(decode("-_8=").unwrap(), [0xfb, 0xff]);
        assert_eq!(decode("").unwrap(), [0; 0]);
    }

    #[test]
    fn anything_else_is_refused_with_upstreams_text() {
        for (text, at) in [("AAECAw", 4), ("!!", 0), ("+/8=", 0)] {
            assert_eq!(
                decode(text).unwrap_err().message,
                format!("invalid query: bad nonce format: illegal base64 data at input byte {at}")
            );
        }
    }
}
