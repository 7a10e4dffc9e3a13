//! How slot secrets are drawn and derived, the same in every sealer: random bytes of the crypto library, and
//! HKDF-SHA256 (RFC 5869) with a salt and an information string that belong to one slot alone.

use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use crate::SealError;

/// Length of slot secrets and of salts.
pub const SECRET: usize = 32;

/// Random bytes, for a secret or a salt.
///
/// # Errors
/// [`SealError::Unavailable`] if the random source fails.
pub fn random(backend: &'static str) -> Result<Zeroizing<[u8; SECRET]>, SealError> {
    let mut bytes = Zeroizing::new([0; SECRET]);
    match aws_lc_rs::rand::fill(bytes.as_mut_slice()) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(SealError::Unavailable { backend, reason: "the random source failed".to_owned() }),
    }
}

/// Fills `out` with HKDF-SHA256 of a key, bound to a salt and to all parts of `info`.
///
/// # Errors
/// [`SealError::Unavailable`] if the crypto library fails; it does not for the lengths used here.
pub fn expand(backend: &'static str, key: &[u8], salt: &[u8], info: &[&[u8]], out: &mut [u8]) -> Result<(), SealError> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    let derived = prk.expand(info, Length(out.len())).and_then(|okm| okm.fill(out));
    derived.map_err(|_| SealError::Unavailable { backend, reason: "key derivation failed".to_owned() })
}

/// A slot secret that follows from a key.
///
/// # Errors
/// As [`expand`].
pub fn slot_secret(
    backend: &'static str,
    key: &[u8],
    salt: &[u8],
    info: &[&[u8]],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut secret = Zeroizing::new(vec![0; SECRET]);
    expand(backend, key, salt, info, &mut secret)?;
    Ok(secret)
}
