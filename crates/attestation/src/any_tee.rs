//! A client's verifier: it has no TEE of its own and meets evidence of any.

use crate::{Claims, Evidence, Format, Verifier, VerifyError};

/// Looks through the evidence of whatever TEE a peer runs in. This build knows the forms of evidence and can judge
/// none, so it refuses all; it never answers [`Claims::Simulation`].
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyTee;

impl Verifier for AnyTee {
    fn verify(&self, evidence: &Evidence, _now: u64) -> Result<Claims, VerifyError> {
        let format = Format::of(evidence.as_bytes()).map_err(|error| VerifyError(error.to_string()))?;
        let short = match format {
            Format::SgxQuote(_) => "SGX",
            Format::TdxQuote(_) => "TDX",
            Format::Bundle(_) => "this kind of evidence",
        };
        Err(VerifyError(format!(
            "cannot verify {short} yet: the evidence ({}) has the right form, but this version of the program cannot \
             check who made it. Use a version that can; where nothing needs protection, verification can be skipped",
            format.kind()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole quote in the right form; see the folder's README.
    const QUOTE: &[u8] = include_bytes!("../tests/fixtures/sgx.quote");

    fn refusal(bytes: Vec<u8>) -> String {
        AnyTee.verify(&Evidence::from_wire(bytes).unwrap(), 0).unwrap_err().to_string()
    }

    #[test]
    fn an_sgx_quote_is_recognised_and_not_believed() {
        let header = [&[1, 0, 0, 0, 2, 0, 0, 0][..], &(QUOTE.len() as u64).to_le_bytes()].concat();
        for quote in [QUOTE.to_vec(), [&header, QUOTE].concat()] {
            let text = refusal(quote);
            assert!(text.starts_with("cannot verify SGX yet: the evidence (Intel SGX) has the right form"), "{text}");
        }
    }

    #[test]
    fn nothing_and_garbage_are_refused_as_that() {
        assert_eq!(refusal(Vec::new()), "empty report");
        assert!(refusal(b"garbage".to_vec()).starts_with("evidence of no known kind"));
        assert!(refusal(b"MREV\x01\0\0\0".to_vec()).starts_with("cannot verify this kind of evidence yet"));
    }
}
