use super::super::vectors::{dek, header};
use super::*;

fn front(marked: bool, signature: Vec<u8>) -> (Front, Vec<u8>) {
    let file_id = FileId::generate().unwrap();
    let keys = FileKeys::derive(&dek(), file_id).unwrap();
    let front = Front::new(header(), file_id, &keys, marked, |_| Ok(signature)).unwrap();
    let bytes = front.encode();
    (front, bytes)
}

fn read(bytes: &[u8]) -> Result<Front, Refusal> {
    match read_front(&bytes.to_vec())? {
        Layout::Sealed(front) => Ok(*front),
        Layout::Upstream(_) => panic!("taken for upstream's"),
    }
}

/// Changes the prologue and makes its checksum right again.
fn forge(bytes: &mut [u8], change: impl FnOnce(&mut [u8])) {
    change(bytes);
    let header = header().encode().unwrap().len();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..252]), &bytes[256..256 + header]);
    bytes[252..256].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_front_comes_back_as_it_was_written() {
    for marked in [true, false] {
        let (written, bytes) = front(marked, vec![7; 103]);
        let found = read(&bytes).unwrap();
        assert_eq!(found.file_id, written.file_id);
        assert_eq!(found.header, written.header);
        assert_eq!(found.signature, vec![7; 103]);
        assert_eq!(found.marked, marked);
        assert_eq!(found.records_at, bytes.len() as u64);
        assert_eq!(found.prologue[..], bytes[..256]);
        assert_eq!(found.marks_page(), marked.then(|| bytes.len() as u64 - 4096));
    }
}

#[test]
fn fields_stand_where_the_format_says() {
    let (front, bytes) = front(true, vec![9; 3]);
    let header = front.header.encode().unwrap();
    assert_eq!(&bytes[..12], b"MRSEAL\r\n\x01\0\x01\0");
    assert_eq!(bytes[12..16], (header.len() as u32).to_le_bytes());
    assert_eq!(bytes[16..48], front.file_id.0);
    assert_eq!(bytes[48..80], front.dek_check);
    assert_eq!(bytes[80..84], (front.records_at as u32).to_le_bytes());
    assert_eq!(bytes[84..90], [3, 0, 9, 9, 9, 0]);
    assert_eq!(bytes[256..256 + header.len()], header);
    assert_eq!(front.records_at, (256 + header.len() as u64).next_multiple_of(4096) + 4096);
}

#[test]
fn a_header_that_ends_at_a_page_needs_no_padding() {
    for (length, marked, expected) in
        [(4096 - 256, true, 8192), (4096 - 255, true, 12288), (1, true, 8192), (100, false, 356)]
    {
        assert_eq!(records_at(length, marked), expected);
    }
}

#[test]
fn a_newer_version_or_flag_is_not_called_damage() {
    let (_, bytes) = front(true, Vec::new());
    let mut version = bytes.clone();
    forge(&mut version, |bytes| bytes[8] = 2);
    assert!(matches!(read(&version), Err(Refusal::NewerFormat { .. })));
    let mut flag = bytes.clone();
    forge(&mut flag, |bytes| bytes[10] = 3);
    assert!(matches!(read(&flag), Err(Refusal::NewerFormat { .. })));
}

#[test]
fn lengths_and_offsets_that_do_not_fit_are_damage_even_with_a_right_checksum() {
    let (_, bytes) = front(true, Vec::new());
    type Change = fn(&mut [u8]);
    let changes: [(&str, Change); 6] = [
        ("offset of the first record", |b| b[80] ^= 1),
        ("flag without its page", |b| b[10] = 0),
        ("signature longer than its room", |b| b[84] = 127),
        ("empty header", |b| b[12..16].fill(0)),
        ("header above a mebibyte", |b| b[12..16].copy_from_slice(&(1_u32 << 21).to_le_bytes())),
        ("header behind the end", |b| b[12..16].copy_from_slice(&(1_u32 << 19).to_le_bytes())),
    ];
    for (what, change) in changes {
        let mut bytes = bytes.clone();
        forge(&mut bytes, change);
        assert!(matches!(read(&bytes), Err(Refusal::Damaged { .. })), "{what}");
    }
}

#[test]
fn the_recovery_root_opens_the_recovery_slot_and_nothing_else_does() {
    let (front, _) = front(true, Vec::new());
    assert_eq!(front.dek_from_recovery_root(&[9; 32]).unwrap().expose(), dek().expose());
    assert!(front.dek_from_recovery_root(&[8; 32]).is_none());
    assert!(front.dek_from_recovery_root(&[]).is_none());
    assert!(!front.accepts(&Dek::generate().unwrap()));
}

#[test]
fn a_slot_grafted_from_another_file_does_not_open_this_one() {
    let (mut front, _) = front(true, Vec::new());
    let other = Dek::generate().unwrap();
    let slot = super::super::Slot::wrap(SlotKind::Recovery, &[1; 32], &other, front.header.dek_id, "", &[]).unwrap();
    front.header.slots.push(slot);
    assert!(front.dek_from_recovery_root(&[1; 32]).is_none(), "opens the slot, but is not the key of the file");
}

mod signatures {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    use der::asn1::{Any, BitString};
    use spki::{AlgorithmIdentifier, SubjectPublicKeyInfo};

    use super::*;

    /// A certificate of which only the key is right; nobody looks at the rest.
    fn certificate(curve: &str, key: &[u8]) -> Vec<u8> {
        let template = include_bytes!("../../tests/fixtures/root.der");
        let template = Certificate::from_der(template).unwrap();
        let algorithm = AlgorithmIdentifier {
            oid: ObjectIdentifier::new_unwrap("1.2.840.10045.2.1"),
            parameters: Some(Any::encode_from(&ObjectIdentifier::new_unwrap(curve)).unwrap()),
        };
        let key = SubjectPublicKeyInfo { algorithm, subject_public_key: BitString::from_bytes(key).unwrap() };
        let old = template.tbs_certificate().subject_public_key_info().to_der().unwrap();
        // The template has a P-384 key; a P-256 key is shorter, so lengths are made anew by hand.
        let der = template.to_der().unwrap();
        let at = der.windows(old.len()).position(|window| window == old).unwrap();
        let new = key.to_der().unwrap();
        let mut changed = [&der[..at], &new, &der[at + old.len()..]].concat();
        for length_at in [2, 6] {
            let length = u16::from_be_bytes([changed[length_at], changed[length_at + 1]]);
            let length = (usize::from(length) + new.len() - old.len()) as u16;
            changed[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        }
        Certificate::from_der(&changed).unwrap();
        changed
    }

    #[test]
    fn a_signature_of_the_root_key_is_valid_and_covers_file_name_key_check_and_header() {
        for (curve, signing) in [
            ("1.3.132.0.34", &ECDSA_P384_SHA384_ASN1_SIGNING),
            ("1.2.840.10045.3.1.7", &ECDSA_P256_SHA256_ASN1_SIGNING),
        ] {
            let key = EcdsaKeyPair::generate(signing).unwrap();
            let mut header = header();
            header.root_certificate = certificate(curve, key.public_key().as_ref());
            let file_id = FileId::generate().unwrap();
            let keys = FileKeys::derive(&dek(), file_id).unwrap();
            let sign = |message: &[u8]| Ok(key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec());
            let front = Front::new(header, file_id, &keys, true, sign).unwrap();
            let front = read(&front.encode()).unwrap();
            assert_eq!(front.check_signature(), Signature::Valid, "{curve}");
            let with = |change: &dyn Fn(&mut Front)| {
                let mut changed = front.clone();
                change(&mut changed);
                changed.check_signature()
            };
            assert_eq!(with(&|front| front.file_id.0[0] ^= 1), Signature::Invalid);
            assert_eq!(with(&|front| front.dek_check[0] ^= 1), Signature::Invalid);
            assert_eq!(with(&|front| front.header_bytes[0] ^= 1), Signature::Invalid);
            assert_eq!(with(&|front| front.signature[9] ^= 1), Signature::Invalid);
            assert_eq!(with(&|front| front.signature.clear()), Signature::Absent);
            assert_eq!(with(&|front| front.header.root_certificate.truncate(40)), Signature::Invalid);
        }
    }
}
