use super::*;

const MESSAGE: &[u8] = b"0123456789abcdef0123456789abcdef";

macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../../tests/fixtures/keys/", $name))
    };
}

macro_rules! bytes {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/fixtures/keys/", $name)).as_slice()
    };
}

#[test]
fn what_openssl_encrypted_and_signed_is_understood() {
    for (private, ciphertext, signature) in [
        (key!("recovery1_priv.pem"), bytes!("recovery1.oaep"), bytes!("recovery1.sig")),
        (key!("small1024_priv.pem"), bytes!("small1024.oaep"), bytes!("small1024.sig")),
    ] {
        let private = PrivateKey::from_pem(private).unwrap();
        assert_eq!(*private.decrypt(ciphertext).unwrap(), MESSAGE);
        assert!(private.public().verifies(MESSAGE, signature));
        assert_eq!(private.sign(MESSAGE).unwrap(), signature, "PKCS#1 v1.5 signatures have one form");
    }
}

#[test]
fn keys_of_every_size_and_form_encrypt_decrypt_sign_and_verify() {
    for text in
        [key!("recovery1_priv.pem"), key!("recovery1_pkcs1.pem"), key!("small1024_priv.pem"), key!("odd1032_priv.pem")]
    {
        let private = PrivateKey::from_pem(text).unwrap();
        let public = PublicKey::from_spki_der(private.public().spki_der()).unwrap();
        for message in [&[][..], &[7; 16], &[7; 33]] {
            let ciphertext = public.encrypt(message).unwrap();
            assert_eq!(ciphertext.len(), public.bits() / 8);
            assert_eq!(&*private.decrypt(&ciphertext).unwrap(), message);
            assert!(public.verifies(message, &private.sign(message).unwrap()));
        }
        assert_eq!(public.encrypt(&vec![0; public.bits() / 8 - 65]), Err(RsaError::TooLong));
    }
}

#[test]
fn both_private_forms_are_the_same_key() {
    let pkcs8 = PrivateKey::from_pem(key!("recovery1_priv.pem")).unwrap();
    let pkcs1 = PrivateKey::from_pem(key!("recovery1_pkcs1.pem")).unwrap();
    let public = PublicKey::from_pem(key!("recovery1_pub.pem")).unwrap();
    assert_eq!(pkcs8.public().spki_der(), public.spki_der());
    assert_eq!(pkcs1.public().spki_der(), public.spki_der());
}

#[test]
fn an_ephemeral_key_has_4096_bits() {
    let key = PrivateKey::generate_ephemeral().unwrap();
    assert_eq!(key.public().bits(), 4096);
    let ciphertext = key.public().encrypt(MESSAGE).unwrap();
    assert_eq!(ciphertext.len(), 512);
    assert_eq!(*key.decrypt(&ciphertext).unwrap(), MESSAGE);
}

#[test]
fn a_foreign_or_damaged_ciphertext_is_a_decryption_error_and_no_more() {
    for text in [key!("recovery2_priv.pem"), key!("small1024_priv.pem")] {
        let key = PrivateKey::from_pem(text).unwrap();
        let mut damaged = key.public().encrypt(MESSAGE).unwrap();
        damaged[9] ^= 1;
        let foreign = bytes!("recovery1.oaep");
        for ciphertext in [&damaged, foreign, &foreign[1..], &[], &[0; 20_480]] {
            let error = key.decrypt(ciphertext).unwrap_err();
            assert_eq!(error.to_string(), "crypto/rsa: decryption error");
        }
    }
}

#[test]
fn a_signature_over_another_message_by_another_key_or_of_another_length_does_not_verify() {
    let key = PublicKey::from_pem(key!("recovery1_pub.pem")).unwrap();
    let right = bytes!("recovery1.sig");
    assert!(key.verifies(MESSAGE, right));
    assert!(!key.verifies(b"another", right));
    assert!(!PublicKey::from_pem(key!("recovery2_pub.pem")).unwrap().verifies(MESSAGE, right));
    assert!(!key.verifies(MESSAGE, &right[..255]));
    assert!(!key.verifies(MESSAGE, &[right, &[0]].concat()));
    assert!(!key.verifies(MESSAGE, &[]));
}

#[test]
fn unusable_public_keys_are_refused_with_upstreams_reasons() {
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/fixtures/refused_keys.json")).unwrap();
    for (name, case) in cases.as_object().unwrap() {
        let error = PublicKey::from_pem(case["pem"].as_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains(case["reason"].as_str().unwrap()), "{name}: {error}");
    }
    assert_eq!(PublicKey::from_pem(key!("accepted_rsa1024_pub.pem")).unwrap().bits(), 1024);
}

#[test]
fn every_change_of_a_public_key_is_refused_or_another_key() {
    let good = PublicKey::from_pem(key!("small1024_pub.pem")).unwrap();
    for at in 0..good.spki_der().len() {
        for bit in 0..8 {
            let mut changed = good.spki_der().to_vec();
            changed[at] ^= 1 << bit;
            if let Ok(key) = PublicKey::from_spki_der(&changed) {
                assert!(!key.verifies(MESSAGE, bytes!("small1024.sig")), "byte {at} bit {bit}");
            }
        }
        assert!(PublicKey::from_spki_der(&good.spki_der()[..at]).is_err());
    }
}

#[test]
fn unusable_private_keys_are_refused_with_the_reason() {
    let error = |text: &str| PrivateKey::from_pem(text).unwrap_err().to_string();
    assert!(error("").contains("no PEM block"));
    assert!(error(key!("recovery1_pub.pem")).contains("PUBLIC KEY"));
    let body = "AAAA";
    assert!(error(&format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")).contains("unreadable"));
    let encrypted = format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----\n");
    assert!(error(&encrypted).contains("encrypted"));
}

#[test]
fn debug_shows_sizes_alone() {
    let key = PrivateKey::from_pem(key!("recovery1_priv.pem")).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey { bits: 2048, .. }");
}
