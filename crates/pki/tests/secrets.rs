//! Secrets of every type: generated, derived, issued again, uploaded.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use der::Decode;
use jiff::{SignedDuration, Timestamp};
use marblerun_manifest::model::{CertFields, CertTemplate, ExtraExtension, SecretDefinition, SecretKind, Subject};
use marblerun_pki::{
    PkiError, Secret, SecretDerivation, Upload, UploadError, check_definition, generate_per_marble, generate_shared,
    reissue_shared,
};
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use support::*;
use zeroize::Zeroizing;

const DAY: i64 = 86_400;

#[test]
fn certificates_say_what_upstream_s_say() {
    let ours = authority();
    let upstream = fixture("upstream-secrets.json");
    let named = |kind, size, common_name: &str, valid_for| {
        let subject = Subject { common_name: common_name.to_owned(), ..Subject::default() };
        let fields = CertFields { subject, ..CertFields::default() };
        SecretDefinition { cert: Some(CertTemplate::Fields(Box::new(fields))), valid_for, ..definition(kind, size) }
    };
    for (name, definition) in [
        ("certPrivateRSA", named("cert-rsa", 2048, "Rich Private", 7)),
        ("certSharedEd", named("cert-ed25519", 0, "Rich Shared", 7)),
        ("certSharedEC", SecretDefinition { valid_for: 14, ..definition("cert-ecdsa", 256) }),
    ] {
        let theirs = &upstream["secrets"][name];
        let secret = generate_shared(name, &definition, &ours, now()).unwrap();
        let certificate = secret.certificate.unwrap();
        assert_eq!(describe(&certificate), describe(&base64(&theirs["Cert"])), "{name}");
        assert_issued_by(&certificate, &ours.marble_root_certificate);
        // Keys in the same structure, and the public one in the certificate.
        let [ours, theirs] = [secret.private.unwrap().to_vec(), base64(&theirs["Private"])].map(|key| {
            let info = pkcs8::PrivateKeyInfoRef::try_from(key.as_slice()).unwrap();
            (format!("{:?}", info.algorithm), info.public_key.is_some(), key[4..8].to_vec())
        });
        assert_eq!(ours, theirs, "{name}");
        assert_eq!(*secret.public.unwrap(), public_key(&certificate), "{name}");
    }
}

#[test]
fn curves_of_every_size_have_upstream_s_encodings() {
    let ours = authority();
    for (size, scalar, oid) in [
        (224, 28, "1.3.132.0.33"),
        (256, 32, "1.2.840.10045.3.1.7"),
        (384, 48, "1.3.132.0.34"),
        (521, 66, "1.3.132.0.35"),
    ] {
        let secret = generate_shared("s", &definition("cert-ecdsa", size), &ours, now()).unwrap();
        let private = secret.private.unwrap();
        let info = pkcs8::PrivateKeyInfoRef::try_from(private.as_slice()).unwrap();
        assert_eq!(info.algorithm.oid.to_string(), "1.2.840.10045.2.1");
        assert_eq!(info.algorithm.parameters_oid().unwrap().to_string(), oid);
        assert!(info.public_key.is_none(), "PKCS#8 version 0");
        let inner = sec1::EcPrivateKey::try_from(info.private_key.as_bytes()).unwrap();
        assert_eq!(inner.private_key.len(), scalar);
        assert!(inner.parameters.is_none());
        assert_eq!(inner.public_key.unwrap().len(), 1 + 2 * scalar);
        let certificate = secret.certificate.unwrap();
        let spki = public_key(&certificate);
        assert_eq!(*secret.public.unwrap(), spki);
        assert!(spki.ends_with(inner.public_key.unwrap()));
        assert_issued_by(&certificate, &ours.marble_root_certificate);
    }
}

#[test]
fn an_ed25519_key_is_the_48_bytes_with_the_seed_alone() {
    let secret = generate_shared("s", &definition("cert-ed25519", 0), &authority(), now()).unwrap();
    let private = secret.private.unwrap();
    assert_eq!(private.len(), 48);
    assert!(hex::encode(&*private).starts_with("302e020100300506032b657004220420"));
    assert_eq!(secret.public.unwrap().len(), 44);
}

#[test]
fn rsa_keys_of_common_and_odd_sizes_are_exactly_that_long() {
    let ours = authority();
    for size in [1024, 1025, 2047, 2048, 2049, 3072] {
        let secret = generate_shared("s", &definition("cert-rsa", size), &ours, now()).unwrap();
        let private = secret.private.unwrap();
        let key = rsa::RsaPrivateKey::from_pkcs8_der(&private).unwrap();
        key.validate().unwrap();
        assert_eq!(u64::try_from(key.n().bits()).unwrap(), size);
        assert_eq!(key.e(), &rsa::BigUint::from(65_537u32));
        let info = pkcs8::PrivateKeyInfoRef::try_from(private.as_slice()).unwrap();
        assert!(info.algorithm.parameters.unwrap().is_null());
        let certificate = secret.certificate.unwrap();
        assert_eq!(*secret.public.unwrap(), public_key(&certificate));
        assert_issued_by(&certificate, &ours.marble_root_certificate);
    }
}

#[test]
fn shared_symmetric_keys_are_random_and_private_and_public_alike() {
    let ours = authority();
    let [one, two] = [(); 2].map(|()| generate_shared("s", &definition("symmetric-key", 256), &ours, now()).unwrap());
    assert_eq!(one.private.as_ref().unwrap().len(), 32);
    assert_eq!(one.private, one.public);
    assert_ne!(one.private, two.private);
    assert_eq!(one.certificate, None);
    assert_eq!(generate_shared("s", &definition("symmetric-key", 8), &ours, now()).unwrap().private.unwrap().len(), 1);
}

#[test]
fn a_marble_gets_the_same_key_again_and_another_one_for_each_name_uuid_and_type() {
    let ours = authority();
    let derive = |name: &str, uuid: &str, marble_type: &str| {
        let derivation = SecretDerivation { root_secret: &[7; 32], uuid, marble_type };
        generate_per_marble(name, &definition("symmetric-key", 128), &ours, derivation, now()).unwrap().private
    };
    let key = derive("a", "u", "t");
    assert_eq!(key, derive("a", "u", "t"));
    assert_ne!(key, derive("b", "u", "t"));
    assert_ne!(key, derive("a", "v", "t"));
    assert_ne!(key, derive("a", "u", ""));
}

#[test]
fn a_marble_gets_a_fresh_certificate_from_the_manifest_s_template() {
    let ours = authority();
    let extra = ExtraExtension { id: vec![1, 2, 3, 99], critical: false, value: vec![5, 0] };
    let fields = CertFields {
        is_ca: true,
        dns_names: Some(vec![]),
        ip_addresses: Some(vec![]),
        ext_key_usage: Some(vec![]),
        extra_extensions: vec![extra],
        ..CertFields::default()
    };
    let definition =
        SecretDefinition { cert: Some(CertTemplate::Fields(Box::new(fields))), ..definition("cert-ecdsa", 256) };
    let derivation = SecretDerivation { root_secret: &[7; 32], uuid: "u", marble_type: "t" };
    let [one, two] = [(); 2].map(|()| generate_per_marble("s", &definition, &ours, derivation, now()).unwrap());
    assert_ne!(one.public, two.public);
    for secret in [one, two] {
        let certificate = secret.certificate.unwrap();
        let lines = describe(&certificate);
        assert!(lines.contains(&"2.5.29.14 critical=false SHA-256/160 of the key".to_owned()), "{lines:?}");
        assert_eq!(extension(&certificate, "1.2.3.99").unwrap(), [5, 0]);
        assert_eq!(extension(&certificate, "2.5.29.17"), None, "an empty list of names stays empty");
        assert_eq!(extension(&certificate, "2.5.29.37"), None, "an empty list of usages stays empty");
        assert!(lines[3].contains("MarbleRun Generated Certificate"), "{}", lines[3]);
    }
}

#[test]
fn validity_is_365_days_or_as_many_as_given_or_to_a_fixed_date() {
    let ours = authority();
    let generate = |valid_for, not_after| {
        let fields = CertFields { not_after, ..CertFields::default() };
        let definition = SecretDefinition {
            valid_for,
            cert: Some(CertTemplate::Fields(Box::new(fields))),
            ..definition("cert-ed25519", 0)
        };
        let secret = generate_shared("s", &definition, &ours, now()).unwrap();
        (secret.valid_for, support::not_after(&secret.certificate.unwrap()))
    };
    let start = now().as_second();
    assert_eq!(generate(0, None), (365, start + 365 * DAY));
    assert_eq!(generate(7, None), (7, start + 7 * DAY));
    assert_eq!(generate(u64::MAX, None), (u64::MAX, start - DAY), "the number wraps as upstream's does");
    assert_eq!(generate(0, Some(978_307_200)), (0, 978_307_200), "a past date is taken");
    assert_eq!(generate(0, Some(253_402_300_799)), (0, 253_402_300_799), "the last second of the year 9999");
}

#[test]
fn an_expiry_that_cannot_be_written_is_refused() {
    for (definition, message) in [
        (SecretDefinition { valid_for: 1 << 40, ..definition("cert-ed25519", 0) }, "cannot represent time"),
        (
            SecretDefinition { valid_for: i64::MAX.cast_unsigned(), ..definition("cert-ed25519", 0) },
            "cannot represent time",
        ),
        (SecretDefinition { valid_for: u64::MAX << 40, ..definition("cert-ed25519", 0) }, "before 1970"),
    ] {
        let error = generate_shared("s", &definition, &authority(), now()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!(check_definition("s", &definition, now()).unwrap_err().to_string(), error);
    }
}

#[test]
fn sizes_that_cannot_be_made_are_refused_with_the_secret_s_name() {
    let ours = authority();
    for (kind, size, message) in [
        ("symmetric-key", 0, "invalid secret size: s"),
        ("symmetric-key", 12, "invalid secret size: s"),
        ("symmetric-key", 18_446_744_073_709_551_608, "invalid secret size: s: 18446744073709551608 bits"),
        ("cert-rsa", 0, "invalid secret size: s: an RSA key has 1024 to"),
        ("cert-rsa", 1023, "invalid secret size: s: an RSA key has 1024 to"),
        ("cert-rsa", 16_385, "invalid secret size: s: an RSA key has 1024 to"),
        ("cert-ecdsa", 0, "invalid secret size: s: an ECDSA key has 224, 256, 384 or 521"),
        ("cert-ecdsa", 512, "invalid secret size: s: an ECDSA key has 224, 256, 384 or 521"),
        ("cert-ed25519", 256, "invalid secret size: s: an Ed25519 key"),
        ("plain", 0, "secret s is invalid: unsupported secret of type plain"),
        ("Plain", 0, "unknown type: Plain for secret: s"),
    ] {
        let definition = definition(kind, size);
        let error = generate_shared("s", &definition, &ours, now()).unwrap_err();
        assert!(matches!(error, PkiError::Definition(_)));
        assert!(error.to_string().starts_with(message), "{error}");
        let derivation = SecretDerivation { root_secret: &[7; 32], uuid: "u", marble_type: "t" };
        let per_marble = generate_per_marble("s", &definition, &ours, derivation, now()).unwrap_err();
        assert_eq!(per_marble.to_string(), error.to_string());
        assert_eq!(check_definition("s", &definition, now()).unwrap_err().to_string(), error.to_string());
    }
}

#[test]
fn a_derived_key_has_at_most_8160_bytes_and_a_shared_one_may_be_longer() {
    let ours = authority();
    let derivation = SecretDerivation { root_secret: &[7; 32], uuid: "u", marble_type: "t" };
    let generate = |size| generate_per_marble("s", &definition("symmetric-key", size), &ours, derivation, now());
    assert_eq!(generate(65_280).unwrap().private.unwrap().len(), 8160);
    let error = generate(65_288).unwrap_err().to_string();
    assert!(error.starts_with("hkdf: requested key length too large"), "{error}");
    assert_eq!(check_definition("s", &definition("symmetric-key", 65_288), now()).unwrap_err().to_string(), error);
    let shared = SecretDefinition { shared: true, ..definition("symmetric-key", 65_288) };
    check_definition("s", &shared, now()).unwrap();
    assert_eq!(generate_shared("s", &shared, &ours, now()).unwrap().private.unwrap().len(), 8161);
}

#[test]
fn a_certificate_can_be_the_template() {
    let ours = authority();
    let upstream = fixture("upstream-secrets.json");
    let der = base64(&upstream["secrets"]["certSharedEC"]["Cert"]);
    let definition = SecretDefinition { cert: Some(CertTemplate::Der(der.clone())), ..definition("cert-ed25519", 0) };
    let secret = generate_shared("s", &definition, &ours, now()).unwrap();
    assert_eq!(secret.valid_for, 0, "the end of validity is the template's");
    let certificate = secret.certificate.unwrap();
    assert_eq!(not_after(&certificate), not_after(&der));
    let (ours, theirs) = (describe(&certificate), describe(&der));
    assert_eq!(ours[3], theirs[3]);
    assert_eq!(ours[6..], theirs[6..]);
    let broken = SecretDefinition { cert: Some(CertTemplate::Der(vec![0x30, 0])), ..definition };
    let error = generate_shared("s", &broken, &authority(), now()).unwrap_err().to_string();
    assert!(error.starts_with("x509: malformed certificate"), "{error}");
}

#[test]
fn a_certificate_with_every_field_as_template_gives_every_field_back() {
    let ours = authority();
    let fields = CertFields {
        subject: Subject { organization: vec!["B".into(), "A".into()], ..Subject::default() },
        key_usage: 0b1_0110_0001,
        ext_key_usage: Some(vec![1, 9]),
        unknown_ext_key_usage: vec![vec![1, 2, 3]],
        is_ca: true,
        max_path_len_zero: true,
        ocsp_server: vec!["http://o".into()],
        issuing_certificate_url: vec!["http://i".into()],
        dns_names: Some(vec!["a".into(), "b".into()]),
        email_addresses: vec!["e@x".into()],
        ip_addresses: Some(vec!["10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()]),
        uris: vec!["spiffe://x/y".into()],
        permitted_dns_domains_critical: true,
        permitted_dns_domains: vec!["p".into()],
        excluded_dns_domains: vec!["q".into()],
        permitted_ip_ranges: vec![("10.0.0.0".parse().unwrap(), vec![255, 0, 0, 0])],
        excluded_ip_ranges: vec![("fe80::".parse().unwrap(), vec![255; 16])],
        permitted_email_addresses: vec!["x".into()],
        excluded_email_addresses: vec!["y".into()],
        permitted_uri_domains: vec!["u".into()],
        excluded_uri_domains: vec!["v".into()],
        crl_distribution_points: vec!["http://c".into()],
        policies: vec!["1.2.3".into()],
        ..CertFields::default()
    };
    let original =
        SecretDefinition { cert: Some(CertTemplate::Fields(Box::new(fields))), ..definition("cert-ecdsa", 384) };
    let original = generate_shared("s", &original, &ours, now()).unwrap().certificate.unwrap();
    let copy = SecretDefinition { cert: Some(CertTemplate::Der(original.clone())), ..definition("cert-ecdsa", 384) };
    let copy = generate_shared("s", &copy, &ours, now()).unwrap().certificate.unwrap();
    assert_eq!(describe(&copy), describe(&original));
    assert!(describe(&copy).contains(&"2.5.29.14 critical=false SHA-256/160 of the key".to_owned()));
}

#[test]
fn a_package_update_issues_shared_certificates_again_to_the_same_end() {
    let before = authority();
    let extra = ExtraExtension { id: vec![1, 2, 3, 99], critical: false, value: vec![5, 0] };
    for (is_ca, subject_key_id, id) in
        [(true, vec![], Some("SHA-256/160 of the key")), (false, vec![], None), (false, vec![1, 2, 3], Some("given"))]
    {
        let fields = CertFields {
            is_ca,
            subject_key_id,
            dns_names: Some(vec![]),
            extra_extensions: vec![extra.clone()],
            ..CertFields::default()
        };
        let definition = SecretDefinition {
            shared: true,
            valid_for: 14,
            cert: Some(CertTemplate::Fields(Box::new(fields))),
            ..definition("cert-ecdsa", 256)
        };
        let stored = generate_shared("s", &definition, &before, now()).unwrap();
        let after = before.rotate_intermediate(now()).unwrap();
        let later = now() + SignedDuration::from_hours(24);
        let secret = reissue_shared("s", &stored, &after, later).unwrap();
        assert_ne!(secret.public, stored.public);
        assert_eq!(secret.valid_for, 14);
        let (old, new) = (stored.certificate.unwrap(), secret.certificate.unwrap());
        assert_eq!(not_after(&new), not_after(&old));
        assert_issued_by(&new, &after.marble_root_certificate);
        // The same but for a day less of validity, in another order.
        let sorted = |certificate: &[u8]| {
            let mut lines = describe(certificate);
            lines.retain(|line| !line.starts_with("from "));
            lines.sort();
            lines
        };
        assert_eq!(sorted(&new), sorted(&old));
        let shown = sorted(&new).into_iter().find(|line| line.starts_with("2.5.29.14"));
        assert_eq!(shown, id.map(|id| format!("2.5.29.14 critical=false {id}")));
    }
}

#[test]
fn upstream_s_stored_certificates_are_issued_again() {
    let ours = authority();
    let upstream = fixture("upstream-secrets.json");
    for (name, kind) in [("certSharedEC", SecretKind::CertEcdsa), ("certSharedEd", SecretKind::CertEd25519)] {
        let theirs = &upstream["secrets"][name];
        let stored = Secret {
            kind,
            size: theirs["Size"].as_u64().unwrap(),
            shared: true,
            user_defined: false,
            valid_for: theirs["ValidFor"].as_u64().unwrap(),
            certificate: Some(base64(&theirs["Cert"])),
            private: Some(Zeroizing::new(base64(&theirs["Private"]))),
            public: Some(Zeroizing::new(base64(&theirs["Public"]))),
        };
        let at = Timestamp::from_second(not_before(&base64(&theirs["Cert"])));
        let secret = reissue_shared(name, &stored, &ours, at.unwrap()).unwrap();
        let mut new = describe(&secret.certificate.unwrap());
        let mut old = describe(stored.certificate.as_ref().unwrap());
        new.sort();
        old.sort();
        assert_eq!(new, old);
    }
}

#[test]
fn what_has_no_certificate_is_not_issued_again() {
    let ours = authority();
    let symmetric = generate_shared("s", &definition("symmetric-key", 8), &ours, now()).unwrap();
    reissue_shared("s", &symmetric, &ours, now()).unwrap_err();
    let placeholder = Secret::from_definition("s", &definition("cert-ecdsa", 256)).unwrap();
    reissue_shared("s", &placeholder, &ours, now()).unwrap_err();
}

#[test]
fn a_definition_stands_for_a_secret_without_a_value_or_with_what_the_manifest_presets() {
    let generated = Secret::from_definition("s", &definition("cert-rsa", 2048)).unwrap();
    assert_eq!((generated.valid_for, generated.private, generated.certificate), (365, None, None));
    let preset = SecretDefinition {
        user_defined: true,
        private: Some(b"value".to_vec()),
        public: Some(b"value".to_vec()),
        ..definition("plain", 0)
    };
    let preset = Secret::from_definition("s", &preset).unwrap();
    assert_eq!(preset.private.as_ref().unwrap().as_slice(), b"value");
    assert_eq!(preset.valid_for, 0);
    assert!(!format!("{preset:?}").contains("118, 97"), "{preset:?}");
    let user = SecretDefinition { user_defined: true, ..definition("cert-rsa", 0) };
    check_definition("s", &user, now()).unwrap();
    assert_eq!(Secret::from_definition("s", &user).unwrap().valid_for, 0);
}

#[test]
fn uploads_follow_the_kind_of_the_secret() {
    let certificate = golden("leaf");
    let bytes = |bytes: &[u8]| Some(Zeroizing::new(bytes.to_vec()));
    let key = |value: &[u8]| Upload { key: bytes(value), ..Upload::default() };
    let cert = |der: &[u8]| Upload { certificate: Some(der.to_vec()), ..Upload::default() };
    let symmetric = user_defined("symmetric-key", 128);
    let plain = user_defined("plain", 0);
    let rsa = user_defined("cert-rsa", 0);

    let secret = Secret::from_upload("s", &symmetric, key(&[1; 16])).unwrap();
    assert_eq!(secret.private, bytes(&[1; 16]));
    assert_eq!(secret.public, secret.private);
    assert_eq!(Secret::from_upload("s", &plain, key(b"")).unwrap().private, bytes(b""));
    assert_eq!(Secret::from_upload("s", &plain, Upload::default()).unwrap().private, None);
    let with_key = Upload { private: bytes(b"any"), ..cert(&certificate) };
    let secret = Secret::from_upload("s", &rsa, with_key).unwrap();
    assert_eq!(secret.private, bytes(b"any"));
    assert_eq!(*secret.public.unwrap(), public_key(&certificate));
    assert_eq!(secret.certificate.unwrap(), certificate);
    assert_eq!(Secret::from_upload("s", &rsa, cert(&certificate)).unwrap().private, None);

    let refused = |current: &Secret, upload| Secret::from_upload("s", current, upload).unwrap_err().to_string();
    let generated = Secret::from_definition("s", &definition("symmetric-key", 128)).unwrap();
    assert_eq!(refused(&generated, key(&[1; 16])), "secret s is not writeable");
    let mismatch = "declared size and actual size don't match: s";
    assert_eq!(refused(&symmetric, key(&[1; 15])), mismatch);
    assert_eq!(refused(&symmetric, cert(&certificate)), mismatch);
    assert_eq!(refused(&user_defined("symmetric-key", 0), key(b"")), "invalid secret size: s");
    assert_eq!(refused(&user_defined("symmetric-key", 9), key(b"x")), "invalid secret size: s");
    let no_certificate = |kind| format!("secret s is set to be of type {kind} but specified values for a certificate");
    let both = Upload { private: bytes(b""), ..key(&[1; 16]) };
    assert_eq!(refused(&symmetric, both), no_certificate("symmetric-key"));
    assert_eq!(refused(&plain, cert(&certificate)), no_certificate("plain"));
    assert_eq!(
        refused(&rsa, Upload { key: bytes(b""), ..cert(&certificate) }),
        "secret s is set to be of type cert-rsa but specified values for a symmetric-key"
    );
    assert_eq!(refused(&rsa, Upload::default()), "x509: unsupported public key type: <nil>");
    let malformed = Secret::from_upload("s", &rsa, cert(b"nonsense")).unwrap_err();
    assert_eq!(malformed, UploadError::CertificateMalformed);
}

#[test]
fn an_upload_replaces_the_whole_value() {
    let before = Secret::from_upload(
        "s",
        &user_defined("cert-rsa", 0),
        Upload { certificate: Some(golden("leaf")), private: Some(Zeroizing::new(b"old".to_vec())), key: None },
    )
    .unwrap();
    let after =
        Secret::from_upload("s", &before, Upload { certificate: Some(golden("root")), ..Upload::default() }).unwrap();
    assert_eq!(after.private, None);
    assert_eq!(*after.public.unwrap(), public_key(&golden("root")));
}

#[test]
fn the_public_key_of_a_certificate_is_its_spki() {
    assert_eq!(marblerun_pki::public_key_of(&golden("leaf")).unwrap(), public_key(&golden("leaf")));
    assert!(spki::SubjectPublicKeyInfoOwned::from_der(&public_key(&golden("leaf"))).is_ok());
    marblerun_pki::public_key_of(b"nonsense").unwrap_err();
}

fn user_defined(kind: &str, size: u64) -> Secret {
    Secret::from_definition("s", &SecretDefinition { user_defined: true, ..definition(kind, size) }).unwrap()
}
