use super::super::vectors::counting;
use super::super::{Layout, read_front};
use super::*;

fn front_of(bytes: &Vec<u8>) -> UpstreamFront {
    match read_front(bytes).unwrap() {
        Layout::Upstream(front) => front,
        Layout::Sealed(_) => panic!("not ours"),
    }
}

const VECTOR: &str =
    "040000006e756c6c000102030405060708090a0b3c20a56fa491a739b763daec8cd45a10cc1f59039aa33179c32d4ba6198570ca";

#[test]
fn an_upstream_file_is_that_of_the_vectors() {
    let sealed = seal_with(b"null", br#"{"state":"Mg=="}"#, &counting::<32>(0), counting(0)).unwrap();
    assert_eq!(hex::encode(sealed), VECTOR);
}

#[test]
fn an_upstream_file_is_recognised_and_opened() {
    let bytes = hex::decode(VECTOR).unwrap();
    let front = front_of(&bytes);
    assert_eq!(front.header, b"null");
    assert_eq!(open(&bytes, &front, &counting::<32>(0)).unwrap().as_slice(), br#"{"state":"Mg=="}"#);
}

#[test]
fn keys_of_16_24_and_32_bytes_select_the_cipher_and_others_are_wrong() {
    for length in [16, 24, 32] {
        let dek = vec![7; length];
        let bytes = seal(b"", b"plain", &dek).unwrap();
        let front = front_of(&bytes);
        assert_eq!(open(&bytes, &front, &dek).unwrap().as_slice(), b"plain");
        assert!(matches!(open(&bytes, &front, &vec![8; length]), Err(Refusal::WrongKey)));
    }
    let bytes = seal(b"null", b"plain", &[7; 32]).unwrap();
    for length in [0, 15, 17, 31, 33] {
        assert!(matches!(open(&bytes, &front_of(&bytes), &vec![7; length]), Err(Refusal::WrongKey)));
        assert!(matches!(seal(b"null", b"plain", &vec![7; length]), Err(WriteError::Crypto(_))));
    }
}

#[test]
fn two_exports_never_share_a_nonce() {
    assert_ne!(seal(b"null", b"plain", &[7; 32]).unwrap(), seal(b"null", b"plain", &[7; 32]).unwrap());
}

#[test]
fn lengths_that_do_not_fit_are_damage_not_a_crash() {
    let bytes = hex::decode(VECTOR).unwrap();
    for cut in 0..=36 {
        assert!(matches!(read_front(&bytes[..cut].to_vec()), Err(Refusal::Damaged { .. })), "{cut}");
    }
    for length in [u32::MAX, u32::MAX - 3, 1 << 24, 1 << 21, 41] {
        let mut changed = bytes.clone();
        changed[..4].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(read_front(&changed), Err(Refusal::Damaged { .. })), "{length}");
    }
    assert!(matches!(read_front(&vec![0; 5000]), Err(Refusal::Damaged { .. })), "a file of zeros");
    assert!(matches!(read_front(&vec![0xff; 5000]), Err(Refusal::Damaged { .. })));
}

#[test]
fn every_fixture_of_upstream_opens_with_its_key_and_no_other() {
    for name in ["single", "multi-xor-2", "shamir-2of3", "no-recovery-keys", "uniquekey", "legacy-16byte-key"] {
        let fixture = |file: &str| {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/upstream");
            std::fs::read(format!("{path}/{name}/{file}")).unwrap()
        };
        let (data, key) = (fixture("sealed_data"), fixture("sealed_key"));
        let front = front_of(&data);
        let plain = open(&data, &front, &key).unwrap();
        assert!(plain.starts_with(b"{\"") && plain.ends_with(b"}"), "{name}");
        assert!(matches!(open(&data, &front, &vec![1; key.len()]), Err(Refusal::WrongKey)));
        let again = seal(&front.header, &plain, &key).unwrap();
        assert_eq!(again.len(), data.len());
        assert_eq!(open(&again, &front_of(&again), &key).unwrap(), plain);
    }
}
