use super::*;
use crate::rsa_keys::PrivateKey;
use crate::testing::{NAMES, manifest_keys, private};

/// What each party gets out of the answer.
fn decrypted(established: &Established) -> Vec<Zeroizing<Vec<u8>>> {
    let answer = established.encrypted_secrets();
    (0..answer.len()).map(|party| private(party).decrypt(&answer[NAMES[party]]).unwrap()).collect()
}

#[test]
fn without_keys_there_is_nothing_to_recover_with() {
    assert!(establish(&BTreeMap::new(), 0).unwrap().is_none());
}

#[test]
fn the_secret_of_a_single_party_is_the_root() {
    let established = establish(&manifest_keys(1), 0).unwrap().unwrap();
    assert_eq!(established.set.scheme, Scheme::Single);
    assert_eq!(established.set.threshold, 1);
    assert_eq!(*decrypted(&established)[0], established.root.expose());
    assert_eq!(established.root.expose().len(), 32);
}

#[test]
fn all_parties_together_have_the_root() {
    for (count, threshold) in [(2, 0), (2, 2), (3, 0), (3, 3)] {
        let established = establish(&manifest_keys(count), threshold).unwrap().unwrap();
        let secrets = decrypted(&established);
        assert_eq!(established.set.scheme, Scheme::Xor);
        assert_eq!(established.set.threshold, count as u32);
        assert!(secrets.iter().all(|secret| secret.len() == 32));
        assert_eq!(*xor(&secrets), established.root.expose());
        assert_ne!(*xor(&secrets[1..]), established.root.expose());
    }
}

#[test]
fn any_two_of_three_parties_have_the_root() {
    let established = establish(&manifest_keys(3), 2).unwrap().unwrap();
    let secrets = decrypted(&established);
    assert_eq!(established.set.scheme, Scheme::Shamir);
    assert_eq!(established.set.threshold, 2);
    assert!(secrets.iter().all(|secret| secret.len() == 33));
    for (first, second) in [(0, 1), (1, 2), (2, 0)] {
        assert_eq!(*shamir::combine(&[&secrets[first], &secrets[second]]).unwrap(), established.root.expose());
    }
}

#[test]
fn the_header_gets_names_keys_hashes_and_ciphertexts_in_order() {
    let established = establish(&manifest_keys(3), 2).unwrap().unwrap();
    for (index, (party, secret)) in established.set.parties.iter().zip(decrypted(&established)).enumerate() {
        assert_eq!(party.name, NAMES[index]);
        assert_eq!(party.public_key, private(index).public().spki_der());
        assert_eq!(party.commitment, Some(commitment(&secret)));
        assert_eq!(Some(&party.encrypted_secret), established.encrypted_secrets().get(&party.name));
    }
    let again = establish(&manifest_keys(3), 2).unwrap().unwrap();
    assert_ne!(again.set.epoch, established.set.epoch);
}

#[test]
fn a_small_key_gets_its_secret_in_the_answer_but_not_in_the_header() {
    let key = include_str!("../../tests/fixtures/keys/small1024_pub.pem");
    let private = PrivateKey::from_pem(include_str!("../../tests/fixtures/keys/small1024_priv.pem")).unwrap();
    let established = establish(&[("small".to_owned(), key.to_owned())].into(), 0).unwrap().unwrap();
    assert!(established.set.parties[0].encrypted_secret.is_empty());
    assert!(established.set.parties[0].commitment.is_some());
    let secret = private.decrypt(&established.encrypted_secrets()["small"]).unwrap();
    assert_eq!(*secret, established.root.expose());
}

#[test]
fn one_key_under_two_names_is_two_parties() {
    let key = crate::testing::PUBLIC[0].to_owned();
    let keys = [(String::new(), key.clone()), ("b".to_owned(), key)].into();
    let established = establish(&keys, 0).unwrap().unwrap();
    assert_eq!(established.set.parties.len(), 2);
    assert_ne!(established.set.parties[0].commitment, established.set.parties[1].commitment);
}

#[test]
fn an_impossible_threshold_is_refused_in_upstreams_words() {
    let refused = |count, threshold| establish(&manifest_keys(count), threshold).unwrap_err().to_string();
    let too_few = "not enough recovery keys (2) defined to meet the recovery threshold of 3";
    assert_eq!(refused(2, 3), too_few);
    let one = "invalid recovery threshold: if set, threshold must be at least 2";
    assert_eq!(refused(2, 1), one);
    assert_eq!(refused(1, 1), one);
    assert!(refused(0, 1).starts_with("not enough recovery keys (0)"));
    assert!(refused(0, u64::MAX).starts_with("not enough recovery keys (0)"));
}

#[test]
fn an_unusable_key_is_refused_by_name() {
    let mut keys = manifest_keys(2);
    keys.insert("bob".to_owned(), "x".to_owned());
    let error = establish(&keys, 0).unwrap_err();
    assert_eq!(error.to_string(), "recovery key \"bob\": given PEM data is not a public key");
}

#[test]
fn what_does_not_fit_the_sealed_format_is_refused() {
    let key = crate::testing::PUBLIC[0];
    let long = [("n".repeat(257), key.to_owned())].into();
    assert!(establish(&long, 0).unwrap_err().to_string().contains("256 bytes"));
    let many = (0..256).map(|number| (number.to_string(), key.to_owned())).collect();
    assert!(establish(&many, 0).unwrap_err().to_string().contains("at most 255"));
}
