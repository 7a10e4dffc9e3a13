use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::*;
use crate::format::state_sample;

/// An independent reader of the layout: length, header, nonce, AES-256-GCM, JSON of base64.
fn decode(dir: &Path, key: &[u8]) -> (Vec<u8>, BTreeMap<String, Vec<u8>>) {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let file = fs::read(dir.join(SEALED_DATA)).unwrap();
    let length = u32::from_le_bytes(file[..4].try_into().unwrap()) as usize;
    let (header, sealed) = file[4..].split_at(length);
    let (nonce, sealed) = sealed.split_at(12);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
    let mut sealed = sealed.to_vec();
    let plain = key.open_in_place(Nonce::try_assume_unique_for_key(nonce).unwrap(), Aad::empty(), &mut sealed).unwrap();
    let map: BTreeMap<String, String> = serde_json::from_slice(plain).unwrap();
    let map = map.into_iter().map(|(name, value)| (name, BASE64_STANDARD.decode(value).unwrap())).collect();
    (header.to_vec(), map)
}

fn export(state: &State, dir: &Path, bare_key: bool) -> Result<Exported, BackupError> {
    export_to_upstream(state, dir, bare_key, jiff::Timestamp::now())
}

#[test]
fn the_key_is_the_recovery_root_and_the_header_has_the_hashes_of_the_secrets() {
    for (count, threshold) in [(1, 0), (2, 0), (3, 2)] {
        let deployment = Deployment::new(count, threshold);
        let home = TempDir::new().unwrap();
        let dir = home.path().join("made/for it");
        let exported = export(&deployment.state, &dir, true).unwrap();
        assert_eq!(names(&dir), [SEALED_DATA, SEALED_KEY]);
        assert_eq!((mode(&dir), mode(&exported.sealed_data)), (0o700, 0o600));
        let key = exported.sealed_key.unwrap();
        assert_eq!(mode(&key), 0o600);
        let root = deployment.established.root.expose();
        assert_eq!(fs::read(key).unwrap(), root);
        let (header, map) = decode(&dir, root);
        let known: Vec<_> = deployment.established.set.parties.iter().filter_map(|party| party.commitment).collect();
        match serde_json::from_slice(&header).unwrap() {
            Value::Null => assert_eq!((count, header.as_slice()), (1, &b"null"[..])),
            Value::Object(hashes) => {
                assert_eq!(hashes.len(), count);
                assert!(known.iter().all(|hash| hashes[&hex::encode(hash)] == true));
            }
            other => panic!("{other}"),
        }
        assert_eq!(map["state"], b"3");
        assert_eq!(map["manifest"], deployment.state.manifest().unwrap().raw);
        assert_eq!(map["rootSecret"], deployment.state.root_secret().0.as_slice());
        // Our own reader recovers it with the same secrets.
        let with =
            VerifyWith { recovery_data: deployment.established.encrypted_secrets(), ..keys(&[0, 1, 2][..count]) };
        let proof = verify(&dir, &with).unwrap();
        assert_eq!(proof.manifest_fingerprint, deployment.state.manifest().unwrap().fingerprint);
        assert!(matches!(proof.quorum, Quorum::Proven(_)));
    }
}

#[test]
fn a_placeholder_is_made_for_each_secret_that_every_marble_gets_for_its_own() {
    let mut deployment = Deployment::new(1, 0);
    let raw = r#"{"Secrets": {"key": {"Type": "symmetric-key", "Size": 128},
                               "cert": {"Type": "cert-ecdsa", "Size": 256, "Cert": {"Subject": {"CommonName": "own"}}}}}"#;
    let mut definitions = marblerun_manifest::Manifest::decode(raw.as_bytes()).unwrap().secrets;
    deployment.state.apply(&manifest(raw)).unwrap();
    for (name, definition) in std::mem::take(&mut definitions) {
        let secret = marblerun_pki::Secret::from_definition(&name, &definition).unwrap();
        deployment.state.apply(&Change::Secret(name.clone(), Some(Arc::new(secret)))).unwrap();
        deployment.state.apply(&Change::PreviousIsCurrent(name)).unwrap();
    }
    let home = TempDir::new().unwrap();
    export(&deployment.state, home.path(), true).unwrap();
    let (_, map) = decode(home.path(), deployment.established.root.expose());
    let stored = |key: &str| -> Value { serde_json::from_slice(&map[key]).unwrap() };
    let (key, cert) = (stored("secret:key"), stored("secret:cert"));
    assert_eq!(BASE64_STANDARD.decode(key["Private"].as_str().unwrap()).unwrap().len(), 16);
    assert_eq!((&key["Private"], key["Cert"].is_null()), (&key["Public"], true));
    assert_eq!((cert["ValidFor"].as_u64(), cert["Size"].as_u64()), (Some(365), Some(256)));
    let der = BASE64_STANDARD.decode(cert["Cert"].as_str().unwrap()).unwrap();
    assert!(der.windows(3).any(|window| window == b"own"), "the template is in the certificate");
    assert_eq!((&stored("previousSecret:key"), &stored("previousSecret:cert")), (&key, &cert));
}

#[test]
fn nothing_is_overwritten_and_a_refusal_leaves_nothing_behind() {
    let deployment = Deployment::new(1, 0);
    for (present, bare_key) in [(SEALED_DATA, true), (SEALED_KEY, true), (SEALED_KEY, false)] {
        let home = TempDir::new().unwrap();
        fs::write(home.path().join(present), b"somebody's").unwrap();
        assert_eq!(export(&deployment.state, home.path(), bare_key).unwrap_err().code(), "exists");
        assert_eq!(names(home.path()), [present]);
        assert_eq!(fs::read(home.path().join(present)).unwrap(), b"somebody's");
    }
    let home = TempDir::new().unwrap();
    let exported = export(&deployment.state, home.path(), false).unwrap();
    assert!(exported.sealed_key.is_none());
    assert_eq!(names(home.path()), [SEALED_DATA], "the key is left out");
}

#[test]
fn what_nobody_could_open_or_that_has_no_form_is_refused() {
    let home = TempDir::new().unwrap();
    let mut without_keys = Deployment::new(1, 0).state;
    without_keys.apply(&Change::Recovery(Vec::new())).unwrap();
    let error = export(&without_keys, home.path(), false).unwrap_err();
    assert!(error.code() == "not_exportable" && error.to_string().contains("nobody could open it"), "{error}");
    let exported = export(&without_keys, &home.path().join("key"), true).unwrap();
    assert!(exported.notes.iter().any(|note| note.contains("sealed_key alone opens")), "{:?}", exported.notes);
    decode(&home.path().join("key"), &fs::read(exported.sealed_key.unwrap()).unwrap());

    let fresh = State::new(
        marblerun_state::Phase::AcceptingManifest,
        *without_keys.lineage(),
        Arc::clone(without_keys.authority()),
        without_keys.root_secret().clone(),
    );
    assert_eq!(export(&fresh, &home.path().join("fresh"), true).unwrap_err().code(), "not_exportable");

    // Several parties whose hashes were lost.
    let deployment = Deployment::new(2, 0);
    let mut set = deployment.established.set.clone();
    set.parties.iter_mut().for_each(|party| party.commitment = None);
    let entry = RecoveryEntry { set, root: deployment.established.root.clone() };
    let mut lost = deployment.state.clone();
    lost.apply(&Change::Recovery(vec![Arc::new(entry)])).unwrap();
    assert!(export(&lost, &home.path().join("lost"), true).unwrap_err().to_string().contains("hashes"));
    assert!(!home.path().join("lost").exists());
}

#[test]
fn what_is_not_carried_over_is_told() {
    let home = TempDir::new().unwrap();
    let notes = export(&Deployment::new(2, 0).state, home.path(), true).unwrap().notes.join("\n");
    for part in ["incarnation (1)", "audit trail", "recovery data of the parties", "in the clear"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    let plain = TempDir::new().unwrap();
    let mut state = state_sample::state();
    state.apply(&manifest(r#"{"Config": {"SealMode": "Disabled"}}"#)).unwrap();
    let notes = export(&state, plain.path(), false).unwrap().notes.join("\n");
    assert!(notes.contains("SealMode Disabled") && !notes.contains("in the clear"), "{notes}");
}
