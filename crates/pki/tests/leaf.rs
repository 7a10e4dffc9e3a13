//! Certification requests, Marble leafs and their recognition.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use der::Encode;
use jiff::{SignedDuration, Timestamp};
use marblerun_manifest::model::{CertFields, CertTemplate, ExtraExtension, SecretDefinition, Subject};
use marblerun_pki::{
    Authority, CsrError, MarbleCertificateError, VerifiedCsr, generate_shared, issue_marble_leaf,
    verify_marble_certificate,
};
use proptest::prelude::*;
use support::*;

const UUID: &str = "11111111-1111-4111-8111-111111111111";

#[test]
fn a_leaf_says_what_upstream_s_says() {
    let ours = authority();
    let csr = VerifiedCsr::parse(&base64(&fixture("golden.json")["csr"])).unwrap();
    let leaf = issue_marble_leaf(&ours, &csr, UUID, "golden", now()).unwrap();
    assert_eq!(describe(&leaf.certificate), describe(&golden("leaf")));
    assert_issued_by(&leaf.certificate, &ours.marble_root_certificate);
    assert_issued_by(&leaf.certificate, &ours.intermediate_certificate);
    assert_eq!(public_key(&leaf.certificate), leaf.public_key);
    assert_eq!(leaf.private_key.len(), golden("leaf_key").len());
    assert_eq!(leaf.private_key[..30], golden("leaf_key")[..30]);
}

#[test]
fn each_leaf_has_a_key_of_its_own() {
    let ours = authority();
    let csr = VerifiedCsr::parse(&base64(&fixture("golden.json")["csr"])).unwrap();
    let [one, two] = [(); 2].map(|()| issue_marble_leaf(&ours, &csr, UUID, "golden", now()).unwrap());
    assert_ne!(one.public_key, two.public_key);
    assert_ne!(one.private_key, two.private_key);
    assert!(!format!("{one:?}").contains(&hex::encode(&*one.private_key)));
}

#[test]
fn requests_of_every_accepted_key_and_digest_verify() {
    for (name, request) in fixture("requests.json")["accepted"].as_object().unwrap() {
        VerifiedCsr::parse(&base64(request)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn sha_1_and_curves_nobody_uses_are_refused() {
    for (name, request) in fixture("requests.json")["bad_signature"].as_object().unwrap() {
        let error = VerifiedCsr::parse(&base64(request)).unwrap_err();
        assert!(matches!(error, CsrError::BadSignature), "{name}: {error}");
        assert_eq!(error.to_string(), "signature over CSR is invalid");
    }
}

#[test]
fn subject_is_kept_but_for_o_and_cn_and_only_dns_and_ip_names_are_taken() {
    let ours = authority();
    let csr = VerifiedCsr::parse(&base64(&fixture("requests.json")["accepted"]["rsa2048 sha256"])).unwrap();
    let leaf = issue_marble_leaf(&ours, &csr, UUID, "t", now()).unwrap();
    let subject = describe(&leaf.certificate).into_iter().find(|line| line.starts_with("subject")).unwrap();
    assert_eq!(
        subject,
        format!(
            "subject /+2.5.4.6=PrintableString:DE/+2.5.4.8=UTF8String:Some*State/+2.5.4.7=PrintableString:Berlin\
             /+2.5.4.9=PrintableString:Road 1/+2.5.4.17=PrintableString:12345\
             /+2.5.4.11=PrintableString:Unit A+2.5.4.11=PrintableString:Unit B\
             /+2.5.4.3=PrintableString:{UUID}/+2.5.4.5=PrintableString:SN-7"
        )
    );
    // DNS a.example and *.b.example, IP 10.0.0.1 and fe80::1; no e-mail, URI or others; no key usage.
    assert_eq!(
        hex::encode(extension(&leaf.certificate, "2.5.29.17").unwrap()),
        "3030820961 2e6578616d706c65 820b2a2e622e6578616d706c65 87040a000001 8710fe800000000000000000000000000001"
            .replace(' ', "")
    );
    assert_eq!(hex::encode(extension(&leaf.certificate, "2.5.29.15").unwrap()), "03020388");
}

#[test]
fn a_request_without_names_gives_a_leaf_without_names() {
    let ours = authority();
    let csr = VerifiedCsr::parse(&base64(&fixture("requests.json")["accepted"]["no names"])).unwrap();
    let leaf = issue_marble_leaf(&ours, &csr, UUID, "t", now()).unwrap();
    assert_eq!(extension(&leaf.certificate, "2.5.29.17"), None);
    assert_eq!(extension(&leaf.certificate, "1.3.9903.2.1").unwrap(), b"t");
}

#[test]
fn a_damaged_request_is_refused() {
    let good = base64(&fixture("golden.json")["csr"]);
    assert!(matches!(VerifiedCsr::parse(&[]), Err(CsrError::Malformed(_))));
    assert!(VerifiedCsr::parse(&[]).unwrap_err().to_string().starts_with("parsing CSR: "));
    let mut long = good.clone();
    long.push(0);
    assert!(matches!(VerifiedCsr::parse(&long), Err(CsrError::Malformed(_))));
    for at in 0..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        assert!(VerifiedCsr::parse(&damaged).is_err(), "byte {at}");
        assert!(VerifiedCsr::parse(&good[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_marble_is_recognised_by_its_leaf() {
    let ours = authority();
    let leaf = leaf(&ours, "web");
    let identity = verify_marble_certificate(&leaf, &ours.marble_root_certificate, now()).unwrap();
    assert_eq!(identity.uuid.to_string(), UUID);
    assert_eq!(identity.marble_type, "web");
    let upstream = verify_marble_certificate(&golden("leaf"), &golden("marble_root"), now()).unwrap();
    assert_eq!(upstream.uuid.to_string(), UUID);
    assert_eq!(upstream.marble_type, "golden");
}

#[test]
fn a_leaf_from_before_an_update_is_not_recognised() {
    let before = authority();
    let leaf = leaf(&before, "web");
    let after = before.rotate_intermediate(now()).unwrap();
    let error = verify_marble_certificate(&leaf, &after.marble_root_certificate, now()).unwrap_err();
    assert_eq!(error, MarbleCertificateError::UnknownAuthority);
    assert_eq!(error.to_string(), "x509: certificate signed by unknown authority");
}

#[test]
fn a_leaf_is_recognised_from_its_first_second_to_its_last() {
    let ours = authority();
    let leaf = leaf(&ours, "web");
    let verify = |at: Timestamp| verify_marble_certificate(&leaf, &ours.marble_root_certificate, at).map(|_| ());
    verify(now()).unwrap();
    assert_eq!(verify(now() - SignedDuration::from_secs(1)), Err(MarbleCertificateError::NotValidNow));
    let last = Timestamp::from_second(not_after(&leaf)).unwrap();
    verify(last).unwrap();
    assert_eq!(verify(last + SignedDuration::from_secs(1)), Err(MarbleCertificateError::NotValidNow));
    assert_eq!(verify(Timestamp::MIN), Err(MarbleCertificateError::NotValidNow));
}

#[test]
fn other_certificates_of_the_marble_root_are_no_marbles() {
    let ours = authority();
    let verify =
        |certificate: &[u8]| verify_marble_certificate(certificate, &ours.marble_root_certificate, now()).unwrap_err();
    assert_eq!(verify(&secret(&ours, UUID, vec![1], vec![])), MarbleCertificateError::NoMarbleType);
    assert_eq!(verify(&secret(&ours, UUID, vec![2], vec![])), MarbleCertificateError::KeyUsage);
    assert!(matches!(verify(&secret(&ours, "web", vec![1], vec![])), MarbleCertificateError::Uuid(_)));
    let critical = ExtraExtension { id: vec![1, 2, 3], critical: true, value: vec![5, 0] };
    assert_eq!(verify(&secret(&ours, UUID, vec![1], vec![critical])), MarbleCertificateError::CriticalExtension);
    assert!(matches!(verify(b"nonsense"), MarbleCertificateError::Malformed(_)));
    assert!(matches!(verify(&ours.marble_root_certificate), MarbleCertificateError::Uuid(_)));
    assert_eq!(verify(&ours.intermediate_certificate), MarbleCertificateError::UnknownAuthority);
    let stranger = authority();
    assert_eq!(verify(&leaf(&stranger, "web")), MarbleCertificateError::UnknownAuthority);
}

#[test]
fn a_manifest_cannot_make_a_marble_out_of_a_secret() {
    let ours = authority();
    let forged = ExtraExtension { id: vec![1, 3, 9903, 2, 1], critical: false, value: b"web".to_vec() };
    let error = generate_shared("s", &template(UUID, vec![1], vec![forged]), &ours, now()).unwrap_err();
    assert!(error.to_string().contains("1.3.9903.2.1"), "{error}");
}

#[test]
fn a_leaf_with_a_changed_byte_is_not_recognised() {
    let ours = authority();
    let good = leaf(&ours, "web");
    for at in 0..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 0x20;
        let result = verify_marble_certificate(&damaged, &ours.marble_root_certificate, now());
        assert!(result.is_err(), "byte {at}: {result:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = VerifiedCsr::parse(&bytes);
        let _ = verify_marble_certificate(&bytes, &bytes, now());
        let _ = marblerun_pki::public_key_of(&bytes);
    }

    #[test]
    fn changed_requests_never_pass(at in 0usize..340, flip in 1u8..) {
        let mut request = base64(&fixture("golden.json")["csr"]);
        let length = request.len();
        request[at % length] ^= flip;
        prop_assert!(VerifiedCsr::parse(&request).is_err());
    }
}

fn leaf(authority: &Authority, marble_type: &str) -> Vec<u8> {
    let csr = VerifiedCsr::parse(&base64(&fixture("golden.json")["csr"])).unwrap();
    issue_marble_leaf(authority, &csr, UUID, marble_type, now()).unwrap().certificate
}

fn template(common_name: &str, usages: Vec<i64>, extra: Vec<ExtraExtension>) -> SecretDefinition {
    let fields = CertFields {
        subject: Subject { common_name: common_name.to_owned(), ..Subject::default() },
        ext_key_usage: Some(usages),
        extra_extensions: extra,
        ..CertFields::default()
    };
    SecretDefinition { cert: Some(CertTemplate::Fields(Box::new(fields))), ..definition("cert-ed25519", 0) }
}

fn secret(authority: &Authority, common_name: &str, usages: Vec<i64>, extra: Vec<ExtraExtension>) -> Vec<u8> {
    let secret = generate_shared("s", &template(common_name, usages, extra), authority, now()).unwrap();
    let certificate = secret.certificate.unwrap();
    assert!(parse(&certificate).to_der().is_ok());
    certificate
}
