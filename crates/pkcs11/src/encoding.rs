//! DER forms around what tokens answer: public keys, digests to sign, ECDSA signatures.

use const_oid::db::rfc5912::{
    ID_EC_PUBLIC_KEY, ID_SHA_256, ID_SHA_384, ID_SHA_512, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1, SECP_521_R_1,
};
use der::asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef};
use der::oid::ObjectIdentifier;
use der::{Decode as _, Encode as _, Sequence};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

/// An elliptic curve that TLS uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// From `CKA_EC_PARAMS`: the DER of a curve's name.
    pub(crate) fn from_parameters(parameters: &[u8]) -> Option<Self> {
        Self::from_oid(ObjectIdentifier::from_der(parameters).ok()?)
    }

    fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521].into_iter().find(|curve| curve.oid() == oid)
    }

    fn oid(self) -> ObjectIdentifier {
        match self {
            Self::P256 => SECP_256_R_1,
            Self::P384 => SECP_384_R_1,
            Self::P521 => SECP_521_R_1,
        }
    }

    /// Bytes of a coordinate.
    fn field_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// A hash function of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(crate) fn digest(self, message: &[u8]) -> Vec<u8> {
        use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
        let algorithm = match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        };
        digest(algorithm, message).as_ref().to_vec()
    }

    pub(crate) fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

#[derive(Sequence)]
struct DigestInfo<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    digest: &'a OctetStringRef,
}

#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// SubjectPublicKeyInfo of an RSA key.
pub(crate) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> der::Result<Vec<u8>> {
    let key = RsaPublicKey { modulus: UintRef::new(modulus)?, exponent: UintRef::new(exponent)? }.to_der()?;
    spki(AlgorithmIdentifierRef { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::NULL) }, &key)
}

/// SubjectPublicKeyInfo of an EC key, from `CKA_EC_POINT`.
pub(crate) fn ec_spki(curve: Curve, point: &[u8]) -> der::Result<Vec<u8>> {
    // The point stands in an octet string; some modules leave it bare. Both begin with the same byte.
    let bare = point.len() == 1 + 2 * curve.field_len();
    let point = if bare { point } else { <&OctetStringRef>::from_der(point)?.as_bytes() };
    let name = curve.oid();
    spki(AlgorithmIdentifierRef { oid: ID_EC_PUBLIC_KEY, parameters: Some(AnyRef::from(&name)) }, point)
}

fn spki(algorithm: AlgorithmIdentifierRef<'_>, key: &[u8]) -> der::Result<Vec<u8>> {
    SubjectPublicKeyInfoRef { algorithm, subject_public_key: BitStringRef::from_bytes(key)? }.to_der()
}

/// What a SubjectPublicKeyInfo says of its key.
pub(crate) enum PublicKind {
    /// RSA, with the bytes of the modulus.
    Rsa(usize),
    /// On a curve that TLS uses.
    Ec(Curve),
}

pub(crate) fn public_kind(spki: &[u8]) -> Option<PublicKind> {
    let info = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
    match info.algorithm.oid {
        RSA_ENCRYPTION => Some(PublicKind::Rsa(modulus(&info)?.len())),
        ID_EC_PUBLIC_KEY => {
            let name = info.algorithm.parameters?.decode_as::<ObjectIdentifier>().ok()?;
            Curve::from_oid(name).map(PublicKind::Ec)
        }
        _ => None,
    }
}

/// Whether the integer of a ciphertext is within the range of an RSA key (RFC 8017, 5.1.2). Both are as long as the modulus.
pub(crate) fn is_in_range(ciphertext: &[u8], spki: &[u8]) -> bool {
    let info = SubjectPublicKeyInfoRef::from_der(spki).ok();
    let modulus = info.as_ref().and_then(modulus);
    modulus.is_some_and(|modulus| ciphertext.len() == modulus.len() && ciphertext < modulus)
}

/// The modulus of an RSA key, without leading zeros.
fn modulus<'a>(info: &SubjectPublicKeyInfoRef<'a>) -> Option<&'a [u8]> {
    let key = RsaPublicKey::from_der(info.subject_public_key.as_bytes()?).ok()?;
    Some(key.modulus.as_bytes())
}

/// What RSASSA-PKCS1-v1_5 signs (RFC 8017, 9.2).
pub(crate) fn digest_info(hash: Hash, digest: &[u8]) -> der::Result<Vec<u8>> {
    let oid = match hash {
        Hash::Sha256 => ID_SHA_256,
        Hash::Sha384 => ID_SHA_384,
        Hash::Sha512 => ID_SHA_512,
    };
    let algorithm = AlgorithmIdentifierRef { oid, parameters: Some(AnyRef::NULL) };
    DigestInfo { algorithm, digest: OctetStringRef::new(digest)? }.to_der()
}

/// The signature as X.509 and TLS write it, from the two halves that a token answers.
pub(crate) fn ecdsa_signature(halves: &[u8]) -> der::Result<Vec<u8>> {
    let (r, s) = halves.split_at(halves.len() / 2);
    EcdsaSignature { r: UintRef::new(r)?, s: UintRef::new(s)? }.to_der()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_info_is_the_prefix_of_rfc_8017_and_the_digest() {
        let digest = Hash::Sha256.digest(b"x");
        let prefix = hex::decode("3031300d060960864801650304020105000420").unwrap();
        assert_eq!(digest_info(Hash::Sha256, &digest).unwrap(), [prefix, digest].concat());
        for hash in [Hash::Sha384, Hash::Sha512] {
            assert_eq!(hash.digest(b"x").len(), hash.len());
        }
    }

    #[test]
    fn signature_halves_become_positive_integers_without_leading_zeros() {
        let der = ecdsa_signature(&[0, 0, 0x80, 0, 0, 1]).unwrap();
        assert_eq!(der, [0x30, 7, 2, 2, 0, 0x80, 2, 1, 1]);
    }

    #[test]
    fn a_ciphertext_beyond_the_modulus_is_out_of_range() {
        let modulus = [&[0xc0][..], &[5; 127]].concat();
        let spki = rsa_spki(&modulus, &[1, 0, 1]).unwrap();
        let mut ciphertext = modulus.clone();
        assert!(!is_in_range(&ciphertext, &spki));
        ciphertext[127] -= 1;
        assert!(is_in_range(&ciphertext, &spki));
        assert!(!is_in_range(&[0xff; 128], &spki) && is_in_range(&[0; 128], &spki));
        assert!(!is_in_range(&[0; 127], &spki));
    }

    #[test]
    fn a_point_is_read_bare_and_wrapped() {
        let bare = [&[4u8][..], &[7; 64]].concat();
        let wrapped = [&[4u8, 65][..], &bare].concat();
        let spki = ec_spki(Curve::P256, &bare).unwrap();
        assert_eq!(ec_spki(Curve::P256, &wrapped).unwrap(), spki);
        assert!(matches!(public_kind(&spki), Some(PublicKind::Ec(Curve::P256))));
        assert!(ec_spki(Curve::P384, &bare).is_err());
    }

    #[test]
    fn a_public_key_is_known_again() {
        let spki = rsa_spki(&[&[0, 0xc0][..], &[1; 127]].concat(), &[1, 0, 1]).unwrap();
        assert!(matches!(public_kind(&spki), Some(PublicKind::Rsa(128))));
        assert!(public_kind(b"junk").is_none());
    }
}
