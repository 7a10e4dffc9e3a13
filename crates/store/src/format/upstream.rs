//! Upstream's `sealed_data`: u32 header length, header (recovery hash map, JSON), nonce, AES-GCM ciphertext, tag.

use zeroize::Zeroizing;

use super::{Refusal, Source, WriteError};

/// The readable part of an upstream file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamFront {
    /// Recovery hash map, JSON; maybe empty or `null`.
    pub header: Vec<u8>,
    /// Offset of the nonce.
    pub sealed_at: u64,
    /// Length of the file.
    pub length: u64,
}

/// Decrypts an upstream file with a 16, 24 or 32 byte key.
///
/// # Errors
/// [`Refusal::WrongKey`] (upstream's layout cannot tell damage from a wrong key), [`Refusal::Damaged`], [`Refusal::Unreadable`].
pub fn open(
    _source: &(impl Source + ?Sized),
    _front: &UpstreamFront,
    _dek: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    todo!()
}

/// Makes an upstream file (export).
///
/// # Errors
/// [`WriteError`].
pub fn seal(_header: &[u8], _plaintext: &[u8], _dek: &[u8]) -> Result<Vec<u8>, WriteError> {
    todo!()
}
