//! What several Go Coordinators would read. The decoder is the tests' own, and is tried on what the original wrote.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::*;

const HOST_WITHOUT_ENCLAVE: [u8; 32] = [0; 32];

/// Nonce, ciphertext, tag.
fn unseal(key: &[u8], sealed: &[u8], bound_to: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
    let (nonce, sealed) = sealed.split_at(12);
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
    key.open_in_place(nonce, Aad::from(bound_to), &mut sealed).unwrap().to_vec()
}

/// The key encryption key in an entry of a host without enclave.
fn kek(entry: &[u8]) -> Vec<u8> {
    assert_eq!((entry.len(), &entry[..4]), (1088, &1024_u32.to_le_bytes()[..]));
    unseal(&HOST_WITHOUT_ENCLAVE, &entry[4 + 1024..], &[])
}

fn opened_by_one_party() -> State {
    Deployment::new(1, 0).state
}

#[test]
fn the_decoder_of_these_tests_opens_what_the_original_wrote() {
    let fixture: Value =
        serde_json::from_str(include_str!("../../../tests/fixtures/upstream-cluster-keys.json")).unwrap();
    let bytes = |name: &str| STANDARD.decode(fixture[name].as_str().unwrap()).unwrap();
    let kek = kek(&bytes("entry"));
    assert_eq!(hex::encode(&kek), fixture["kek"]);
    let bound_to = hex::decode(fixture["sealedDataSha256"].as_str().unwrap()).unwrap();
    assert_eq!(hex::encode(unseal(&kek, &bytes("sealedKey"), &bound_to)), fixture["dek"]);
}

#[test]
fn several_coordinators_of_the_original_without_enclave_open_it_by_themselves() {
    let state = opened_by_one_party();
    let exported = export_to_upstreams_secret(&state, true, jiff::Timestamp::now()).unwrap();
    let (name, entry) = exported.entry.unwrap();
    assert_eq!(name, "0".repeat(32));
    let kek = kek(&entry);
    let sealed_key = exported.sealed_key.unwrap();
    assert_eq!(sealed_key.len(), 60);
    let dek = unseal(&kek, &sealed_key, &crate::digest::sha256(&[&exported.sealed_data]));
    assert_eq!(dek, state.recovery().first().unwrap().root.expose(), "the parties' secrets open it, too");
    assert_ne!(kek, dek);
    let Ok(crate::format::Layout::Upstream(front)) = crate::format::read_front(&exported.sealed_data) else {
        panic!("another layout");
    };
    assert!(crate::format::upstream::open(&exported.sealed_data, &front, &dek).is_ok());
    assert!(exported.notes.iter().any(|note| note.contains("every secret of the deployment")), "{:?}", exported.notes);
}

#[test]
fn without_its_key_it_is_for_the_recovery_keys_alone() {
    let exported = export_to_upstreams_secret(&opened_by_one_party(), false, jiff::Timestamp::now()).unwrap();
    assert!(exported.sealed_key.is_none() && exported.entry.is_none());
    assert!(!exported.notes.iter().any(|note| note.contains("every secret of the deployment")), "{:?}", exported.notes);
}
