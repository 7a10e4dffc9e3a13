//! A private key on a token: what kind it is, and its raw operations.

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::types::Ulong;

use crate::encoding::{Curve, Hash, digest_info, ecdsa_signature};
use crate::{Pkcs11Error, Token};

/// A private key on a token. Holds the token open.
pub struct PrivateKey {
    pub(crate) token: Token,
    pub(crate) handle: ObjectHandle,
    pub(crate) kind: Kind,
    /// SubjectPublicKeyInfo, if the token has it.
    pub(crate) public: Option<Vec<u8>>,
}

/// What a key is, with what its use needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa { modulus_len: usize },
    Ec(Curve),
}

/// What a key can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Signing and decrypting.
    Rsa,
    /// Signing.
    Ec,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").field("token", &self.token).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// RSA or elliptic curve.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        match self.kind {
            Kind::Rsa { .. } => KeyKind::Rsa,
            Kind::Ec(_) => KeyKind::Ec,
        }
    }

    /// SubjectPublicKeyInfo (DER) of the public half, if the token has it.
    #[must_use]
    pub fn public_key(&self) -> Option<&[u8]> {
        self.public.as_deref()
    }

    /// RSASSA-PKCS1-v1_5.
    pub(crate) fn sign_pkcs1(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        const DOING: &str = "signing on the token (RSA PKCS#1 v1.5)";
        let info = digest_info(hash, &hash.digest(message)).map_err(|e| Pkcs11Error::answer(DOING, e))?;
        self.sign(DOING, &Mechanism::RsaPkcs, &info)
    }

    /// RSASSA-PSS, with a salt as long as the hash, as TLS has it.
    pub(crate) fn sign_pss(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        const DOING: &str = "signing on the token (RSA-PSS, which TLS 1.3 asks of RSA keys)";
        let (hash_alg, mgf) = match hash {
            Hash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
            Hash::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384),
            Hash::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512),
        };
        let s_len = Ulong::try_from(hash.len()).map_err(|e| Pkcs11Error::answer(DOING, e))?;
        let mechanism = Mechanism::RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len });
        self.sign(DOING, &mechanism, &hash.digest(message))
    }

    /// ECDSA, DER.
    pub(crate) fn sign_ecdsa(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        const DOING: &str = "signing on the token (ECDSA)";
        let halves = self.sign(DOING, &Mechanism::Ecdsa, &hash.digest(message))?;
        ecdsa_signature(&halves).map_err(|e| Pkcs11Error::answer(DOING, e))
    }

    fn sign(&self, doing: &'static str, mechanism: &Mechanism<'_>, data: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        self.token.with(|session| session.sign(mechanism, self.handle, data).map_err(Pkcs11Error::call(doing)))
    }
}
