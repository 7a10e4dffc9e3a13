//! Keys and names of files, records and data encryption keys, and how one follows from the other.

use zeroize::Zeroizing;

use super::WriteError;

/// Head of a record: commits to everything in the file up to and including it.
pub type Head = [u8; 32];

/// The data encryption key. 32 random bytes; never in `Debug`.
#[derive(Clone)]
pub struct Dek(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Dek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dek(..)")
    }
}

/// Public name of a data encryption key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DekId(pub [u8; 16]);

/// Random name of one file, new for every file ever written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId(pub [u8; 32]);

/// What one file is sealed with: derived from the data encryption key and the file's name.
#[derive(Clone)]
pub struct FileKeys {
    _private: (),
}

impl Dek {
    /// A random key.
    ///
    /// # Errors
    /// If the random source fails.
    pub fn generate() -> Result<Self, WriteError> {
        todo!()
    }

    /// Wraps key bytes.
    #[must_use]
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The key bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl DekId {
    /// A random name.
    ///
    /// # Errors
    /// If the random source fails.
    pub fn generate() -> Result<Self, WriteError> {
        todo!()
    }
}
