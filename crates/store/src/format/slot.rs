//! Key slots: the data encryption key, wrapped under one slot secret each.

use marblerun_sealing::SlotKind;

use super::{Dek, DekId, WriteError};

/// One wrapped copy of the data encryption key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Number of the kind as stored; see [`Slot::kind`].
    pub kind: u32,
    /// Fresh at every wrapping.
    pub salt: [u8; 32],
    /// Nonce, ciphertext, tag.
    pub wrapped: [u8; 60],
    /// For people.
    pub label: String,
    /// What the backend needs to find the slot secret again; the epoch of its set for a recovery slot.
    pub params: Vec<u8>,
}

impl Slot {
    /// Wraps `dek` under `secret`, with a fresh salt.
    ///
    /// # Errors
    /// If the random source fails, or `params` or `label` is too long.
    pub fn wrap(
        _kind: SlotKind,
        _secret: &[u8],
        _dek: &Dek,
        _dek_id: DekId,
        _label: &str,
        _params: &[u8],
    ) -> Result<Self, WriteError> {
        todo!()
    }

    /// The kind, if this version knows it.
    #[must_use]
    pub fn kind(&self) -> Option<SlotKind> {
        SlotKind::from_number(self.kind)
    }

    /// Unwraps with a candidate secret. `None`: not the secret of this slot. O(1).
    #[must_use]
    pub fn unwrap(&self, _secret: &[u8], _dek_id: DekId) -> Option<Dek> {
        todo!()
    }
}
