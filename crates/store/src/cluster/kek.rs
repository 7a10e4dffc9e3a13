//! The key encryption key: opens the slots of kind 7 in `sealed_key`, and so the data encryption key.

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::digest::beginning;
use crate::format::WriteError;

/// Public name of a KEK: the first 16 bytes of HMAC-SHA-256(KEK, "kek id") (cluster protocol, section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KekId(pub [u8; 16]);

/// A key encryption key: 32 random bytes, shared among the instances of a deployment.
#[derive(Clone)]
pub struct Kek(Zeroizing<[u8; 32]>);

impl Kek {
    /// A new one.
    ///
    /// # Errors
    /// [`WriteError::Crypto`] if the random source fails.
    pub fn generate() -> Result<Self, WriteError> {
        let mut bytes = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut bytes[..]).map_err(|_| WriteError::Crypto("random source"))?;
        Ok(Self(bytes))
    }

    /// From its 32 bytes; `None` if there are more or fewer.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        <[u8; 32]>::try_from(bytes).ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> KekId {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0[..]), b"kek id");
        KekId(beginning(tag.as_ref()))
    }
}

impl PartialEq for Kek {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0[..]).into()
    }
}

impl Eq for Kek {}

impl std::fmt::Debug for Kek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kek({})", hex::encode(self.id().0))
    }
}
