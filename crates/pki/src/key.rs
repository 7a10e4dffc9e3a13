//! P-384 private keys of the authority. The parsed key pair is kept, as signing a Marble's leaf is the
//! hot path; the encodings are made once, so that writing them cannot fail.

use std::sync::Arc;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use p384::ecdsa::signature::hazmat::PrehashSigner;
use zeroize::Zeroizing;

use crate::PkiError;
use crate::keypair::{Curve, ec_pkcs8, ec_sec1, ec_spki};

/// A P-384 key pair. `Debug` shows nothing of it; a clone shares it.
#[derive(Clone)]
pub struct P384Key {
    inner: Arc<Inner>,
}

struct Inner {
    pair: EcdsaKeyPair,
    scalar: Zeroizing<[u8; 48]>,
    sec1: Zeroizing<Vec<u8>>,
    pkcs8: Zeroizing<Vec<u8>>,
    spki: Vec<u8>,
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
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING)
            .map_err(|_| PkiError::Crypto("P-384 key generation"))?;
        Self::from_pair(pair)
    }

    /// Reads a SEC 1 / RFC 5915 `ECPrivateKey` (DER), the form upstream stores.
    ///
    /// # Errors
    /// If it is not a P-384 key.
    pub fn from_sec1_der(der: &[u8]) -> Result<Self, PkiError> {
        const WHAT: &str = "P-384 private key";
        // The library below would also take PKCS#8; a state holds one form only.
        sec1::EcPrivateKey::try_from(der).map_err(|error| PkiError::malformed(WHAT, error))?;
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_ASN1_SIGNING, der)
            .map_err(|error| PkiError::malformed(WHAT, error))?;
        Self::from_pair(pair)
    }

    /// Writes SEC 1 DER with curve parameters and public key (167 bytes), byte for byte as upstream does.
    #[must_use]
    pub fn to_sec1_der(&self) -> Zeroizing<Vec<u8>> {
        self.inner.sec1.clone()
    }

    /// Writes PKCS#8 v1 DER, inner key without parameters and with public key, as Go does.
    #[must_use]
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        self.inner.pkcs8.clone()
    }

    /// The private scalar, 48 bytes big-endian (root secret of states without one).
    #[must_use]
    pub fn scalar(&self) -> Zeroizing<[u8; 48]> {
        self.inner.scalar.clone()
    }

    /// SubjectPublicKeyInfo DER.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        self.inner.spki.clone()
    }

    /// ECDSA over SHA-256 of the message, ASN.1 DER (manifest signature, sign-quote).
    ///
    /// # Errors
    /// If signing fails.
    pub fn sign_sha256(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        self.sign_digest(&aws_lc_rs::digest::SHA256, message)
    }

    /// ECDSA over SHA-384 of the message, ASN.1 DER (certificates, sealed header).
    ///
    /// # Errors
    /// If signing fails.
    pub fn sign_sha384(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        let signature =
            self.inner.pair.sign(&SystemRandom::new(), message).map_err(|_| PkiError::Crypto("ECDSA signature"))?;
        Ok(signature.as_ref().to_vec())
    }

    /// ECDSA over SHA-512 of the message (certificates whose template asks for it).
    pub(crate) fn sign_sha512(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        self.sign_digest(&aws_lc_rs::digest::SHA512, message)
    }

    /// Borrowed SubjectPublicKeyInfo DER.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.inner.spki
    }

    fn from_pair(pair: EcdsaKeyPair) -> Result<Self, PkiError> {
        const EXPORT: PkiError = PkiError::Crypto("P-384 key export");
        let exported = pair.private_key().as_be_bytes().map_err(|_| EXPORT)?;
        let mut scalar = Zeroizing::new([0u8; 48]);
        if exported.as_ref().len() != scalar.len() {
            return Err(EXPORT);
        }
        scalar.copy_from_slice(exported.as_ref());
        let point = pair.public_key().as_ref();
        let sec1 = ec_sec1(Curve::P384, scalar.as_slice(), point, true)?;
        let pkcs8 = ec_pkcs8(Curve::P384, scalar.as_slice(), point)?;
        let spki = ec_spki(Curve::P384, point)?;
        Ok(Self { inner: Arc::new(Inner { pair, scalar, sec1, pkcs8, spki }) })
    }

    /// The TLS crypto library signs P-384 with SHA-384 alone; other digests take this way.
    fn sign_digest(
        &self,
        algorithm: &'static aws_lc_rs::digest::Algorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, PkiError> {
        const SIGN: PkiError = PkiError::Crypto("ECDSA signature");
        let key = p384::ecdsa::SigningKey::from_slice(self.inner.scalar.as_slice()).map_err(|_| SIGN)?;
        let digest = aws_lc_rs::digest::digest(algorithm, message);
        let signature: p384::ecdsa::DerSignature = key.sign_prehash(digest.as_ref()).map_err(|_| SIGN)?;
        Ok(signature.as_bytes().to_vec())
    }
}
