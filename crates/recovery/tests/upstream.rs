//! Recovery data made by upstream: opened with its keys, collected under its header, checked with its signatures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use marblerun_recovery::rsa_keys::PrivateKey;
use marblerun_recovery::{Ceremony, Outcome, RecoverySet, Upload, verify_quorum};
use serde_json::Value;
use zeroize::Zeroizing;

fn fixture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

struct Deployment {
    dek: Vec<u8>,
    header: String,
    threshold: u64,
    needed: usize,
    keys: BTreeMap<String, String>,
    uploads: BTreeMap<String, Upload>,
    ciphertexts: BTreeMap<String, Vec<u8>>,
    private: BTreeMap<String, PrivateKey>,
}

fn deployment(name: &str, threshold: u64) -> Deployment {
    let all: Value = serde_json::from_str(&fixture("upstream.json")).unwrap();
    let one = &all[name];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let object = |field: &str| one[field].as_object().unwrap().clone();
    let decode = |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
    let files: BTreeMap<String, String> =
        object("recovery_key_files").iter().map(|(party, file)| (party.clone(), text(file))).collect();
    let signatures = object("recovery_signatures_b64");
    let secrets = object("recovery_secrets_hex");
    let uploads = secrets.iter().map(|(party, secret)| {
        let secret = Zeroizing::new(hex::decode(secret.as_str().unwrap()).unwrap());
        (party.clone(), Upload { secret, signature: decode(&signatures[party]) })
    });
    Deployment {
        dek: hex::decode(one["dek_hex"].as_str().unwrap()).unwrap(),
        header: text(&one["header_utf8"]),
        threshold,
        needed: if threshold == 0 { secrets.len() } else { threshold as usize },
        uploads: uploads.collect(),
        ciphertexts: object("recovery_data").iter().map(|(party, data)| (party.clone(), decode(data))).collect(),
        keys: files.iter().map(|(party, file)| (party.clone(), fixture(&file.replace("_priv", "_pub")))).collect(),
        private: files
            .iter()
            .map(|(party, file)| (party.clone(), PrivateKey::from_pem(&fixture(file)).unwrap()))
            .collect(),
    }
}

fn deployments() -> Vec<Deployment> {
    [("single", 0), ("uniquekey", 0), ("multi-xor-2", 0), ("shamir-2of3", 2), ("rotation/1-before", 0)]
        .into_iter()
        .chain([("rotation/2-after", 0)])
        .map(|(name, threshold)| deployment(name, threshold))
        .collect()
}

#[test]
fn each_party_decrypts_its_recovery_data_and_signs_as_upstreams_cli_does() {
    for deployment in deployments() {
        for (party, upload) in &deployment.uploads {
            let key = &deployment.private[party];
            assert_eq!(key.decrypt(&deployment.ciphertexts[party]).unwrap(), upload.secret);
            assert_eq!(key.sign(&upload.secret).unwrap(), upload.signature);
        }
    }
}

#[test]
fn the_parties_recover_an_upstream_state_in_any_order() {
    for deployment in deployments() {
        for lost in [false, true] {
            let sets: Vec<RecoverySet> = match lost {
                true => Vec::new(),
                false => vec![RecoverySet::from_upstream_header(deployment.header.as_bytes()).unwrap()],
            };
            let mut orders: Vec<Vec<&String>> = vec![deployment.uploads.keys().collect()];
            orders.push(orders[0].iter().rev().copied().collect());
            for order in orders {
                let mut ceremony = Ceremony::new(&sets);
                let opens = |candidate: &[u8]| candidate == deployment.dek;
                for (index, party) in order.into_iter().take(deployment.needed).enumerate() {
                    let upload = deployment.uploads[party].clone();
                    let junk = Upload { secret: Zeroizing::new(vec![index as u8; 33]), signature: vec![] };
                    assert!(!matches!(ceremony.add(junk, &opens), Ok(Outcome::Complete { .. })));
                    match ceremony.add(upload, &opens).unwrap() {
                        Outcome::Accepted { .. } => assert!(index + 1 < deployment.needed),
                        Outcome::Complete { root, uploads } => {
                            assert_eq!(index + 1, deployment.needed);
                            assert_eq!(root.expose(), deployment.dek);
                            verify_quorum(&deployment.keys, deployment.threshold, &uploads).unwrap();
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn secrets_from_before_a_rotation_are_refused_after_it() {
    let before = deployment("rotation/1-before", 0);
    let after = deployment("rotation/2-after", 0);
    let mut ceremony = Ceremony::new(&[RecoverySet::from_upstream_header(after.header.as_bytes()).unwrap()]);
    for upload in before.uploads.into_values() {
        let Err(error) = ceremony.add(upload, &|_| true) else { panic!("an old secret was taken") };
        assert!(error.to_string().contains("before or after a change of the recovery keys"), "{error}");
    }
}

#[test]
fn a_16_byte_key_of_an_old_version_recovers() {
    let all: Value = serde_json::from_str(&fixture("upstream.json")).unwrap();
    let old = &all["legacy-16byte-key"];
    let dek = hex::decode(old["dek_hex"].as_str().unwrap()).unwrap();
    let signature = BASE64_STANDARD.decode(old["recovery_signature_b64"].as_str().unwrap()).unwrap();
    let mut ceremony = Ceremony::new(&[RecoverySet::from_upstream_header(b"null").unwrap()]);
    let upload = Upload { secret: Zeroizing::new(dek.clone()), signature };
    let Ok(Outcome::Complete { root, uploads }) = ceremony.add(upload, &|candidate| candidate == dek) else {
        panic!("not complete");
    };
    assert_eq!(root.expose(), dek);
    let keys = [("recoveryKey1".to_owned(), fixture("keys/recovery1_pub.pem"))].into();
    assert_eq!(verify_quorum(&keys, 0, &uploads).unwrap(), ["recoveryKey1"]);
}
