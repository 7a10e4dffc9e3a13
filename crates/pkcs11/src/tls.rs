//! A key on a token as the key of a TLS client.

use std::sync::Arc;

use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::SubjectPublicKeyInfoDer;

use crate::encoding::{Curve, Hash};
use crate::private_key::Kind;
use crate::{Pkcs11Error, PrivateKey};

/// A private key on a token, for `rustls`. Each handshake is one signature, made while the handshake waits.
#[derive(Debug, Clone)]
pub struct TlsKey(Arc<PrivateKey>);

impl From<PrivateKey> for TlsKey {
    fn from(key: PrivateKey) -> Self {
        Self(Arc::new(key))
    }
}

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = schemes(self.0.kind).into_iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(TokenSigner { key: self.0.clone(), scheme }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.0.public_key().map(SubjectPublicKeyInfoDer::from)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.kind {
            Kind::Rsa { .. } => SignatureAlgorithm::RSA,
            Kind::Ec(_) => SignatureAlgorithm::ECDSA,
        }
    }
}

/// What a key can sign with, best first.
fn schemes(kind: Kind) -> Vec<SignatureScheme> {
    match kind {
        Kind::Rsa { modulus_len } => [
            (SignatureScheme::RSA_PSS_SHA256, Hash::Sha256),
            (SignatureScheme::RSA_PSS_SHA384, Hash::Sha384),
            (SignatureScheme::RSA_PSS_SHA512, Hash::Sha512),
        ]
        .into_iter()
        // RFC 8017, 9.1.1: hash, salt and two bytes.
        .filter(|(_, hash)| 2 * hash.len() + 2 <= modulus_len)
        .map(|(scheme, _)| scheme)
        .chain([
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
        ])
        .collect(),
        Kind::Ec(Curve::P256) => vec![SignatureScheme::ECDSA_NISTP256_SHA256],
        Kind::Ec(Curve::P384) => vec![SignatureScheme::ECDSA_NISTP384_SHA384],
        Kind::Ec(Curve::P521) => vec![SignatureScheme::ECDSA_NISTP521_SHA512],
    }
}

#[derive(Debug)]
struct TokenSigner {
    key: Arc<PrivateKey>,
    scheme: SignatureScheme,
}

impl TokenSigner {
    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        match self.scheme {
            SignatureScheme::RSA_PSS_SHA256 => self.key.sign_pss(Hash::Sha256, message),
            SignatureScheme::RSA_PSS_SHA384 => self.key.sign_pss(Hash::Sha384, message),
            SignatureScheme::RSA_PSS_SHA512 => self.key.sign_pss(Hash::Sha512, message),
            SignatureScheme::RSA_PKCS1_SHA256 => self.key.sign_pkcs1(Hash::Sha256, message),
            SignatureScheme::RSA_PKCS1_SHA384 => self.key.sign_pkcs1(Hash::Sha384, message),
            SignatureScheme::RSA_PKCS1_SHA512 => self.key.sign_pkcs1(Hash::Sha512, message),
            SignatureScheme::ECDSA_NISTP256_SHA256 => self.key.sign_ecdsa(Hash::Sha256, message),
            SignatureScheme::ECDSA_NISTP384_SHA384 => self.key.sign_ecdsa(Hash::Sha384, message),
            SignatureScheme::ECDSA_NISTP521_SHA512 => self.key.sign_ecdsa(Hash::Sha512, message),
            other => Err(Pkcs11Error::KeyKind(format!("no key on a token signs with {other:?}"))),
        }
    }
}

impl Signer for TokenSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.signature(message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_rsa_key_offers_only_what_fits_into_it() {
        let small = schemes(Kind::Rsa { modulus_len: 128 });
        assert!(!small.contains(&SignatureScheme::RSA_PSS_SHA512) && small.contains(&SignatureScheme::RSA_PSS_SHA384));
        assert!(schemes(Kind::Rsa { modulus_len: 256 }).contains(&SignatureScheme::RSA_PSS_SHA512));
    }

    #[test]
    fn tls_1_3_comes_before_what_only_tls_1_2_knows() {
        let all = schemes(Kind::Rsa { modulus_len: 256 });
        let at = |scheme| all.iter().position(|other| *other == scheme);
        assert!(at(SignatureScheme::RSA_PSS_SHA512) < at(SignatureScheme::RSA_PKCS1_SHA256));
    }
}
