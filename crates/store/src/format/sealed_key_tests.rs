use marblerun_sealing::SlotKind;

use super::super::vectors::{counting, dek};
use super::*;

fn entry(pending: bool) -> KeyEntry {
    let dek_id = DekId(counting(0xa0));
    let slot = Slot::wrap(SlotKind::Plain, &[5; 32], &dek(), dek_id, "plain", &[5; 32]).unwrap();
    let heads = vec![[7; 32], [8; 32]];
    let witness = Witness { incarnation: 1, incarnation_id: [2; 16], sequence: 9, heads, counter: None };
    KeyEntry::new(dek_id, vec![slot], pending, Some(witness), &dek())
}

fn ours(bytes: &[u8]) -> Option<SealedKey> {
    match KeyFile::decode(bytes) {
        Ok(KeyFile::Ours(key)) => Some(key),
        _ => None,
    }
}

#[test]
fn a_sealed_key_comes_back_as_it_was_written() {
    let absent = KeyEntry { witness: None, dek_id: DekId([4; 16]), ..entry(false) };
    for key in [SealedKey { entries: vec![entry(true)] }, SealedKey { entries: vec![entry(false), absent] }] {
        let bytes = key.encode().unwrap();
        assert_eq!(
            &bytes[..16],
            [b"MRSKEY\r\n".as_slice(), &[1, 0, 0, 0], &(bytes.len() as u32 - 20).to_le_bytes()].concat()
        );
        assert_eq!(ours(&bytes).unwrap(), key);
    }
}

#[test]
fn a_counter_in_the_witness_comes_back_and_a_malformed_one_gives_no_key() {
    let mut counted = entry(false);
    counted.witness.as_mut().unwrap().claim.counter = Some(CounterMark { id: [6; 16], value: 1 << 40 });
    let key = SealedKey { entries: vec![counted] };
    assert_eq!(ours(&key.encode().unwrap()).unwrap(), key);
    for counter_id in [Vec::new(), vec![6; 15], vec![6; 17]] {
        let message = EntryMessage { counter_id, ..EntryMessage::from(&key.entries[0]) };
        assert_eq!(KeyEntry::try_from(message), Err("has a malformed witness"));
    }
}

#[test]
fn the_entry_of_a_key_opens_it_and_vouches_for_a_state() {
    let key = SealedKey { entries: vec![entry(false)] };
    let found = key.entry(DekId(counting(0xa0))).unwrap();
    assert!(key.entry(DekId([0; 16])).is_none());
    let opened = found.slots[0].unwrap(&found.slots[0].params, found.dek_id).unwrap();
    assert_eq!(opened.expose(), dek().expose());
    assert_eq!(found.verified_witness(&opened).unwrap().sequence, 9);
    assert!(found.verified_witness(&Dek::generate().unwrap()).is_none());
    let promoted = KeyEntry { pending: true, ..found.clone() };
    assert!(promoted.verified_witness(&opened).is_none(), "pending is authenticated");
}

#[test]
fn every_truncation_and_every_changed_byte_gives_no_key() {
    let bytes = SealedKey { entries: vec![entry(false)] }.encode().unwrap();
    for cut in 0..bytes.len() {
        // 16, 24 and 32 bytes of anything but our magic would be upstream's bare key.
        assert!(matches!(KeyFile::decode(&bytes[..cut]), Err(Refusal::NoKey { .. })), "{cut}");
    }
    for i in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[i] ^= 0x20;
        assert!(matches!(KeyFile::decode(&changed), Err(Refusal::NoKey { .. })), "{i}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(ours(&longer).is_none());
}

#[test]
fn what_upstream_writes_is_recognised() {
    for length in [16, 24, 32] {
        assert!(matches!(KeyFile::decode(&vec![3; length]), Ok(KeyFile::UpstreamKey(key)) if key.len() == length));
    }
    for length in [0, 1, 15, 17, 33, 60] {
        assert!(matches!(KeyFile::decode(&vec![3; length]), Err(Refusal::NoKey { .. })));
    }
    let hsm = [b"HSM_SEALED".as_slice(), &[1; 60]].concat();
    assert!(matches!(KeyFile::decode(&hsm), Ok(KeyFile::UpstreamHsm(_))));
    for info in [512_usize, 1024] {
        let blob = [(info as u32).to_le_bytes().as_slice(), &vec![1; info + 12 + 32 + 16]].concat();
        assert!(matches!(KeyFile::decode(&blob), Ok(KeyFile::UpstreamSealed(_))));
    }
}

#[test]
fn limits_hold_when_writing_and_when_reading() {
    let three = SealedKey { entries: vec![entry(false), entry(false), entry(false)] };
    assert!(matches!(three.encode(), Err(WriteError::TooLarge { .. })));
    let mut many = entry(false);
    many.slots = vec![many.slots[0].clone(); MAX_SLOTS + 1];
    assert!(matches!(SealedKey { entries: vec![many] }.encode(), Err(WriteError::TooLarge { .. })));

    let flood: Vec<u8> = std::iter::repeat_n([(1 << 3) | 2, 0], 1 << 20).flatten().collect();
    let mut bytes = [MAGIC.as_slice(), &[1, 0, 0, 0], &(flood.len() as u32).to_le_bytes(), &flood].concat();
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    assert!(matches!(KeyFile::decode(&bytes), Err(Refusal::NoKey { reason }) if reason.contains("too many")));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = KeyFile::decode(&bytes);
        let _ = KeyFile::decode(&[MAGIC.as_slice(), &bytes].concat());
    }
}
