use super::*;
use crate::testing::{manifest_keys, signed};

const SECRETS: [[u8; 32]; 3] = [[1; 32], [2; 32], [3; 32]];

/// Secrets by index, each with its signer.
fn uploads(signers: &[(usize, usize)]) -> Vec<Upload> {
    signers.iter().map(|(secret, signer)| signed(&SECRETS[*secret], *signer)).collect()
}

fn verify(keys: usize, threshold: u64, signers: &[(usize, usize)]) -> Result<Vec<String>, String> {
    verify_quorum(&manifest_keys(keys), threshold, &uploads(signers)).map_err(|error| error.to_string())
}

#[test]
fn all_parties_or_exactly_the_threshold_decide() {
    assert_eq!(verify(1, 0, &[(0, 0)]).unwrap(), ["alice"]);
    assert_eq!(verify(2, 0, &[(0, 0), (1, 1)]).unwrap(), ["alice", "bob"]);
    assert_eq!(verify(2, 2, &[(1, 1), (0, 0)]).unwrap(), ["bob", "alice"]);
    assert_eq!(verify(3, 2, &[(2, 2), (0, 0)]).unwrap(), ["carol", "alice"]);
}

#[test]
fn a_party_may_sign_the_secret_of_another_but_only_one() {
    assert_eq!(verify(2, 0, &[(0, 1), (1, 0)]).unwrap(), ["bob", "alice"]);
    assert_eq!(verify(3, 2, &[(0, 2), (1, 0)]).unwrap(), ["carol", "alice"]);
    let error = verify(2, 0, &[(0, 1), (1, 1)]).unwrap_err();
    assert!(error.starts_with("no matching recovery key found for recovery public key \"alice\""), "{error}");
    let error = verify(3, 2, &[(0, 1), (1, 1)]).unwrap_err();
    assert!(error.starts_with("no matching recovery public key found for recovery key"), "{error}");
}

#[test]
fn too_few_or_too_many_secrets_are_refused_in_upstreams_words() {
    let all = "recovery keys in manifest do not match the keys used for recovery: expected";
    assert_eq!(verify(2, 0, &[(0, 0)]).unwrap_err(), format!("{all} 2, got 1"));
    assert_eq!(verify(1, 0, &[(0, 0), (1, 1)]).unwrap_err(), format!("{all} 1, got 2"));
    assert_eq!(verify(0, 0, &[(0, 0)]).unwrap_err(), format!("{all} 0, got 1"));
    let some = "recovery threshold in manifest does not match the number of keys used for recovery: expected";
    assert_eq!(verify(3, 2, &[(0, 0), (1, 1), (2, 2)]).unwrap_err(), format!("{some} 2, got 3"));
    assert_eq!(verify(3, 2, &[(0, 0)]).unwrap_err(), format!("{some} 2, got 1"));
}

#[test]
fn nobody_can_recover_a_manifest_without_recovery_keys() {
    assert!(verify(0, 0, &[]).is_err());
}

#[test]
fn several_signatures_of_one_secret_are_tried() {
    assert_eq!(verify(2, 0, &[(0, 1), (1, 1), (0, 0)]).unwrap(), ["alice", "bob"]);
    assert_eq!(verify(1, 0, &[(0, 2), (0, 0)]).unwrap(), ["alice"]);
}

#[test]
fn a_missing_or_foreign_signature_is_refused() {
    let mut unsigned = uploads(&[(0, 0)]);
    unsigned[0].signature.clear();
    assert!(verify_quorum(&manifest_keys(1), 0, &unsigned).is_err());
    assert!(verify(1, 0, &[(0, 1)]).is_err());
}

#[test]
fn a_key_under_two_names_signs_for_both() {
    let mut keys = manifest_keys(1);
    keys.insert("again".to_owned(), crate::testing::PUBLIC[0].to_owned());
    let names = verify_quorum(&keys, 0, &uploads(&[(0, 0), (1, 0)])).unwrap();
    assert_eq!(names.len(), 2);
    assert!(verify_quorum(&keys, 0, &uploads(&[(0, 0), (1, 1)])).is_err());
}

#[test]
fn an_unusable_key_in_the_manifest_is_named() {
    let keys = [("alice".to_owned(), "x".to_owned())].into();
    let error = verify_quorum(&keys, 0, &uploads(&[(0, 0)])).unwrap_err();
    assert!(matches!(error, RecoveryError::BadKey { name, .. } if name == "alice"));
}

#[test]
fn as_many_as_possible_get_a_key_each() {
    let count = |edges: &[Vec<usize>], keys| match_each(edges, keys).iter().flatten().count();
    assert_eq!(count(&[], 0), 0);
    assert_eq!(count(&[vec![0], vec![0]], 1), 1);
    assert_eq!(count(&[vec![0, 1], vec![0]], 2), 2);
    assert_eq!(count(&[vec![0, 1], vec![0, 1], vec![0, 1]], 2), 2);
    assert_eq!(match_each(&[vec![0], vec![0]], 1), [Some(0), None], "who comes first stays");
    // A chain that has to move everybody.
    let chain: Vec<Vec<usize>> = (0..100).map(|i| vec![i, i + 1]).chain([vec![0]]).collect();
    assert_eq!(count(&chain, 101), 101);
}
