//! RSA as recovery uses it: OAEP with SHA-256 (MGF1-SHA-256, empty label) to wrap a secret to a party,
//! PKCS#1 v1.5 with SHA-256 to sign it. Keys have 1024 to 8192 bits.
//!
//! aws-lc-rs does the work wherever it takes the key. Below 2048 bits it only verifies; upstream accepts such
//! keys from 1024 bits on, so the `rsa` crate encrypts and decrypts for them.

use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use aws_lc_rs::signature::{self, ParsedPublicKey, UnparsedPublicKey};
use aws_lc_rs::{encoding, encoding::AsDer};
use der::asn1::{AnyRef, UintRef};
use der::{Decode, Encode};
use pkcs8::PrivateKeyInfoRef;
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey};
use rsa::traits::PublicKeyParts;
use rsa::{Oaep, Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey, rand_core};
use spki::SubjectPublicKeyInfoRef;
use zeroize::Zeroizing;

use crate::{commitment, pem};

/// Smallest key, as upstream.
const MIN_BITS: usize = 1024;
/// Largest key that every operation of aws-lc-rs takes.
const MAX_BITS: usize = 8192;
/// Smallest key that aws-lc-rs encrypts, decrypts and signs with, and whose ciphertexts may be kept.
pub const MIN_STRONG_BITS: usize = 2048;

/// rsaEncryption, RFC 8017.
const RSA_ENCRYPTION: der::oid::ObjectIdentifier = der::oid::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Why a key cannot be used, or an operation with it failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RsaError {
    /// Not a PEM block with the label wanted.
    #[error("given PEM data is not a public key")]
    NotPublicKeyPem,
    /// Another algorithm than RSA.
    #[error("unsupported type of public key")]
    NotRsa,
    /// Not DER of the right shape.
    #[error("malformed key: {0}")]
    Malformed(String),
    /// Too small or too large.
    #[error("the RSA key has {0} bits; it must have {MIN_BITS} to {MAX_BITS}")]
    Size(usize),
    /// Not a private key this program reads.
    #[error("{0}")]
    PrivateKey(String),
    /// Too long for the key.
    #[error("the message is too long for the RSA key")]
    TooLong,
    /// The ciphertext was made for another key or is damaged. The text is upstream's; clients see it.
    #[error("crypto/rsa: decryption error")]
    Decryption,
    /// The device that holds the key failed; its own words.
    #[error("{0}")]
    Device(String),
    /// The crypto library failed.
    #[error("cryptographic operation failed: {0}")]
    Crypto(&'static str),
}

/// An RSA public key, checked.
pub struct PublicKey {
    spki: Vec<u8>,
    bits: usize,
    verifier: ParsedPublicKey,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicKey").field("bits", &self.bits).finish_non_exhaustive()
    }
}

impl PublicKey {
    /// Reads the form of the manifest's `RecoveryKeys`: the first PEM block must be `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`RsaError`], with upstream's gist.
    pub fn from_pem(text: &str) -> Result<Self, RsaError> {
        match pem::first_block(text) {
            Some(block) if block.label == "PUBLIC KEY" => Self::from_spki_der(&block.contents),
            _ => Err(RsaError::NotPublicKeyPem),
        }
    }

    /// Reads a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`RsaError`].
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, RsaError> {
        let malformed = |error: der::Error| RsaError::Malformed(error.to_string());
        let info = SubjectPublicKeyInfoRef::from_der(spki).map_err(malformed)?;
        if info.algorithm.oid != RSA_ENCRYPTION {
            return Err(RsaError::NotRsa);
        }
        if info.algorithm.parameters != Some(AnyRef::NULL) {
            return Err(RsaError::Malformed("RSA key missing NULL parameters".to_owned()));
        }
        let key = info.subject_public_key.as_bytes().ok_or(RsaError::Malformed("bit string".to_owned()))?;
        let (modulus, exponent) = AnyRef::from_der(key)
            .and_then(|any| any.sequence(|reader| Ok((UintRef::decode(reader)?, UintRef::decode(reader)?))))
            .map_err(malformed)?;
        let bits = bit_length(modulus.as_bytes());
        if !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(RsaError::Size(bits));
        }
        let odd = |number: UintRef<'_>| number.as_bytes().last().is_some_and(|byte| byte & 1 == 1);
        if !odd(modulus) || !odd(exponent) || !(2..=31).contains(&bit_length(exponent.as_bytes())) {
            return Err(RsaError::Malformed("modulus or public exponent cannot be that of an RSA key".to_owned()));
        }
        let verifier = UnparsedPublicKey::new(&signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, spki)
            .parse()
            .map_err(|error| RsaError::Malformed(error.to_string()))?;
        Ok(Self { spki: spki.to_vec(), bits, verifier })
    }

    /// SubjectPublicKeyInfo DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Size of the modulus.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// Encrypts a short message with OAEP.
    ///
    /// # Errors
    /// [`RsaError::TooLong`], [`RsaError::Crypto`].
    pub fn encrypt(&self, message: &[u8]) -> Result<Vec<u8>, RsaError> {
        // RFC 8017, 7.1.1: two hashes and two bytes.
        if message.len() > self.bits.div_ceil(8).saturating_sub(66) {
            return Err(RsaError::TooLong);
        }
        if self.bits < MIN_STRONG_BITS {
            let key = RsaPublicKey::from_public_key_der(&self.spki).map_err(|_| RsaError::Crypto("small RSA key"))?;
            let padding = Oaep::new::<rsa::sha2::Sha256>();
            return key.encrypt(&mut LibraryRng, padding, message).map_err(|_| RsaError::Crypto("RSA encryption"));
        }
        let failed = |_| RsaError::Crypto("RSA encryption");
        let key = PublicEncryptingKey::from_der(&self.spki).map_err(|_| RsaError::Crypto("RSA public key"))?;
        let key = OaepPublicEncryptingKey::new(key).map_err(failed)?;
        let mut ciphertext = vec![0; key.ciphertext_size()];
        key.encrypt(&OAEP_SHA256_MGF1SHA256, message, &mut ciphertext, None).map_err(failed)?;
        Ok(ciphertext)
    }

    /// Whether this is a PKCS#1 v1.5 signature over SHA-256 of the message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifier.verify_sig(message, signature).is_ok()
    }
}

/// The private key of a party, wherever it is: in memory ([`PrivateKey`]), or on a token that uses it for us.
pub trait PartyKey: Send + Sync {
    /// The public half.
    fn public(&self) -> &PublicKey;

    /// Decrypts OAEP.
    ///
    /// # Errors
    /// [`RsaError::Decryption`] if the ciphertext is not one of this key; [`RsaError::Device`] if it could not be tried.
    fn decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, RsaError>;

    /// Signs SHA-256 of the message with PKCS#1 v1.5.
    ///
    /// # Errors
    /// [`RsaError::Crypto`], [`RsaError::Device`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, RsaError>;
}

impl PartyKey for PrivateKey {
    fn public(&self) -> &PublicKey {
        Self::public(self)
    }

    fn decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, RsaError> {
        Self::decrypt(self, ciphertext)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, RsaError> {
        Self::sign(self, message)
    }
}

/// An RSA private key: of a key holder, or the Coordinator's ephemeral one.
pub struct PrivateKey {
    inner: Inner,
    public: PublicKey,
}

enum Inner {
    Library { decrypt: OaepPrivateDecryptingKey, sign: KeyPair },
    Small(Box<RsaPrivateKey>),
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").field("bits", &self.public.bits).finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// Makes the key to which clients encrypt secrets on their way to a Coordinator: 4096 bits, for the life of
    /// the process. Takes seconds; keep it off async threads.
    ///
    /// # Errors
    /// [`RsaError::Crypto`].
    pub fn generate_ephemeral() -> Result<Self, RsaError> {
        let failed = |_| RsaError::Crypto("RSA key generation");
        let key = PrivateDecryptingKey::generate(KeySize::Rsa4096).map_err(failed)?;
        let pkcs8: encoding::Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
        Self::from_pkcs8_der(pkcs8.as_ref())
    }

    /// Reads PEM: `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY` (PKCS#1), not encrypted.
    ///
    /// # Errors
    /// [`RsaError::PrivateKey`] with what is wrong.
    pub fn from_pem(text: &str) -> Result<Self, RsaError> {
        let refuse = |reason: &str| Err(RsaError::PrivateKey(reason.to_owned()));
        let Some(block) = pem::first_block(text) else { return refuse("no PEM block found") };
        let contents = Zeroizing::new(block.contents);
        match block.label.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8_der(&contents),
            "RSA PRIVATE KEY" => Self::from_pkcs1_der(&contents),
            "ENCRYPTED PRIVATE KEY" => refuse("the private key is encrypted; decrypt it first"),
            other => refuse(&format!("PEM block is {other:?}, not \"PRIVATE KEY\" or \"RSA PRIVATE KEY\"")),
        }
    }

    /// Reads a PKCS#1 `RSAPrivateKey`.
    ///
    /// # Errors
    /// [`RsaError::PrivateKey`].
    pub fn from_pkcs1_der(pkcs1: &[u8]) -> Result<Self, RsaError> {
        let unreadable = |error: der::Error| RsaError::PrivateKey(format!("the private key is unreadable: {error}"));
        let key = der::asn1::OctetStringRef::new(pkcs1).map_err(unreadable)?;
        let algorithm = spki::AlgorithmIdentifierRef { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::NULL) };
        let pkcs8 = Zeroizing::new(PrivateKeyInfoRef::new(algorithm, key).to_der().map_err(unreadable)?);
        Self::from_pkcs8_der(&pkcs8)
    }

    /// Reads a PKCS#8 `PrivateKeyInfo`.
    ///
    /// # Errors
    /// [`RsaError::PrivateKey`], [`RsaError::Size`].
    pub fn from_pkcs8_der(pkcs8: &[u8]) -> Result<Self, RsaError> {
        let unreadable = |reason: String| RsaError::PrivateKey(format!("the private key is unreadable: {reason}"));
        let info = PrivateKeyInfoRef::from_der(pkcs8).map_err(|error| unreadable(error.to_string()))?;
        if info.algorithm.oid != RSA_ENCRYPTION {
            return Err(RsaError::PrivateKey("the private key is not an RSA key".to_owned()));
        }
        if let Ok(decrypt) = PrivateDecryptingKey::from_pkcs8(pkcs8) {
            let public: encoding::PublicKeyX509Der<'_> =
                decrypt.public_key().as_der().map_err(|_| RsaError::Crypto("RSA public key"))?;
            let public = PublicKey::from_spki_der(public.as_ref())?;
            let decrypt = OaepPrivateDecryptingKey::new(decrypt).map_err(|_| RsaError::Crypto("RSA private key"))?;
            let sign = KeyPair::from_pkcs8(pkcs8).map_err(|error| unreadable(error.to_string()))?;
            return Ok(Self { inner: Inner::Library { decrypt, sign }, public });
        }
        let key = RsaPrivateKey::from_pkcs8_der(pkcs8).map_err(|error| unreadable(error.to_string()))?;
        let bits = key.n().bits();
        if !(MIN_BITS..MIN_STRONG_BITS).contains(&bits) {
            return Err(match bits {
                MIN_STRONG_BITS..=MAX_BITS => unreadable("its parts do not fit together".to_owned()),
                bits => RsaError::Size(bits),
            });
        }
        let public = key.to_public_key().to_public_key_der().map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { inner: Inner::Small(Box::new(key)), public: PublicKey::from_spki_der(public.as_bytes())? })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Decrypts OAEP.
    ///
    /// # Errors
    /// [`RsaError::Decryption`], whatever the cause.
    pub fn decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, RsaError> {
        match &self.inner {
            Inner::Library { decrypt, .. } => {
                if ciphertext.len() != decrypt.key_size_bytes() {
                    return Err(RsaError::Decryption);
                }
                let mut buffer = Zeroizing::new(vec![0; decrypt.min_output_size()]);
                let length = decrypt
                    .decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, &mut buffer, None)
                    .map_err(|_| RsaError::Decryption)?
                    .len();
                buffer.truncate(length);
                Ok(buffer)
            }
            Inner::Small(key) => key
                .decrypt_blinded(&mut LibraryRng, Oaep::new::<rsa::sha2::Sha256>(), ciphertext)
                .map(Zeroizing::new)
                .map_err(|_| RsaError::Decryption),
        }
    }

    /// Signs SHA-256 of the message with PKCS#1 v1.5.
    ///
    /// # Errors
    /// [`RsaError::Crypto`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, RsaError> {
        match &self.inner {
            Inner::Library { sign, .. } => {
                let mut signature = vec![0; sign.public_modulus_len()];
                let random = aws_lc_rs::rand::SystemRandom::new();
                sign.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| RsaError::Crypto("RSA signature"))?;
                Ok(signature)
            }
            Inner::Small(key) => key
                .sign_with_rng(&mut LibraryRng, Pkcs1v15Sign::new::<rsa::sha2::Sha256>(), &commitment(message))
                .map_err(|_| RsaError::Crypto("RSA signature")),
        }
    }
}

fn bit_length(number: &[u8]) -> usize {
    let significant = number.iter().skip_while(|byte| **byte == 0);
    let length = significant.clone().count();
    let top = significant.clone().next().map_or(0, |byte| byte.leading_zeros() as usize);
    (length * 8).saturating_sub(top)
}

/// The random source of aws-lc-rs for the `rsa` crate.
struct LibraryRng;

impl rand_core::CryptoRng for LibraryRng {}

impl rand_core::RngCore for LibraryRng {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        // aws-lc-rs ends the process itself if the system has no randomness, and the trait cannot report a
        // failure; encryption with bytes that are not random must never come out of here.
        if self.try_fill_bytes(bytes).is_err() {
            std::process::abort();
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        aws_lc_rs::rand::fill(bytes).map_err(rand_core::Error::new)
    }
}

#[cfg(test)]
mod tests;
