use super::super::Dek;
use super::super::vectors::{counting, header};
use super::*;
use marblerun_sealing::SlotKind;

#[test]
fn a_header_comes_back_as_it_was_written() {
    let header = header();
    assert_eq!(Header::decode(&header.encode().unwrap()).unwrap(), header);
}

#[test]
fn a_slot_that_is_bound_to_a_host_never_stands_in_a_header() {
    for kind in [SlotKind::Platform, SlotKind::Tpm, SlotKind::Cluster, SlotKind::Plain] {
        let mut header = header();
        header.slots.push(Slot::wrap(kind, &[1; 32], &Dek::generate().unwrap(), header.dek_id, "", &[]).unwrap());
        assert!(matches!(header.encode(), Err(WriteError::State(_))), "{kind:?}");
        let bytes = HeaderMessage::from(&header).encode_to_vec();
        assert!(matches!(Header::decode(&bytes), Err(Refusal::Damaged { .. })), "{kind:?}");
    }
}

#[test]
fn a_slot_of_a_kind_this_version_does_not_know_is_kept_and_opens_nothing() {
    let mut header = header();
    header.slots[0].kind = 77;
    let header = Header::decode(&header.encode().unwrap()).unwrap();
    assert_eq!(header.slots[0].kind(), None);
}

#[test]
fn fields_of_the_wrong_length_are_refused() {
    let spoil: [fn(&mut HeaderMessage); 9] = [
        |m| m.deployment_id.push(0),
        |m| m.incarnation_id.clear(),
        |m| m.previous_head.truncate(31),
        |m| m.dek_id.truncate(15),
        |m| m.manifest_sha256.push(1),
        |m| m.writer = "x".repeat(MAX_NAME + 1),
        |m| m.recovery[0].scheme = 4,
        |m| m.recovery[0].epoch.clear(),
        |m| m.recovery[0].parties[0].commitment.truncate(5),
    ];
    for (i, spoil) in spoil.into_iter().enumerate() {
        let mut message = HeaderMessage::from(&header());
        spoil(&mut message);
        assert!(matches!(Header::decode(&message.encode_to_vec()), Err(Refusal::Damaged { .. })), "{i}");
    }
}

#[test]
fn limits_hold_when_writing_and_when_reading() {
    let mut many = header();
    let slot = many.slots[0].clone();
    many.slots = vec![slot.clone(); MAX_SLOTS];
    assert!(many.encode().is_ok());
    many.slots.push(slot);
    assert!(matches!(many.encode(), Err(WriteError::State(_))));

    let mut many = header();
    let party = many.recovery[0].parties[0].clone();
    many.recovery[0].parties = vec![party.clone(); MAX_PARTIES];
    assert!(many.encode().is_ok());
    many.recovery[0].parties.push(party);
    assert!(matches!(many.encode(), Err(WriteError::State(_))));

    let mut large = header();
    large.root_certificate = vec![0; MAX_HEADER];
    assert!(matches!(large.encode(), Err(WriteError::TooLarge { .. })));
}

#[test]
fn a_flood_of_empty_entries_is_refused_before_it_takes_memory() {
    // Two bytes each on the wire, a hundred in memory.
    for key in [(11 << 3) | 2, (12 << 3) | 2] {
        let flood: Vec<u8> = std::iter::repeat_n([key, 0], MAX_HEADER / 2).flatten().collect();
        assert!(limits::check(&flood, &[Count { path: &[11], most: 32 }, Count { path: &[12], most: 2 }]).is_err());
        assert!(matches!(Header::decode(&flood), Err(Refusal::Damaged { .. })));
    }
    // The same, one level down: parties (4) and commitments (5) of one recovery set.
    for inner in [(4 << 3) | 2, (5 << 3) | 2] {
        let parties: Vec<u8> = std::iter::repeat_n([inner, 0], 300).flatten().collect();
        let mut bytes = vec![(12 << 3) | 2, 0xd8, 0x04];
        bytes.extend_from_slice(&parties);
        assert_eq!(limits::check(&bytes, &[Count { path: &[12], most: 2 }]), Ok(()));
        assert!(matches!(Header::decode(&bytes), Err(Refusal::Damaged { what, .. }) if what.contains("too many")));
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_header_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = Header::decode(&bytes);
    }

    #[test]
    fn a_header_with_changed_bytes_is_a_header_or_refused(at in 0_usize..2000, value: u8, cut in 0_usize..2000) {
        let mut bytes = header().encode().unwrap();
        let length = bytes.len();
        bytes[at % length] = value;
        let _ = Header::decode(&bytes);
        bytes.truncate(cut % length);
        let _ = Header::decode(&bytes);
    }
}

#[test]
fn commitments_that_are_not_known_stay_unknown() {
    let mut header = header();
    header.recovery[0].parties[0].commitment = None;
    header.recovery[0].unassigned_commitments = vec![counting(1), counting(2)];
    assert_eq!(Header::decode(&header.encode().unwrap()).unwrap(), header);
}
