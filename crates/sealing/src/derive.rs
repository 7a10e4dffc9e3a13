//! What all sealers do alike: random bytes, and keys from keys.

use zeroize::Zeroizing;

use crate::SealError;

/// Length of slot secrets and of salts.
pub(crate) const KEY: usize = 32;

/// HKDF-SHA256.
pub(crate) fn hkdf(
    backend: &'static str,
    key: &[u8],
    salt: &[u8],
    info: &[&[u8]],
    out: &mut [u8],
) -> Result<(), SealError> {
    struct Length(usize);
    impl aws_lc_rs::hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let prk = aws_lc_rs::hkdf::Salt::new(aws_lc_rs::hkdf::HKDF_SHA256, salt).extract(key);
    let derived = prk.expand(info, Length(out.len())).and_then(|okm| okm.fill(out));
    derived.map_err(|_| SealError::Unavailable { backend, reason: "key derivation failed".to_owned() })
}

/// 32 random bytes.
pub(crate) fn random(backend: &'static str) -> Result<Zeroizing<[u8; KEY]>, SealError> {
    let mut bytes = Zeroizing::new([0; KEY]);
    match aws_lc_rs::rand::fill(bytes.as_mut_slice()) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(SealError::Unavailable { backend, reason: "the random source failed".to_owned() }),
    }
}
