//! Fixed nonces for test vectors. Exists in tests only: nothing else may choose a nonce.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::WriteError;
use super::keys::{NONCE, Seal, TAG};

/// Seals everything with one given nonce.
pub(super) struct FixedNonce {
    key: LessSafeKey,
    nonce: [u8; NONCE],
}

impl FixedNonce {
    pub(super) fn new(key: &[u8], nonce: [u8; NONCE]) -> Self {
        Self { key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap()), nonce }
    }
}

impl Seal for FixedNonce {
    fn seal(&self, aad: &[u8], plaintext: &mut [u8]) -> Result<([u8; NONCE], [u8; TAG]), WriteError> {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), plaintext).unwrap();
        Ok((self.nonce, tag.as_ref().try_into().unwrap()))
    }
}

/// `first`, `first + 1`, ...
pub(super) fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|i| first + i as u8)
}
