//! An RSA key on a token as the key of a recovery party: RSA-OAEP and PKCS#1 v1.5 with SHA-256.

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use zeroize::Zeroizing;

use crate::encoding::{Hash, is_in_range};
use crate::private_key::Kind;
use crate::{Pkcs11Error, PrivateKey, oaep};

const DECRYPTING: &str = "decrypting on the token (RSA-OAEP with SHA-256)";

/// An RSA private key on a token.
#[derive(Debug)]
pub struct RsaKey {
    key: PrivateKey,
    public: Vec<u8>,
    modulus_len: usize,
}

impl TryFrom<PrivateKey> for RsaKey {
    type Error = Pkcs11Error;

    fn try_from(key: PrivateKey) -> Result<Self, Pkcs11Error> {
        let Kind::Rsa { modulus_len } = key.kind else {
            // The first words are upstream's.
            return Err(Pkcs11Error::KeyKind(
                "loaded private key does not support decryption: it is an EC key, recovery keys are RSA keys"
                    .to_owned(),
            ));
        };
        match key.public.clone() {
            Some(public) => Ok(Self { key, public, modulus_len }),
            None => Err(Pkcs11Error::KeyKind(
                "the token has no public half of the RSA key; put its public key beside it, with the same id"
                    .to_owned(),
            )),
        }
    }
}

impl RsaKey {
    /// SubjectPublicKeyInfo (DER) of the public half.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// Bytes of the modulus, of a ciphertext, and of a signature.
    #[must_use]
    pub fn modulus_len(&self) -> usize {
        self.modulus_len
    }

    /// Decrypts OAEP (SHA-256, MGF1-SHA-256, empty label). Where the token cannot do that, it does raw RSA and the
    /// padding is removed here.
    ///
    /// # Errors
    /// [`Pkcs11Error::Decryption`] if the ciphertext is not one of this key; [`Pkcs11Error::Call`].
    pub fn decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs11Error> {
        // One for another key may be beyond this one's modulus, which modules tell as a failure of their own.
        if !is_in_range(ciphertext, &self.public) {
            return Err(Pkcs11Error::Decryption);
        }
        let oaep = PkcsOaepParams::new(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, PkcsOaepSource::empty());
        match self.run(&Mechanism::RsaPkcsOaep(oaep), ciphertext) {
            Err(Pkcs11Error::Call { code, .. }) if code.is_unsupported() => self.decrypt_raw(ciphertext),
            other => other,
        }
    }

    fn decrypt_raw(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs11Error> {
        let raw = self.run(&Mechanism::RsaX509, ciphertext).map_err(|error| match error {
            Pkcs11Error::Call { doing, code, .. } if code.is_unsupported() => Pkcs11Error::Call {
                doing,
                code,
                advice: ". The token offers neither RSA-OAEP with SHA-256 nor raw RSA (CKM_RSA_X_509) for this key",
            },
            other => other,
        })?;
        // Some modules drop leading zeros.
        let missing = self.modulus_len.checked_sub(raw.len()).ok_or(Pkcs11Error::Decryption)?;
        let mut block = Zeroizing::new(vec![0; missing]);
        block.reserve_exact(raw.len());
        block.extend_from_slice(&raw);
        oaep::unpad(block).ok_or(Pkcs11Error::Decryption)
    }

    fn run(&self, mechanism: &Mechanism<'_>, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs11Error> {
        let plain = self.key.token.with(|session| {
            session.decrypt(mechanism, self.key.handle, ciphertext).map_err(Pkcs11Error::call(DECRYPTING))
        });
        match plain {
            Ok(plain) => Ok(Zeroizing::new(plain)),
            Err(Pkcs11Error::Call { code, .. }) if code.is_bad_ciphertext() => Err(Pkcs11Error::Decryption),
            Err(other) => Err(other),
        }
    }

    /// Signs SHA-256 of the message with PKCS#1 v1.5.
    ///
    /// # Errors
    /// [`Pkcs11Error::Call`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        let mut signature = self.key.sign_pkcs1(Hash::Sha256, message)?;
        let missing = self.modulus_len.saturating_sub(signature.len());
        signature.splice(0..0, std::iter::repeat_n(0, missing));
        Ok(signature)
    }
}
