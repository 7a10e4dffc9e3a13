//! The Coordinator's own evidence, and the certificates it stands for.

use marblerun_pki::pem;
use marblerun_state::State;

use crate::core::answer::QuoteAnswer;
use crate::error::{Error, ErrorKind};

/// Intermediate, then root. In simulation there is no evidence, with and without a nonce.
pub(super) fn quote(state: &State) -> Result<QuoteAnswer, Error> {
    let authority = state.authority();
    let mut cert = String::new();
    for certificate in [&authority.intermediate_certificate, &authority.root_certificate] {
        let block = pem::encode(pem::CERTIFICATE, certificate).map_err(|error| {
            Error::new(ErrorKind::Internal, "certificate_unreadable", format!("loading certificates: {error}"))
        })?;
        cert.push_str(&block);
    }
    Ok(QuoteAnswer { cert, quote: None })
}

/// A statement about somebody's SGX quote. In simulation no quote can be verified, and none is vouched for.
pub(super) fn sign(quote: &[u8]) -> Result<(String, Vec<u8>), Error> {
    let cause = if quote.is_empty() { "empty report" } else { "OE_UNSUPPORTED" };
    Err(Error::new(ErrorKind::BadRequest, "quote_verification_failed", cause))
}
