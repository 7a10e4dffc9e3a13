//! The witness: the newest state this host vouches for, kept in `sealed_key` under a MAC of the DEK.

use super::{Dek, DekId, Head, Opened};

/// The newest state a host vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Incarnation of that state.
    pub incarnation: u64,
    /// Its random name.
    pub incarnation_id: [u8; 16],
    /// Its sequence.
    pub sequence: u64,
    /// Heads it may have at that sequence: one, or two while a file is being replaced.
    pub heads: Vec<Head>,
}

/// A witness as it stands in the file, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessRecord {
    /// The claim.
    pub claim: Witness,
    /// HMAC-SHA256 under a key of the DEK.
    pub mac: Vec<u8>,
}

/// What the witness says about an opened file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The file has the witnessed state.
    Fine,
    /// The file ends before the witnessed state.
    OlderThanWitness,
    /// The file does not have the witnessed state.
    Forked,
    /// There is no witness, or its MAC is wrong.
    NoWitness,
}

impl WitnessRecord {
    /// Makes the MAC.
    #[must_use]
    pub fn new(_claim: Witness, _pending: bool, _dek: &Dek, _dek_id: DekId) -> Self {
        todo!()
    }

    /// The claim, if the MAC is right (constant time).
    #[must_use]
    pub fn verify(&self, _pending: bool, _dek: &Dek, _dek_id: DekId) -> Option<&Witness> {
        todo!()
    }
}

/// Compares an opened file with the witness. The file must have been opened with
/// `head_at = Some(witness.sequence)`, so that the head there is known. `None`: missing or forged.
#[must_use]
pub fn check_witness(_opened: &Opened, _witness: Option<&Witness>) -> Verdict {
    todo!()
}
