//! The RSA key that a release is encrypted to, made anew for each: its public half as JWKS, for the evidence to be
//! about, and the unwrapping of what comes back (`CKM_RSA_AES_KEY_WRAP` with SHA-384).

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA384_MGF1SHA384, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use der::Decode as _;
use der::asn1::UintRef;
use zeroize::Zeroizing;

use crate::ReleaseError;

/// Bytes of an RSA-4096 ciphertext.
const RSA_BLOCK: usize = 512;

/// A key of one release.
pub(crate) struct WrappingKey {
    private: OaepPrivateDecryptingKey,
    jwks: String,
}

impl WrappingKey {
    /// Makes one. Takes a second or so.
    pub(crate) fn generate() -> Result<Self, ReleaseError> {
        let failed = || ReleaseError::Crypto("making the RSA-4096 wrapping key");
        let private = PrivateDecryptingKey::generate(KeySize::Rsa4096).map_err(|_| failed())?;
        let public: PublicKeyX509Der<'_> = private.public_key().as_der().map_err(|_| failed())?;
        let jwks = jwks(public.as_ref()).ok_or_else(failed)?;
        Ok(Self { private: OaepPrivateDecryptingKey::new(private).map_err(|_| failed())?, jwks })
    }

    /// The public half, as the vault wants it.
    pub(crate) fn jwks(&self) -> &str {
        &self.jwks
    }

    /// What the evidence must carry.
    pub(crate) fn jwks_hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&SHA256, self.jwks.as_bytes()).as_ref());
        hash
    }

    /// Decrypts: an AES key for this RSA key, then the released key for that AES key (RFC 5649).
    pub(crate) fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, ReleaseError> {
        let not = |what: &str| ReleaseError::NotBelieved(format!("the released key {what}"));
        let (for_rsa, for_aes) = wrapped.split_at_checked(RSA_BLOCK).ok_or_else(|| not("is cut short"))?;
        let mut block = Zeroizing::new([0; RSA_BLOCK]);
        let kek = self
            .private
            .decrypt(&OAEP_SHA384_MGF1SHA384, for_rsa, block.as_mut_slice(), None)
            .map_err(|_| not("is not encrypted to the key that was sent"))?;
        let cipher = match kek.len() {
            16 => &AES_128,
            32 => &AES_256,
            _ => return Err(not("is wrapped with a key of an unknown length")),
        };
        let kek = AesKek::new(cipher, kek).map_err(|_| ReleaseError::Crypto("AES key wrap"))?;
        let mut key = Zeroizing::new(vec![0; for_aes.len()]);
        let length = kek.unwrap_with_padding(for_aes, &mut key).map_err(|_| not("is damaged"))?.len();
        key.truncate(length);
        match key.len() {
            16 | 32 => Ok(key),
            other => Err(not(&format!("has {other} bytes; a symmetric key (oct-HSM) of 16 or 32 bytes is needed"))),
        }
    }
}

/// Keys sorted, no white space: the evidence is about exactly these bytes. The key's name is its thumbprint (RFC 7638).
fn jwks(spki: &[u8]) -> Option<String> {
    let spki = spki::SubjectPublicKeyInfoRef::from_der(spki).ok()?;
    let key = RsaPublicKey::from_der(spki.subject_public_key.raw_bytes()).ok()?;
    let e = BASE64URL.encode(key.public_exponent.as_bytes());
    let n = BASE64URL.encode(key.modulus.as_bytes());
    let thumbprint = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
    let kid = BASE64URL.encode(digest::digest(&SHA256, thumbprint.as_bytes()));
    Some(format!(r#"{{"keys":[{{"e":"{e}","key_ops":["encrypt"],"kid":"{kid}","kty":"RSA","n":"{n}"}}]}}"#))
}

/// `RSAPublicKey` of RFC 8017.
#[derive(der::Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::{OaepPublicEncryptingKey, PublicEncryptingKey};
    use serde_json::Value;

    use super::*;

    /// As the HSM does it.
    fn wrap(key: &WrappingKey, secret: &[u8]) -> Vec<u8> {
        let jwk: Value = serde_json::from_str(key.jwks()).unwrap();
        let field = |name: &str| BASE64URL.decode(jwk["keys"][0][name].as_str().unwrap()).unwrap();
        let components = aws_lc_rs::rsa::PublicKeyComponents { n: field("n"), e: field("e") };
        let public: PublicEncryptingKey = components.try_into().unwrap();
        let mut block = vec![0; RSA_BLOCK];
        let public = OaepPublicEncryptingKey::new(public).unwrap();
        public.encrypt(&OAEP_SHA384_MGF1SHA384, &[9; 32], &mut block, None).unwrap();
        let mut wrapped = vec![0; secret.len() + 16];
        let kek = AesKek::new(&AES_256, &[9; 32]).unwrap();
        let wrapped = kek.wrap_with_padding(secret, &mut wrapped).unwrap();
        [&block[..], wrapped].concat()
    }

    #[test]
    fn what_is_wrapped_for_the_jwks_is_unwrapped_and_nothing_else() {
        let key = WrappingKey::generate().unwrap();
        let jwk: Value = serde_json::from_str(key.jwks()).unwrap();
        let jwk = &jwk["keys"][0];
        assert_eq!((jwk["e"].as_str(), jwk["kty"].as_str()), (Some("AQAB"), Some("RSA")));
        assert_eq!(jwk["key_ops"], serde_json::json!(["encrypt"]));
        assert_eq!(jwk["n"].as_str().unwrap().len(), 683, "4096 bits without a leading zero");

        let wrapped = wrap(&key, &[5; 32]);
        assert_eq!(key.unwrap(&wrapped).unwrap().as_slice(), [5; 32]);
        for position in (0..wrapped.len()).step_by(37) {
            let mut altered = wrapped.clone();
            altered[position] ^= 1;
            assert!(key.unwrap(&altered).is_err(), "{position}");
        }
        for length in [0, 511, 512, 520, wrapped.len() - 1] {
            assert!(key.unwrap(&wrapped[..length]).is_err(), "{length}");
        }
        let error = key.unwrap(&wrap(&key, &[5; 20])).unwrap_err().to_string();
        assert!(error.contains("20 bytes"), "{error}");
        assert!(WrappingKey::generate().unwrap().unwrap(&wrapped).is_err(), "each release has a key of its own");
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // The key of RFC 7638, section 3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let components = aws_lc_rs::rsa::PublicKeyComponents { n: BASE64URL.decode(n).unwrap(), e: vec![1, 0, 1] };
        let key: PublicEncryptingKey = components.try_into().unwrap();
        let spki: PublicKeyX509Der<'_> = key.as_der().unwrap();
        assert!(jwks(spki.as_ref()).unwrap().contains(r#""kid":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs""#));
    }
}
