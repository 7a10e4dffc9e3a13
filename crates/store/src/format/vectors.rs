//! Test material: fixed nonces for vectors (in tests only; nothing else may choose a nonce), and a header.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use marblerun_recovery::{Party, RecoverySet, Scheme};
use marblerun_sealing::SlotKind;
use marblerun_state::Lineage;
use zeroize::Zeroizing;

use super::keys::{NONCE, Seal, TAG};
use super::{Dek, DekId, Header, Slot, WriteError};

/// Seals everything with one given nonce.
pub(super) struct FixedNonce {
    key: LessSafeKey,
    nonce: [u8; NONCE],
}

impl FixedNonce {
    pub(super) fn new(key: &[u8], nonce: [u8; NONCE]) -> Self {
        Self { key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap()), nonce }
    }
}

impl Seal for FixedNonce {
    fn seal(&self, aad: &[u8], plaintext: &mut [u8]) -> Result<([u8; NONCE], [u8; TAG]), WriteError> {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), plaintext).unwrap();
        Ok((self.nonce, tag.as_ref().try_into().unwrap()))
    }
}

/// `first`, `first + 1`, ...
pub(super) fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|i| first + i as u8)
}

/// A header with a recovery slot for the root `[9; 32]` under the key [`dek`].
pub(super) fn header() -> Header {
    let (dek, dek_id) = (dek(), DekId(counting(0xa0)));
    let slot = Slot::wrap(SlotKind::Recovery, &[9; 32], &dek, dek_id, "recovery", &[3; 16]).unwrap();
    let party = |name: &str, hash: u8| Party {
        name: name.to_owned(),
        public_key: vec![hash; 40],
        commitment: Some([hash; 32]),
        encrypted_secret: vec![hash; 50],
    };
    Header {
        lineage: Lineage { deployment_id: [1; 16], incarnation: 2, incarnation_id: [3; 16] },
        sequence: 5,
        previous_head: counting(0x11),
        dek_id,
        root_certificate: vec![0x30; 60],
        manifest_sha256: counting(0x33),
        time_ms: 1_700_000_000_000,
        writer: "test 1.0".to_owned(),
        slots: vec![slot],
        recovery: vec![RecoverySet {
            scheme: Scheme::Xor,
            threshold: 2,
            epoch: [3; 16],
            parties: vec![party("alice", 1), party("bob", 2)],
            unassigned_commitments: Vec::new(),
        }],
    }
}

/// Key of the test files.
pub(super) fn dek() -> Dek {
    Dek::from_bytes(Zeroizing::new(counting(0)))
}
