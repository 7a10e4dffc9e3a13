//! Upstream's envelope around a `sealed_key` whose outer key an HSM releases:
//! `"HSM_SEALED" || nonce (12) || AES-GCM(HSM key, the sealed key within, no associated data) || tag (16)`.
//!
//! Pure functions over bytes; who asks the HSM is another crate. The form names neither vault nor key, so a wrong key
//! and a damaged envelope look the same.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

/// First bytes of the envelope.
pub const PREFIX: &[u8] = b"HSM_SEALED";
const NONCE: usize = 12;
const TAG: usize = 16;

/// Why an envelope stays closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Other bytes.
    #[error("this is no HSM envelope: it does not begin with HSM_SEALED")]
    NotAnEnvelope,
    /// It ends too early.
    #[error("the HSM envelope is cut short")]
    CutShort,
    /// The released key has a length that is not used here.
    #[error("the key of the HSM has {0} bytes; AES-128 keys have 16, AES-256 keys 32")]
    KeyLength(usize),
    /// Another key, or damage.
    #[error(
        "the HSM envelope does not open: the HSM released another key than the one it was sealed with (was the key \
         rotated? then name the old version), or the file is damaged"
    )]
    WrongKey,
    /// The crypto library failed.
    #[error("sealing the HSM envelope failed")]
    Crypto,
}

/// Whether a `sealed_key` is such an envelope.
#[must_use]
pub fn is_envelope(sealed_key: &[u8]) -> bool {
    sealed_key.starts_with(PREFIX)
}

/// The sealed key within.
///
/// # Errors
/// [`EnvelopeError`].
pub fn open(hsm_key: &[u8], sealed_key: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let sealed = sealed_key.strip_prefix(PREFIX).ok_or(EnvelopeError::NotAnEnvelope)?;
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or(EnvelopeError::CutShort)?;
    if sealed.len() < TAG {
        return Err(EnvelopeError::CutShort);
    }
    let mut sealed = Zeroizing::new(sealed.to_vec());
    let opened = key(hsm_key)?
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut sealed)
        .map_err(|_| EnvelopeError::WrongKey)?
        .len();
    sealed.truncate(opened);
    Ok(sealed)
}

/// Puts a sealed key into an envelope, as upstream reads it.
///
/// # Errors
/// [`EnvelopeError::KeyLength`], [`EnvelopeError::Crypto`].
pub fn seal(hsm_key: &[u8], sealed_key: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    let mut within = Zeroizing::new(sealed_key.to_vec());
    let (nonce, tag) =
        key(hsm_key)?.seal_in_place_separate_tag(Aad::empty(), &mut within).map_err(|_| EnvelopeError::Crypto)?;
    Ok([PREFIX, nonce.as_ref(), within.as_slice(), tag.as_ref()].concat())
}

fn key(hsm_key: &[u8]) -> Result<RandomizedNonceKey, EnvelopeError> {
    let algorithm: &'static Algorithm = match hsm_key.len() {
        16 => &AES_128_GCM,
        32 => &AES_256_GCM,
        other => return Err(EnvelopeError::KeyLength(other)),
    };
    RandomizedNonceKey::new(algorithm, hsm_key).map_err(|_| EnvelopeError::Crypto)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upstream's test HSM.
    fn test_key() -> Vec<u8> {
        hex::decode("00ff".repeat(16)).unwrap()
    }

    #[test]
    fn an_envelope_of_the_original_opens_and_its_key_opens_the_state() {
        let fixture = |name: &str| {
            let path = format!("{}/tests/fixtures/upstream-hsm-fake/{name}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read(path).unwrap()
        };
        let dek = open(&test_key(), &fixture("sealed_key")).unwrap();
        // The layout of upstream's sealed_data: u32 length of the header, header, nonce, ciphertext, tag.
        let state = fixture("sealed_data");
        let header = u32::from_le_bytes(state[..4].try_into().unwrap()) as usize;
        let nonce = Nonce::try_assume_unique_for_key(&state[4 + header..16 + header]).unwrap();
        let mut sealed = state[16 + header..].to_vec();
        let opened = key(&dek).unwrap().open_in_place(nonce, Aad::empty(), &mut sealed).unwrap().to_vec();
        assert_eq!(opened, fixture("state_plaintext.json"));
    }

    #[test]
    fn what_is_sealed_opens_and_every_flipped_bit_is_noticed() {
        for length in [16, 32] {
            let key = vec![7; length];
            let sealed = seal(&key, b"a sealed key").unwrap();
            assert!(is_envelope(&sealed));
            assert_eq!(open(&key, &sealed).unwrap().as_slice(), b"a sealed key");
            for position in 0..sealed.len() {
                let mut altered = sealed.clone();
                altered[position] ^= 1;
                assert!(open(&key, &altered).is_err(), "{position}");
            }
        }
        assert_ne!(seal(&[7; 32], b"x").unwrap(), seal(&[7; 32], b"x").unwrap());
    }

    #[test]
    fn each_fault_has_a_name() {
        let sealed = seal(&[7; 32], b"").unwrap();
        assert_eq!(open(&[8; 32], &sealed), Err(EnvelopeError::WrongKey));
        assert_eq!(open(&[8; 31], &sealed), Err(EnvelopeError::KeyLength(31)));
        assert_eq!(open(&[7; 32], &sealed[..sealed.len() - 1]), Err(EnvelopeError::CutShort));
        assert_eq!(open(&[7; 32], &sealed[..15]), Err(EnvelopeError::CutShort));
        assert_eq!(open(&[7; 32], b"HSM_SEALEX"), Err(EnvelopeError::NotAnEnvelope));
        assert_eq!(open(&[7; 32], b""), Err(EnvelopeError::NotAnEnvelope));
    }
}
