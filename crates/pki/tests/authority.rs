//! The three CA certificates and the keys behind them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use aws_lc_rs::signature::{ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use marblerun_pki::{Authority, P384Key, SubjectAltNames};
use support::*;

#[test]
fn ca_certificates_say_what_upstream_s_say() {
    let names = SubjectAltNames::from_list("localhost,coordinator.example.org,10.1.2.3,fe80::1");
    let ours = Authority::generate(&names, now()).unwrap();
    assert_eq!(describe(&ours.root_certificate), describe(&golden("root")));
    assert_eq!(describe(&ours.intermediate_certificate), describe(&golden("intermediate")));
    assert_eq!(describe(&ours.marble_root_certificate), describe(&golden("marble_root")));
    let upstream = fixture("upstream-authority.json");
    let ours = Authority::generate(&SubjectAltNames::from_list("localhost"), now()).unwrap();
    assert_eq!(describe(&ours.root_certificate), describe(&from_hex(&upstream["certificate:coordinatorRootCert"])));
    let upstream = from_hex(&upstream["certificate:coordinatorIntermediateCert"]);
    assert_eq!(describe(&ours.intermediate_certificate), describe(&upstream));
}

#[test]
fn a_leaf_verifies_against_the_marble_root_and_through_the_intermediate() {
    let ours = authority();
    assert_issued_by(&ours.intermediate_certificate, &ours.root_certificate);
    assert!(verifies(&ours.root_certificate, &ours.root_certificate));
    assert!(verifies(&ours.marble_root_certificate, &ours.marble_root_certificate));
    assert_eq!(public_key(&ours.marble_root_certificate), public_key(&ours.intermediate_certificate));
    assert_eq!(
        extension(&ours.marble_root_certificate, "2.5.29.14"),
        extension(&ours.intermediate_certificate, "2.5.29.14")
    );
}

#[test]
fn rotation_keeps_the_root_and_all_its_names() {
    let names = SubjectAltNames::from_list("a.example,10.1.2.3,127.0.0.1,::1,b.example,fe80::1");
    let before = Authority::generate(&names, now()).unwrap();
    let after = before.rotate_intermediate(now()).unwrap();
    assert_eq!(after.root_certificate, before.root_certificate);
    assert_ne!(public_key(&after.intermediate_certificate), public_key(&before.intermediate_certificate));
    assert_eq!(describe(&after.intermediate_certificate), describe(&before.intermediate_certificate));
    assert_eq!(describe(&after.marble_root_certificate), describe(&before.marble_root_certificate));
    assert_issued_by(&after.intermediate_certificate, &before.root_certificate);
}

#[test]
fn a_rotated_upstream_authority_keeps_its_names() {
    let upstream = load_upstream();
    let after = upstream.rotate_intermediate(now()).unwrap();
    assert_eq!(describe(&after.intermediate_certificate), describe(&upstream.intermediate_certificate));
}

#[test]
fn stored_parts_of_upstream_load_and_are_written_back_byte_for_byte() {
    let stored = fixture("upstream-authority.json");
    let authority = load_upstream();
    assert_eq!(*authority.root_key.to_sec1_der(), from_hex(&stored["privateKey:coordinatorRootKey"]));
    assert_eq!(*authority.intermediate_key.to_sec1_der(), from_hex(&stored["privateKey:coordinatorIntermediateKey"]));
    assert_eq!(authority.root_key.to_sec1_der().len(), 167);
    assert_eq!(authority.root_key.spki_der(), public_key(&authority.root_certificate));
}

#[test]
fn a_key_that_is_another_certificate_s_is_refused_by_name() {
    let stored = fixture("upstream-authority.json");
    let part = |name: &str| from_hex(&stored[name]);
    let root = part("certificate:coordinatorRootCert");
    let root_key = part("privateKey:coordinatorRootKey");
    let intermediate = part("certificate:coordinatorIntermediateCert");
    let intermediate_key = part("privateKey:coordinatorIntermediateKey");
    let marble_root = part("certificate:marbleRootCert");
    let load = |root: &Vec<u8>, root_key: &[u8], intermediate: &Vec<u8>, marble_root: &Vec<u8>| {
        Authority::from_parts(root.clone(), root_key, intermediate.clone(), &intermediate_key, marble_root.clone())
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    load(&root, &root_key, &intermediate, &marble_root).unwrap();
    let wrong_key = load(&root, &intermediate_key, &intermediate, &marble_root).unwrap_err();
    assert!(wrong_key.starts_with("Coordinator root certificate: "), "{wrong_key}");
    let swapped = load(&root, &root_key, &root, &marble_root).unwrap_err();
    assert!(swapped.starts_with("Coordinator intermediate certificate: "), "{swapped}");
    let garbage = load(&root, &root_key, &intermediate, &vec![0x30, 0x00]).unwrap_err();
    assert!(garbage.starts_with("Marble root certificate: "), "{garbage}");
    let no_key = load(&root, b"nonsense", &intermediate, &marble_root).unwrap_err();
    assert!(no_key.starts_with("P-384 private key: "), "{no_key}");
}

#[test]
fn names_are_split_at_commas_and_addresses_recognised() {
    let names = SubjectAltNames::from_list("localhost, a ,10.1.2.3,,fe80::1");
    assert_eq!(names.dns, ["localhost", " a ", ""]);
    assert_eq!(names.ips, ["10.1.2.3".parse::<std::net::IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
}

#[test]
fn a_name_that_cannot_be_encoded_is_an_error() {
    let error = Authority::generate(&SubjectAltNames::from_list("ü"), now()).unwrap_err();
    assert_eq!(error.to_string(), r#"x509: "ü" cannot be encoded as an IA5String"#);
}

#[test]
fn keys_are_written_as_go_writes_them() {
    let golden = golden("leaf_key");
    let scalar_and_point = pkcs8::PrivateKeyInfoRef::try_from(golden.as_slice()).unwrap();
    let inner = scalar_and_point.private_key.as_bytes();
    let inner = sec1::EcPrivateKey::try_from(inner).unwrap();
    let with_parameters = sec1::EcPrivateKey {
        parameters: Some(sec1::EcParameters::NamedCurve(const_oid::db::rfc5912::SECP_384_R_1)),
        ..inner.clone()
    };
    let sec1 = der::Encode::to_der(&with_parameters).unwrap();
    assert!(hex::encode(&sec1).starts_with("3081a40201010430"));
    assert!(hex::encode(&sec1).contains("a00706052b81040022a164"));
    let key = P384Key::from_sec1_der(&sec1).unwrap();
    assert_eq!(*key.to_pkcs8_der(), golden);
    assert_eq!(*key.to_sec1_der(), sec1);
    assert_eq!(key.scalar().as_slice(), inner.private_key);
    assert_eq!(key.spki_der(), public_key(&self::golden("leaf")));
}

#[test]
fn only_sec1_p384_is_a_stored_key() {
    let key = P384Key::generate().unwrap();
    assert!(P384Key::from_sec1_der(&key.to_pkcs8_der()).is_err());
    let mut cut = key.to_sec1_der().to_vec();
    cut.pop();
    assert!(P384Key::from_sec1_der(&cut).is_err());
    let mut damaged = key.to_sec1_der().to_vec();
    damaged[20] ^= 1;
    assert!(P384Key::from_sec1_der(&damaged).is_err(), "the public key no longer fits");
}

#[test]
fn signatures_verify_under_the_digest_they_are_for() {
    let key = P384Key::generate().unwrap();
    let spki = key.spki_der();
    let over_256 = key.sign_sha256(b"message").unwrap();
    let over_384 = key.sign_sha384(b"message").unwrap();
    UnparsedPublicKey::new(&ECDSA_P384_SHA256_ASN1, &spki).verify(b"message", &over_256).unwrap();
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, &spki).verify(b"message", &over_384).unwrap();
    UnparsedPublicKey::new(&ECDSA_P384_SHA256_ASN1, &spki).verify(b"message", &over_384).unwrap_err();
    UnparsedPublicKey::new(&ECDSA_P384_SHA256_ASN1, &spki).verify(b"massage", &over_256).unwrap_err();
}

#[test]
fn debug_output_tells_nothing_of_a_key() {
    let key = P384Key::generate().unwrap();
    assert_eq!(format!("{key:?}"), "P384Key(..)");
}

fn load_upstream() -> Authority {
    let stored = fixture("upstream-authority.json");
    Authority::from_parts(
        from_hex(&stored["certificate:coordinatorRootCert"]),
        &from_hex(&stored["privateKey:coordinatorRootKey"]),
        from_hex(&stored["certificate:coordinatorIntermediateCert"]),
        &from_hex(&stored["privateKey:coordinatorIntermediateKey"]),
        from_hex(&stored["certificate:marbleRootCert"]),
    )
    .unwrap()
}
