//! P-384 private keys of the authority.

use zeroize::Zeroizing;

use crate::PkiError;

/// A P-384 key pair. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct P384Key {
    _private: (),
}

impl std::fmt::Debug for P384Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("P384Key(..)")
    }
}

impl P384Key {
    /// Makes a random key.
    ///
    /// # Errors
    /// If the random source fails.
    pub fn generate() -> Result<Self, PkiError> {
        todo!()
    }

    /// Reads a SEC 1 / RFC 5915 `ECPrivateKey` (DER), the form upstream stores.
    ///
    /// # Errors
    /// If it is not a P-384 key.
    pub fn from_sec1_der(_der: &[u8]) -> Result<Self, PkiError> {
        todo!()
    }

    /// Writes SEC 1 DER with curve parameters and public key (167 bytes), byte for byte as upstream does.
    #[must_use]
    pub fn to_sec1_der(&self) -> Zeroizing<Vec<u8>> {
        todo!()
    }

    /// Writes PKCS#8 v1 DER, inner key without parameters and with public key, as Go does.
    #[must_use]
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        todo!()
    }

    /// The private scalar, 48 bytes big-endian (root secret of states without one).
    #[must_use]
    pub fn scalar(&self) -> Zeroizing<[u8; 48]> {
        todo!()
    }

    /// SubjectPublicKeyInfo DER.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        todo!()
    }

    /// ECDSA over SHA-256 of the message, ASN.1 DER (manifest signature, sign-quote).
    ///
    /// # Errors
    /// If signing fails.
    pub fn sign_sha256(&self, _message: &[u8]) -> Result<Vec<u8>, PkiError> {
        todo!()
    }

    /// ECDSA over SHA-384 of the message, ASN.1 DER (certificates, sealed header).
    ///
    /// # Errors
    /// If signing fails.
    pub fn sign_sha384(&self, _message: &[u8]) -> Result<Vec<u8>, PkiError> {
        todo!()
    }
}
