//! PEM as Go writes it: 64 columns, `\n`, trailing newline.

use der::pem::LineEnding;
use zeroize::Zeroizing;

use crate::PkiError;

/// Label of certificates.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of PKCS#8 private keys.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";
/// Label of SubjectPublicKeyInfo.
pub const PUBLIC_KEY: &str = "PUBLIC KEY";

/// Encodes one block. Empty contents give a block without body lines, as in Go.
///
/// # Errors
/// If the label is not one PEM allows.
pub fn encode(label: &str, contents: &[u8]) -> Result<Zeroizing<String>, PkiError> {
    if contents.is_empty() {
        return Ok(Zeroizing::new(format!("-----BEGIN {label}-----\n-----END {label}-----\n")));
    }
    der::pem::encode_string(label, LineEnding::LF, contents)
        .map(Zeroizing::new)
        .map_err(|error| PkiError::malformed("PEM", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_64_columns_and_end_in_a_newline() {
        let text = encode(PRIVATE_KEY, &[0xAB; 49]).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines[0], "-----BEGIN PRIVATE KEY-----");
        assert_eq!(lines[1].len(), 64);
        assert_eq!(lines[2], "qw==");
        assert_eq!(lines[3], "-----END PRIVATE KEY-----");
        assert_eq!(lines[4], "");
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn empty_contents_give_an_empty_block() {
        assert_eq!(
            encode(CERTIFICATE, &[]).unwrap().as_str(),
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
        );
    }
}
