//! `sealed_key`: host-bound slots and the witness.

use zeroize::Zeroizing;

use super::{Dek, DekId, Refusal, Slot, Witness, WitnessRecord, WriteError};

/// What a `sealed_key` file is.
#[derive(Debug)]
pub enum KeyFile {
    /// Ours.
    Ours(SealedKey),
    /// Upstream, no enclave: the bare data encryption key (16, 24 or 32 bytes).
    UpstreamKey(Zeroizing<Vec<u8>>),
    /// Upstream, sealed by an enclave or an HSM: cannot be opened here.
    UpstreamSealed(&'static str),
}

/// Content of our `sealed_key`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealedKey {
    /// One entry; two only while a DEK is being replaced.
    pub entries: Vec<KeyEntry>,
}

/// The slots of one DEK on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// Which DEK.
    pub dek_id: DekId,
    /// Alternatives.
    pub slots: Vec<Slot>,
    /// Written at genesis before `sealed_data` is in place: no trace by itself.
    pub pending: bool,
    /// Absent in Kubernetes, mandatory in the file backend.
    pub witness: Option<WitnessRecord>,
}

impl KeyFile {
    /// Reads any `sealed_key`.
    ///
    /// # Errors
    /// [`Refusal::NoKey`] (the file gives none: damaged or unknown), [`Refusal::NewerFormat`].
    pub fn decode(_bytes: &[u8]) -> Result<Self, Refusal> {
        todo!()
    }
}

impl SealedKey {
    /// All bytes of the file.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, WriteError> {
        todo!()
    }

    /// The entry of that DEK.
    #[must_use]
    pub fn entry(&self, dek_id: DekId) -> Option<&KeyEntry> {
        self.entries.iter().find(|entry| entry.dek_id == dek_id)
    }
}

impl KeyEntry {
    /// An entry; makes the MAC of the witness.
    #[must_use]
    pub fn new(dek_id: DekId, slots: Vec<Slot>, pending: bool, witness: Option<Witness>, dek: &Dek) -> Self {
        let witness = witness.map(|claim| WitnessRecord::new(claim, pending, dek, dek_id));
        Self { dek_id, slots, pending, witness }
    }

    /// The witness, if its MAC is right.
    #[must_use]
    pub fn verified_witness(&self, dek: &Dek) -> Option<&Witness> {
        self.witness.as_ref()?.verify(self.pending, dek, self.dek_id)
    }
}
