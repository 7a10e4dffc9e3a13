//! The witness: the newest state this host vouches for, kept in `sealed_key` under a MAC of the DEK.
//!
//! It tells an older copy and one that was continued elsewhere from this host's own state.

use aws_lc_rs::hmac;

use super::keys::hkdf;
use super::{Dek, DekId, Head, Opened};

const LABEL: &[u8] = b"marblerun witness v1";

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
    /// The monotonic counter that tells the newest witness from all before it, if there is one.
    pub counter: Option<CounterMark>,
}

/// The value that a counter outside of the files has, or is about to have, where a witness is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterMark {
    /// Public name of the counter.
    pub id: [u8; 16],
    /// Its value.
    pub value: u64,
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
    /// Makes the MAC. Should the crypto library fail, the MAC is empty and will not verify.
    #[must_use]
    pub fn new(claim: Witness, pending: bool, dek: &Dek, dek_id: DekId) -> Self {
        let mac = mac_key(dek, dek_id)
            .map(|key| hmac::sign(&key, &authenticated(&claim, pending)).as_ref().to_vec())
            .unwrap_or_default();
        Self { claim, mac }
    }

    /// The claim, if the MAC is right (constant time).
    #[must_use]
    pub fn verify(&self, pending: bool, dek: &Dek, dek_id: DekId) -> Option<&Witness> {
        let key = mac_key(dek, dek_id)?;
        hmac::verify(&key, &authenticated(&self.claim, pending), &self.mac).ok().map(|()| &self.claim)
    }
}

/// Compares an opened file with the witness. The file must have been opened with
/// `head_at = Some(witness.sequence)`, so that the head there is known. `None`: missing or forged.
#[must_use]
pub fn check_witness(opened: &Opened, witness: Option<&Witness>) -> Verdict {
    let Some(witness) = witness else { return Verdict::NoWitness };
    if witness.sequence > opened.tail.sequence {
        return Verdict::OlderThanWitness;
    }
    let in_file = opened.head_at.filter(|(sequence, _)| *sequence == witness.sequence).map(|(_, head)| head);
    // The file this one continues ended in the state of the snapshot.
    let before = (opened.header.sequence == witness.sequence).then_some(opened.header.previous_head);
    if in_file.iter().chain(&before).any(|head| witness.heads.contains(head)) { Verdict::Fine } else { Verdict::Forked }
}

fn mac_key(dek: &Dek, dek_id: DekId) -> Option<hmac::Key> {
    let key = hkdf(&dek_id.0, dek.expose(), &[LABEL]).ok()?;
    Some(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
}

fn authenticated(claim: &Witness, pending: bool) -> Vec<u8> {
    let mut bytes = LABEL.to_vec();
    bytes.push(pending.into());
    bytes.extend_from_slice(&claim.incarnation.to_le_bytes());
    bytes.extend_from_slice(&claim.incarnation_id);
    bytes.extend_from_slice(&claim.sequence.to_le_bytes());
    claim.heads.iter().for_each(|head| bytes.extend_from_slice(head));
    // 24 bytes, which no number of heads has: with and without a counter are never the same bytes.
    if let Some(CounterMark { id, value }) = &claim.counter {
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::super::vectors::counting;
    use super::*;

    fn vector() -> (WitnessRecord, Dek, DekId) {
        let (dek, dek_id) = (Dek::from_bytes(Zeroizing::new(counting(0))), DekId(counting(0xa0)));
        let claim = Witness {
            incarnation: 3,
            incarnation_id: counting(0),
            sequence: 7,
            heads: vec![counting(0)],
            counter: None,
        };
        (WitnessRecord::new(claim, false, &dek, dek_id), dek, dek_id)
    }

    #[test]
    fn a_mac_is_that_of_the_vectors() {
        let (record, dek, dek_id) = vector();
        assert_eq!(hex::encode(&record.mac), "3ae9ed3af52e2868b490e67600137c6dda88529dcbf9810c0917ec37e0179142");
        assert_eq!(record.verify(false, &dek, dek_id), Some(&record.claim));
    }

    #[test]
    fn the_counter_is_authenticated() {
        let (record, dek, dek_id) = vector();
        let claim = Witness { counter: Some(CounterMark { id: counting(0x40), value: 5 }), ..record.claim };
        let record = WitnessRecord::new(claim, false, &dek, dek_id);
        assert_eq!(hex::encode(&record.mac), "1dc4ab3de6f501f02f075de8ab4ac198cf692937a823c82e48d1db891935eb85");
        assert!(record.verify(false, &dek, dek_id).is_some());
        let others = [
            None,
            Some(CounterMark { id: counting(0x40), value: 6 }),
            Some(CounterMark { id: counting(0x41), value: 5 }),
        ];
        for counter in others {
            let claim = Witness { counter, ..record.claim.clone() };
            assert!(WitnessRecord { claim, ..record.clone() }.verify(false, &dek, dek_id).is_none(), "{counter:?}");
        }
    }

    #[test]
    fn a_witness_with_anything_changed_is_none() {
        let (record, dek, dek_id) = vector();
        let refused = |change: &dyn Fn(&mut WitnessRecord)| {
            let mut changed = record.clone();
            change(&mut changed);
            changed.verify(false, &dek, dek_id).is_none()
        };
        assert!(record.verify(true, &dek, dek_id).is_none(), "pending");
        assert!(record.verify(false, &Dek::generate().unwrap(), dek_id).is_none(), "key");
        assert!(record.verify(false, &dek, DekId(counting(0xa1))).is_none(), "name of the key");
        assert!(refused(&|r| r.claim.incarnation = 4));
        assert!(refused(&|r| r.claim.incarnation_id[3] ^= 1));
        assert!(refused(&|r| r.claim.sequence = 6));
        assert!(refused(&|r| r.claim.heads.clear()));
        assert!(refused(&|r| r.claim.heads.push([0; 32])));
        assert!(refused(&|r| r.claim.counter = Some(CounterMark { id: [0; 16], value: 0 })));
        assert!(refused(&|r| r.mac[0] ^= 1));
        assert!(refused(&|r| r.mac.truncate(16)));
        assert!(refused(&|r| r.mac.clear()));
    }
}
