//! The header: readable by anyone, decides nothing once the state is open (an exact copy stands inside).

use marblerun_recovery::RecoverySet;
use marblerun_state::Lineage;

use super::{DekId, Head, Refusal, Slot, WriteError};

/// The header of `sealed_data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Deployment and incarnation.
    pub lineage: Lineage,
    /// Sequence number of the snapshot.
    pub sequence: u64,
    /// Head of the file this one continues; zeros at genesis.
    pub previous_head: Head,
    /// Name of the data encryption key.
    pub dek_id: DekId,
    /// DER.
    pub root_certificate: Vec<u8>,
    /// SHA-256 of the manifest in force at the snapshot.
    pub manifest_sha256: [u8; 32],
    /// When the file was begun, Unix milliseconds.
    pub time_ms: i64,
    /// Program and version that wrote it.
    pub writer: String,
    /// Portable slots: recovery, PKCS#11, KMS, passphrase.
    pub slots: Vec<Slot>,
    /// Recovery sets in force; each has its slot.
    pub recovery: Vec<RecoverySet>,
}

impl Header {
    /// Encodes as protobuf, within the limits.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`] which limit is passed.
    pub fn encode(&self) -> Result<Vec<u8>, WriteError> {
        todo!()
    }

    /// Decodes and checks lengths and limits.
    ///
    /// # Errors
    /// [`Refusal::Damaged`].
    pub fn decode(_bytes: &[u8]) -> Result<Self, Refusal> {
        todo!()
    }
}
