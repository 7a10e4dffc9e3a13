//! What a Coordinator's root key signs: the manifest in force, and statements about quotes of others. Both are good
//! beyond the connection on which they came: whoever knows the root can check them.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P384_SHA256_ASN1, UnparsedPublicKey};
use marblerun_api::bytes;
use marblerun_api::v2::SignQuote;
use marblerun_attestation::TcbStatus;

use crate::ClientError;
use crate::chain::public_key;

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Checks the signature of a manifest.
pub(crate) fn check_manifest(root: &[u8], raw: &[u8], signature: &[u8]) -> Result<(), ClientError> {
    if is_signed(root, raw, signature) {
        return Ok(());
    }
    Err(ClientError::Trust("the Coordinator's root did not sign the manifest that was answered".to_owned()))
}

/// Checks a Coordinator's statement about an SGX quote ([`Client::sign_quote`](crate::Client::sign_quote)): that the
/// root (DER) signed it, and that it is about this quote, in the very form that was sent. Answers the status of the
/// quote's platform.
///
/// ```no_run
/// # fn example(root: &[u8], quote: &[u8], statement: &marblerun_client::wire::v2::SignQuote)
/// # -> Result<(), marblerun_client::ClientError> {
/// use marblerun_client::{TcbStatus, verify_signed_quote};
///
/// let status = verify_signed_quote(root, quote, statement)?;
/// if status != TcbStatus::UpToDate {
///     println!("the platform is {status}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ClientError::Trust`] if the signature is not good, [`ClientError::Protocol`] if the status is none.
pub fn verify_signed_quote(root: &[u8], quote: &[u8], statement: &SignQuote) -> Result<TcbStatus, ClientError> {
    let message = bytes::encode(quote) + &statement.tcb_status;
    if !is_signed(root, message.as_bytes(), &statement.verification_signature.0) {
        return Err(ClientError::Trust(
            "the Coordinator's root did not sign this statement about the quote".to_owned(),
        ));
    }
    let status = statement.tcb_status.parse().ok().filter(|status| *status != TcbStatus::Unknown);
    status.ok_or_else(|| ClientError::protocol("TCB status of the quote", format!("{:?}", statement.tcb_status)))
}

fn is_signed(root: &[u8], message: &[u8], signature: &[u8]) -> bool {
    public_key(root)
        .is_some_and(|key| UnparsedPublicKey::new(&ECDSA_P384_SHA256_ASN1, key).verify(message, signature).is_ok())
}
