use super::*;

fn fails(path: &Path, with: &VerifyWith) -> (&'static str, String) {
    let error = verify(path, with).unwrap_err();
    (error.code(), error.to_string())
}

#[test]
fn a_backup_opens_with_the_keys_of_its_parties_and_shows_what_is_in_it() {
    let deployment = Deployment::new(1, 0);
    let mut seal = deployment.seal(41);
    seal.commit();
    let proof = verify(&seal.backup(), &keys(&[0])).unwrap();
    assert_eq!((proof.sequence, proof.time_ms), (Some(42), Some(1_800_000_000_000)));
    assert_eq!(proof.root_fingerprint, crate::digest::sha256(&[&deployment.state.authority().root_certificate]));
    assert_eq!(proof.manifest_fingerprint, deployment.state.manifest().unwrap().fingerprint);
    assert_eq!(proof.quorum, Quorum::Proven(vec!["alice".into()]));
    assert!(!proof.header_altered);
    assert_eq!(verify(&seal.dir, &keys(&[0])).unwrap().sequence, Some(42), "a seal directory");
}

#[test]
fn all_of_several_parties_and_any_that_reach_the_threshold() {
    let backup = Deployment::new(2, 0).seal(1);
    assert!(verify(&backup.backup(), &keys(&[1, 0])).is_ok());
    let (code, message) = fails(&backup.dir, &keys(&[1]));
    assert_eq!(code, "not_opened");
    assert!(message.contains("one more recovery secret is needed"), "{message}");

    let backup = Deployment::new(3, 2).seal(1);
    for pair in [[0, 1], [0, 2], [2, 1]] {
        let Quorum::Proven(names) = verify(&backup.dir, &keys(&pair)).unwrap().quorum else { panic!() };
        assert_eq!(names.len(), 2);
    }
    assert!(verify(&backup.dir, &keys(&[0, 1, 2])).is_ok());
    assert_eq!(fails(&backup.dir, &keys(&[2])).0, "not_opened");
}

#[test]
fn a_stranger_s_key_no_key_and_what_is_no_key_are_refused_by_name() {
    let seal = Deployment::new(2, 0).seal(1);
    let (code, message) = fails(&seal.dir, &keys(&[0, 2]));
    assert_eq!(code, "bad_key");
    assert!(message.contains("recovery key 2") && message.contains("alice, bob"), "{message}");
    assert_eq!(fails(&seal.dir, &VerifyWith::default()).0, "bad_key");
    let garbage = VerifyWith { private_keys: vec![Zeroizing::new("no key".into())], ..VerifyWith::default() };
    assert_eq!(fails(&seal.dir, &garbage).0, "bad_key");
}

#[test]
fn of_a_backup_without_recovery_keys_it_is_said_that_no_key_opens_it() {
    let mut deployment = Deployment::new(1, 0);
    deployment.state.apply(&Change::Recovery(Vec::new())).unwrap();
    let (code, message) = fails(&deployment.seal(1).dir, &keys(&[0]));
    assert_eq!(code, "not_opened");
    assert!(message.contains("names no recovery keys"), "{message}");
}

#[test]
fn the_recovery_data_serves_where_the_header_does_not_hold_the_secrets() {
    let deployment = Deployment::new(2, 0);
    let seal = deployment.seal(1);
    deployment.write(&seal.data(), &FileSpec { recovery_in_header: false, ..deployment.spec(1) });
    let (code, message) = fails(&seal.dir, &keys(&[0, 1]));
    assert_eq!(code, "bad_key");
    assert!(message.contains("give the recovery data"), "{message}");
    let with = VerifyWith { recovery_data: deployment.established.encrypted_secrets(), ..keys(&[0, 1]) };
    assert!(verify(&seal.dir, &with).is_ok());
    // Recovery data of another time does not fit.
    let other = Deployment::new(2, 0).established.encrypted_secrets();
    assert_eq!(fails(&seal.dir, &VerifyWith { recovery_data: other, ..keys(&[0, 1]) }).0, "not_opened");
}

#[test]
fn decrypted_secrets_open_a_backup_but_prove_no_signatures() {
    let deployment = Deployment::new(1, 0);
    let seal = deployment.seal(1);
    let secrets = vec![Zeroizing::new(deployment.established.root.expose().to_vec())];
    let proof = verify(&seal.dir, &VerifyWith { secrets: secrets.clone(), ..VerifyWith::default() }).unwrap();
    assert_eq!(proof.quorum, Quorum::NotChecked);
    let proof = verify(&seal.dir, &VerifyWith { secrets, ..keys(&[0]) }).unwrap();
    assert_eq!(proof.quorum, Quorum::Proven(vec!["alice".into()]));
    let wrong = vec![Zeroizing::new(vec![1; 32])];
    assert_eq!(fails(&seal.dir, &VerifyWith { secrets: wrong, ..VerifyWith::default() }).0, "not_opened");
}

#[test]
fn keys_that_a_coordinator_would_refuse_are_refused() {
    // Whoever knows the recovery keys can seal a state to them. The manifest inside decides.
    let mut deployment = Deployment::new(1, 0);
    deployment.state.apply(&manifest(&format!("{{\"RecoveryKeys\":{{\"eve\":{:?}}}}}", PUBLIC[2]))).unwrap();
    let seal = deployment.seal(1);
    assert_eq!(fails(&seal.dir, &keys(&[0])).0, "quorum_refused");
}

#[test]
fn a_root_certificate_that_is_known_must_be_the_one_inside() {
    let deployment = Deployment::new(1, 0);
    let seal = deployment.seal(1);
    let root = deployment.state.authority().root_certificate.clone();
    assert!(verify(&seal.dir, &VerifyWith { root_certificate: Some(root.clone()), ..keys(&[0]) }).is_ok());
    let other = [root.as_slice(), &[0]].concat();
    assert_eq!(fails(&seal.dir, &VerifyWith { root_certificate: Some(other), ..keys(&[0]) }).0, "not_as_expected");
}

#[test]
fn damage_is_found_and_a_torn_end_is_told() {
    let mut seal = Deployment::new(1, 0).seal(1);
    seal.commit();
    let whole = fs::read(seal.data()).unwrap();
    fs::write(seal.data(), [whole.as_slice(), &[1; 50]].concat()).unwrap();
    let proof = verify(&seal.dir, &keys(&[0])).unwrap();
    assert_eq!((proof.facts.condition.code(), proof.sequence), ("torn", Some(2)));
    fs::write(seal.data(), &whole[..whole.len() - 1]).unwrap();
    assert_eq!(fails(&seal.dir, &keys(&[0])).0, "cut_short");
    // Checksums right, content not: only the key finds it.
    let mut forged = whole.clone();
    let record = whole.len() - 10;
    forged[record] ^= 1;
    let start = whole.windows(4).rposition(|window| window == b"MRR1").unwrap() + 32;
    let end = forged.len() - 4;
    let crc = crc32c::crc32c(&forged[start..end]);
    forged[end..].copy_from_slice(&crc.to_le_bytes());
    fs::write(seal.data(), forged).unwrap();
    assert_eq!(inspect(&seal.dir).unwrap().condition.code(), "whole");
    assert_eq!(fails(&seal.dir, &keys(&[0])).0, "damaged");
}

mod of_the_go_coordinator {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::Value;

    use super::*;

    fn fixture(name: &str, file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/upstream").join(name).join(file)
    }

    fn json(name: &str, file: &str) -> Value {
        serde_json::from_slice(&fs::read(fixture(name, file)).unwrap()).unwrap()
    }

    fn recovery_data(name: &str) -> BTreeMap<String, Vec<u8>> {
        let data = json(name, "recovery_data.json");
        let parties = data["RecoverySecrets"].as_object().unwrap().iter();
        parties.map(|(name, text)| (name.clone(), STANDARD.decode(text.as_str().unwrap()).unwrap())).collect()
    }

    #[test]
    fn a_backup_opens_with_its_recovery_data_and_keys() {
        for (name, parties) in [("single", &[0][..]), ("multi-xor-2", &[1, 0]), ("shamir-2of3", &[2, 0])] {
            let with = VerifyWith { recovery_data: recovery_data(name), ..keys(parties) };
            let proof = verify(&fixture(name, ""), &with).unwrap_or_else(|error| panic!("{name}: {error}"));
            let expected = json(name, "expected.json");
            assert_eq!(hex::encode(proof.root_fingerprint), expected["root_cert_sha256"]);
            assert_eq!(hex::encode(proof.manifest_fingerprint), expected["manifest_fingerprint"]);
            assert!(matches!(proof.quorum, Quorum::Proven(names) if names.len() == parties.len()), "{name}");
            assert_eq!(proof.sequence, None);
        }
    }

    #[test]
    fn a_backup_opens_with_decrypted_secrets() {
        for name in ["single", "multi-xor-2", "shamir-2of3"] {
            let expected = json(name, "expected.json");
            let secrets = expected["recovery_secrets_hex"].as_object().unwrap().values();
            let secrets = secrets.map(|text| Zeroizing::new(hex::decode(text.as_str().unwrap()).unwrap())).collect();
            let with = VerifyWith { secrets, ..VerifyWith::default() };
            assert_eq!(verify(&fixture(name, "sealed_data"), &with).unwrap().quorum, Quorum::NotChecked, "{name}");
        }
    }

    #[test]
    fn a_backup_of_a_version_with_16_byte_keys_opens_with_its_key() {
        let secrets = vec![Zeroizing::new(fs::read(fixture("legacy-16byte-key", "sealed_key")).unwrap())];
        assert!(verify(&fixture("legacy-16byte-key", ""), &VerifyWith { secrets, ..VerifyWith::default() }).is_ok());
    }

    #[test]
    fn too_few_keys_missing_data_and_damage_are_refused() {
        let with = VerifyWith { recovery_data: recovery_data("multi-xor-2"), ..keys(&[0]) };
        assert_eq!(fails(&fixture("multi-xor-2", ""), &with).0, "not_opened");
        assert_eq!(fails(&fixture("multi-xor-2", ""), &keys(&[0, 1])).0, "bad_key", "the header names no parties");
        let home = TempDir::new().unwrap();
        let mut data = fs::read(fixture("single", "sealed_data")).unwrap();
        data[2000] ^= 1;
        fs::write(home.path().join("damaged"), data).unwrap();
        let with = VerifyWith { recovery_data: recovery_data("single"), ..keys(&[0]) };
        assert_eq!(fails(&home.path().join("damaged"), &with).0, "not_opened");
    }
}
