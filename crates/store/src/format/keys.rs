//! Keys and names of files, records and data encryption keys, and how one follows from the other.
//!
//! Every file is sealed with a key of its own, derived from the data encryption key and the random name of
//! the file. So two copies of one state that go on apart never share a key, and every nonce is random besides:
//! no counter whose value could be rolled back decides one.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::rand;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::WriteError;

/// Length of a nonce of AES-GCM.
pub(crate) const NONCE: usize = 12;
/// Length of a tag of AES-GCM.
pub(crate) const TAG: usize = 16;

/// Head of a record: commits to everything in the file up to and including it.
pub type Head = [u8; 32];

/// The data encryption key. 32 random bytes; never in `Debug`.
#[derive(Clone)]
pub struct Dek(Zeroizing<[u8; 32]>);

/// Public name of a data encryption key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DekId(pub [u8; 16]);

/// Random name of one file, new for every file ever written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId(pub [u8; 32]);

/// What one file is sealed with: derived from the data encryption key and the file's name.
#[derive(Clone)]
pub struct FileKeys {
    key: Arc<RandomizedNonceKey>,
    check: [u8; 32],
}

impl Dek {
    /// A random key.
    ///
    /// # Errors
    /// If the random source fails.
    pub fn generate() -> Result<Self, WriteError> {
        let mut bytes = Zeroizing::new([0; 32]);
        fill_random(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    /// Wraps key bytes.
    #[must_use]
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The key bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Dek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dek(..)")
    }
}

impl DekId {
    /// A random name.
    ///
    /// # Errors
    /// If the random source fails.
    pub fn generate() -> Result<Self, WriteError> {
        let mut bytes = [0; 16];
        fill_random(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl FileId {
    /// A random name.
    ///
    /// # Errors
    /// If the random source fails.
    pub(super) fn generate() -> Result<Self, WriteError> {
        let mut bytes = [0; 32];
        fill_random(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl FileKeys {
    /// Derives the keys of a file.
    ///
    /// # Errors
    /// [`WriteError::Crypto`] if the crypto library fails; it does not for any input.
    pub(super) fn derive(dek: &Dek, file_id: FileId) -> Result<Self, WriteError> {
        let prk = Salt::new(HKDF_SHA256, &file_id.0).extract(dek.expose());
        let key = expand(&prk, &[b"marblerun sealed v1 file key"])?;
        let check = expand(&prk, &[b"marblerun sealed v1 dek check"])?;
        Ok(Self { key: Arc::new(sealing_key(key.as_ref())?), check: *check })
    }

    /// What stands in the prologue to tell the right data encryption key from a wrong one.
    pub(super) fn check(&self) -> &[u8; 32] {
        &self.check
    }

    /// Whether a prologue names this key (constant time).
    pub(super) fn fits(&self, check: &[u8; 32]) -> bool {
        self.check.ct_eq(check).into()
    }

    /// Opens ciphertext and tag in place. `None`: not authentic.
    pub(super) fn open<'a>(&self, nonce: [u8; NONCE], aad: &[u8], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed).ok()
    }
}

/// Something that seals with a nonce of its own choosing. The one way outside of tests is a random nonce.
pub(crate) trait Seal {
    /// Encrypts in place; returns nonce and tag.
    fn seal(&self, aad: &[u8], plaintext: &mut [u8]) -> Result<([u8; NONCE], [u8; TAG]), WriteError>;
}

impl Seal for RandomizedNonceKey {
    fn seal(&self, aad: &[u8], plaintext: &mut [u8]) -> Result<([u8; NONCE], [u8; TAG]), WriteError> {
        let failed = WriteError::Crypto("AES-256-GCM");
        let Ok((nonce, tag)) = self.seal_in_place_separate_tag(Aad::from(aad), plaintext) else { return Err(failed) };
        let Ok(tag) = tag.as_ref().try_into() else { return Err(failed) };
        Ok((*nonce.as_ref(), tag))
    }
}

impl Seal for FileKeys {
    fn seal(&self, aad: &[u8], plaintext: &mut [u8]) -> Result<([u8; NONCE], [u8; TAG]), WriteError> {
        self.key.seal(aad, plaintext)
    }
}

/// AES-256-GCM with random nonces.
pub(crate) fn sealing_key(key: &[u8]) -> Result<RandomizedNonceKey, WriteError> {
    RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| WriteError::Crypto("AES-256-GCM key"))
}

/// HKDF-SHA256 (RFC 5869) to 32 bytes.
pub(crate) fn hkdf(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, WriteError> {
    expand(&Salt::new(HKDF_SHA256, salt).extract(secret), info)
}

/// Random bytes.
pub(super) fn fill_random(bytes: &mut [u8]) -> Result<(), WriteError> {
    rand::fill(bytes).map_err(|_| WriteError::Crypto("random source"))
}

/// Random bytes for a name; the error is for people.
pub(crate) fn random_name<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    fill_random(&mut bytes).map_err(|_| "the random source failed".to_owned())?;
    Ok(bytes)
}

fn expand(prk: &Prk, info: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, WriteError> {
    let mut out = Zeroizing::new([0; 32]);
    prk.expand(info, HKDF_SHA256)
        .and_then(|okm| okm.fill(out.as_mut()))
        .map_err(|_| WriteError::Crypto("HKDF-SHA256"))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::vectors::counting;
    use super::*;

    #[test]
    fn the_keys_of_a_file_are_those_of_the_vectors() {
        let dek = Dek::from_bytes(Zeroizing::new(counting(0)));
        let prk = Salt::new(HKDF_SHA256, &counting::<32>(0x20)).extract(dek.expose());
        assert_eq!(
            hex::encode(expand(&prk, &[b"marblerun sealed v1 file key"]).unwrap().as_ref()),
            "0fbf97e2ea926d957009196c79a45d4ed3a0d39a6705188989714421fde2b9e7"
        );
        let keys = FileKeys::derive(&dek, FileId(counting(0x20))).unwrap();
        assert_eq!(hex::encode(keys.check()), "bf50b8062837a1d4f8ef29375331b6012087edb5ce04d87d488bb2e460cff0f0");
    }

    #[test]
    fn another_key_or_another_file_name_does_not_fit() {
        let keys = FileKeys::derive(&Dek::from_bytes(Zeroizing::new(counting(0))), FileId(counting(0x20))).unwrap();
        let other_key =
            FileKeys::derive(&Dek::from_bytes(Zeroizing::new(counting(1))), FileId(counting(0x20))).unwrap();
        let other_file =
            FileKeys::derive(&Dek::from_bytes(Zeroizing::new(counting(0))), FileId(counting(0x21))).unwrap();
        assert!(keys.fits(keys.check()));
        assert!(!keys.fits(other_key.check()));
        assert!(!keys.fits(other_file.check()));
    }

    #[test]
    fn debug_output_never_shows_a_key() {
        let dek = Dek::from_bytes(Zeroizing::new([0xAB; 32]));
        assert_eq!(format!("{dek:?}"), "Dek(..)");
    }
}
