//! Fresh key pairs of every type a secret may have, in the encodings Marbles expect: PKCS#8 and
//! SubjectPublicKeyInfo, to the byte as Go's `crypto/x509` writes them.

use aws_lc_rs::encoding::{AsBigEndian, AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, SECP_224_R_1, SECP_256_R_1, SECP_384_R_1, SECP_521_R_1};
use const_oid::db::rfc8410::ID_ED_25519;
use der::Encode;
use der::asn1::{AnyRef, BitStringRef, OctetStringRef};
use pkcs8::PrivateKeyInfoRef;
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use zeroize::Zeroizing;

use crate::PkiError;

/// What kind of key pair to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// RSA with a modulus of that many bits, e = 65537.
    Rsa(usize),
    /// A NIST curve.
    Ec(Curve),
    /// Ed25519.
    Ed25519,
}

/// A NIST curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P224,
    P256,
    P384,
    P521,
}

impl Curve {
    pub(crate) fn oid(self) -> ObjectIdentifier {
        match self {
            Self::P224 => SECP_224_R_1,
            Self::P256 => SECP_256_R_1,
            Self::P384 => SECP_384_R_1,
            Self::P521 => SECP_521_R_1,
        }
    }
}

/// A key pair as it is handed out.
pub(crate) struct KeyPair {
    /// PKCS#8 DER.
    pub(crate) private: Zeroizing<Vec<u8>>,
    /// SubjectPublicKeyInfo DER.
    pub(crate) public: Vec<u8>,
}

impl KeyPair {
    /// Makes one. CPU-heavy for RSA.
    pub(crate) fn generate(kind: KeyKind) -> Result<Self, PkiError> {
        match kind {
            KeyKind::Rsa(bits) => generate_rsa(bits),
            KeyKind::Ec(Curve::P224) => generate_p224(),
            KeyKind::Ec(Curve::P256) => generate_ec(Curve::P256, &ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyKind::Ec(Curve::P384) => generate_ec(Curve::P384, &ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyKind::Ec(Curve::P521) => generate_ec(Curve::P521, &ECDSA_P521_SHA512_ASN1_SIGNING),
            KeyKind::Ed25519 => generate_ed25519(),
        }
    }
}

fn generate_ec(curve: Curve, algorithm: &'static EcdsaSigningAlgorithm) -> Result<KeyPair, PkiError> {
    let pair = EcdsaKeyPair::generate(algorithm).map_err(|_| PkiError::Crypto("EC key generation"))?;
    let scalar = pair.private_key().as_be_bytes().map_err(|_| PkiError::Crypto("EC key export"))?;
    let point = pair.public_key().as_ref();
    Ok(KeyPair { private: ec_pkcs8(curve, scalar.as_ref(), point)?, public: ec_spki(curve, point)? })
}

/// P-224 is the one curve the TLS crypto library lacks.
fn generate_p224() -> Result<KeyPair, PkiError> {
    use p224::elliptic_curve::sec1::ToSec1Point;
    // Uniform by rejection; a random 28-byte string is at least the group order with probability 2^-112.
    for _ in 0..4 {
        let mut scalar = Zeroizing::new([0u8; 28]);
        aws_lc_rs::rand::fill(scalar.as_mut_slice()).map_err(|_| PkiError::Crypto("random source"))?;
        let Ok(secret) = p224::SecretKey::from_slice(scalar.as_slice()) else { continue };
        let point = secret.public_key().to_sec1_point(false);
        return Ok(KeyPair {
            private: ec_pkcs8(Curve::P224, scalar.as_slice(), point.as_bytes())?,
            public: ec_spki(Curve::P224, point.as_bytes())?,
        });
    }
    Err(PkiError::Crypto("P-224 key generation"))
}

fn generate_ed25519() -> Result<KeyPair, PkiError> {
    let pair = Ed25519KeyPair::generate().map_err(|_| PkiError::Crypto("Ed25519 key generation"))?;
    let seed = pair.seed().map_err(|_| PkiError::Crypto("Ed25519 key export"))?;
    let seed = seed.as_be_bytes().map_err(|_| PkiError::Crypto("Ed25519 key export"))?;
    let algorithm = AlgorithmIdentifierRef { oid: ID_ED_25519, parameters: None };
    let inner = Zeroizing::new(OctetStringRef::new(seed.as_ref())?.to_der()?);
    let private = PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(&inner)?).to_der()?;
    let point = BitStringRef::from_bytes(pair.public_key().as_ref())?;
    let public = SubjectPublicKeyInfoRef { algorithm, subject_public_key: point }.to_der()?;
    Ok(KeyPair { private: Zeroizing::new(private), public })
}

fn generate_rsa(bits: usize) -> Result<KeyPair, PkiError> {
    let size = match bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        4096 => KeySize::Rsa4096,
        8192 => KeySize::Rsa8192,
        _ => return generate_odd_rsa(bits),
    };
    let pair = RsaKeyPair::generate(size).map_err(|_| PkiError::Crypto("RSA key generation"))?;
    let private = AsDer::<Pkcs8V1Der>::as_der(&pair).map_err(|_| PkiError::Crypto("RSA key export"))?;
    let public =
        AsDer::<PublicKeyX509Der>::as_der(pair.public_key()).map_err(|_| PkiError::Crypto("RSA key export"))?;
    Ok(KeyPair { private: Zeroizing::new(private.as_ref().to_vec()), public: public.as_ref().to_vec() })
}

/// Sizes the TLS crypto library does not make. That crate only makes the key; it never computes with it.
fn generate_odd_rsa(bits: usize) -> Result<KeyPair, PkiError> {
    use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey};
    let key = rsa::RsaPrivateKey::new(&mut LibraryRng, bits).map_err(|_| PkiError::Crypto("RSA key generation"))?;
    let private = key.to_pkcs8_der().map_err(|_| PkiError::Crypto("RSA key export"))?;
    let public = key.to_public_key().to_public_key_der().map_err(|_| PkiError::Crypto("RSA key export"))?;
    Ok(KeyPair { private: Zeroizing::new(private.as_bytes().to_vec()), public: public.as_bytes().to_vec() })
}

/// The one random source, in the form the `rsa` crate wants.
struct LibraryRng;

impl rsa::rand_core::CryptoRng for LibraryRng {}

impl rsa::rand_core::RngCore for LibraryRng {
    fn next_u32(&mut self) -> u32 {
        rsa::rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rsa::rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        // The library's source cannot fail once it is seeded (it ends the process instead), and the trait
        // has no way to say so; a weak key must never come out of here, so the same is done.
        if self.try_fill_bytes(dest).is_err() {
            std::process::abort();
        }
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        aws_lc_rs::rand::fill(dest).map_err(rsa::rand_core::Error::new)
    }
}

/// SEC 1 `ECPrivateKey` with public key; with curve parameters where nothing around it names the curve.
pub(crate) fn ec_sec1(
    curve: Curve,
    scalar: &[u8],
    point: &[u8],
    parameters: bool,
) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let key = sec1::EcPrivateKey {
        private_key: scalar,
        parameters: parameters.then(|| sec1::EcParameters::NamedCurve(curve.oid())),
        public_key: Some(point),
    };
    Ok(Zeroizing::new(key.to_der()?))
}

/// PKCS#8, inner key without parameters and with public key.
pub(crate) fn ec_pkcs8(curve: Curve, scalar: &[u8], point: &[u8]) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let inner = ec_sec1(curve, scalar, point, false)?;
    let oid = curve.oid();
    let algorithm = AlgorithmIdentifierRef { oid: ID_EC_PUBLIC_KEY, parameters: Some(AnyRef::from(&oid)) };
    Ok(Zeroizing::new(PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(&inner)?).to_der()?))
}

/// SubjectPublicKeyInfo of an uncompressed point.
pub(crate) fn ec_spki(curve: Curve, point: &[u8]) -> Result<Vec<u8>, PkiError> {
    let oid = curve.oid();
    let algorithm = AlgorithmIdentifierRef { oid: ID_EC_PUBLIC_KEY, parameters: Some(AnyRef::from(&oid)) };
    Ok(SubjectPublicKeyInfoRef { algorithm, subject_public_key: BitStringRef::from_bytes(point)? }.to_der()?)
}
