//! An AES key on a token, to wrap short secrets (such as the key that seals a state).

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::types::Ulong;
use zeroize::Zeroizing;

use crate::{Pkcs11Error, Selector, Token};

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// An AES key on a token. Holds the token open.
#[derive(Debug)]
pub struct SecretKey {
    pub(crate) token: Token,
    pub(crate) handle: ObjectHandle,
}

impl SecretKey {
    /// Makes an AES-256 key that can neither be read nor be taken from the token.
    ///
    /// # Errors
    /// [`Pkcs11Error::Call`] if the token refuses, for example because it is write-protected.
    pub fn generate(token: &Token, selector: &Selector) -> Result<Self, Pkcs11Error> {
        let mut template = selector.template();
        template.extend([
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::ValueLen(Ulong::new(32)),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
        ]);
        let handle = token.with_writable(|session| {
            let made = session.generate_key(&Mechanism::AesKeyGen, &template);
            made.map_err(Pkcs11Error::call("making an AES key on the token"))
        })?;
        Ok(Self { token: token.clone(), handle })
    }

    /// Whether the token keeps it to itself, as far as it tells: an AES-256 key that can neither be read nor be taken out.
    ///
    /// # Errors
    /// [`Pkcs11Error::Call`].
    pub fn is_confined(&self) -> Result<bool, Pkcs11Error> {
        const DOING: &str = "reading the attributes of a key on the token";
        let wanted = [AttributeType::Sensitive, AttributeType::Extractable, AttributeType::ValueLen];
        let found = self
            .token
            .with(|session| session.get_attributes(self.handle, &wanted).map_err(Pkcs11Error::call(DOING)))?;
        Ok([Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::ValueLen(Ulong::new(32))]
            .iter()
            .all(|attribute| found.contains(attribute)))
    }

    /// Wraps a secret with AES-GCM: a random nonce, the ciphertext, the tag. `context` is authenticated with it.
    ///
    /// # Errors
    /// [`Pkcs11Error::Call`].
    pub fn wrap(&self, secret: &[u8], context: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        const DOING: &str = "wrapping a secret on the token (AES-GCM)";
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Pkcs11Error::answer(DOING, "no randomness"))?;
        let mut iv = nonce;
        let parameters = GcmParams::new(&mut iv, context, tag_bits()).map_err(Pkcs11Error::call(DOING))?;
        let mechanism = Mechanism::AesGcm(parameters);
        let sealed = self
            .token
            .with(|session| session.encrypt(&mechanism, self.handle, secret).map_err(Pkcs11Error::call(DOING)))?;
        // A token that chose another nonce could not unwrap what it made.
        if sealed.len() != secret.len() + TAG_LEN || iv_of(mechanism) != Some(nonce) {
            return Err(Pkcs11Error::answer(DOING, "the token did not use the nonce it was given"));
        }
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Unwraps what [`SecretKey::wrap`] made with the same key and context.
    ///
    /// # Errors
    /// [`Pkcs11Error::Decryption`] if it was not, or was altered; [`Pkcs11Error::Call`] if the token says why else.
    pub fn unwrap(&self, wrapped: &[u8], context: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs11Error> {
        const DOING: &str = "unwrapping a secret on the token (AES-GCM)";
        let Some((nonce, sealed)) = wrapped.split_first_chunk::<NONCE_LEN>() else {
            return Err(Pkcs11Error::Decryption);
        };
        if sealed.len() < TAG_LEN {
            return Err(Pkcs11Error::Decryption);
        }
        let mut iv = *nonce;
        let parameters = GcmParams::new(&mut iv, context, tag_bits()).map_err(Pkcs11Error::call(DOING))?;
        let mechanism = Mechanism::AesGcm(parameters);
        let plain = self
            .token
            .with(|session| session.decrypt(&mechanism, self.handle, sealed).map_err(Pkcs11Error::call(DOING)));
        match plain {
            Ok(plain) => Ok(Zeroizing::new(plain)),
            Err(Pkcs11Error::Call { code, .. }) if code.is_bad_ciphertext() => Err(Pkcs11Error::Decryption),
            Err(other) => Err(other),
        }
    }
}

fn tag_bits() -> Ulong {
    Ulong::new(8 * 16)
}

/// The nonce in the parameters after the call; modules may write to it.
fn iv_of(mechanism: Mechanism<'_>) -> Option<[u8; NONCE_LEN]> {
    match mechanism {
        Mechanism::AesGcm(mut parameters) => parameters.iv().try_into().ok(),
        _ => None,
    }
}
