//! Per-Marble symmetric keys: HKDF-SHA256 (RFC 5869) of the root secret, so that a Marble gets the same
//! key at every activation without its being stored.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use crate::PkiError;

/// RFC 5869: at most 255 blocks.
pub(crate) const MAX_DERIVED_LEN: usize = 255 * 32;

/// From what a per-Marble secret is derived.
#[derive(Clone, Copy)]
pub struct SecretDerivation<'a> {
    /// Root secret: HKDF input key material.
    pub root_secret: &'a [u8],
    /// Canonical UUID text (36 lower-case characters).
    pub uuid: &'a str,
    /// Marble type, or `""` with `DisableSecretBinding`.
    pub marble_type: &'a str,
}

impl std::fmt::Debug for SecretDerivation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretDerivation")
            .field("uuid", &self.uuid)
            .field("marble_type", &self.marble_type)
            .finish_non_exhaustive()
    }
}

impl SecretDerivation<'_> {
    /// Derives `length` bytes for a secret name. The salt is text: UUID, then name.
    pub(crate) fn derive(&self, name: &str, length: usize) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        if length > MAX_DERIVED_LEN {
            return Err(PkiError::definition("hkdf: requested key length too large"));
        }
        const DERIVE: PkiError = PkiError::Crypto("HKDF");
        let salt = [self.uuid.as_bytes(), name.as_bytes()].concat();
        let info = [self.marble_type.as_bytes()];
        let key = Salt::new(HKDF_SHA256, &salt).extract(self.root_secret);
        let mut derived = Zeroizing::new(vec![0; length]);
        key.expand(&info, Length(length)).and_then(|output| output.fill(&mut derived)).map_err(|_| DERIVE)?;
        Ok(derived)
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_secret() -> Vec<u8> {
        hex::decode("7b626ce1e827d2e5983bd5346dcc11872b47bca57b68a2a1454298d9ef3deec5").unwrap()
    }

    fn derive(marble_type: &str, length: usize) -> String {
        let root_secret = root_secret();
        let uuid = "11111111-1111-4111-8111-111111111111";
        let derivation = SecretDerivation { root_secret: &root_secret, uuid, marble_type };
        hex::encode(derivation.derive("symPriv", length).unwrap())
    }

    #[test]
    fn keys_are_those_upstream_derived() {
        assert_eq!(derive("golden", 32), "e7ce3319d2abb3eee766bb22612c443d8e3b9e87697704b72bceaedd1f257fc0");
        assert_eq!(derive("bound2", 32), "ebfb31644a00d3cf622602c1ded8d6f819cfa49774a014628d4dc8fea413d6ff");
        assert_eq!(derive("", 32), "fb3ddd637d55c63416c6d40ea41605f0f910af9241b089012312a37b65af4774");
    }

    #[test]
    fn a_shorter_key_is_a_prefix_of_a_longer_one() {
        assert!(derive("golden", 32).starts_with(&derive("golden", 16)));
    }

    #[test]
    fn the_longest_key_is_made_and_a_longer_one_refused() {
        assert_eq!(derive("golden", 8160).len(), 2 * 8160);
        let root_secret = root_secret();
        let derivation = SecretDerivation { root_secret: &root_secret, uuid: "", marble_type: "" };
        assert_eq!(derivation.derive("s", 8161).unwrap_err().to_string(), "hkdf: requested key length too large");
    }
}
