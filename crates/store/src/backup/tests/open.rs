use marblerun_sealing::{HostKeyFile, KeySealer as _, Plain, SealMode, Sealers};

use super::*;
use crate::format::state_sample::secret;

fn none() -> VerifyWith {
    VerifyWith::default()
}

fn plain() -> Sealers {
    Sealers::simulation(Plain)
}

fn fails(path: &Path, with: &VerifyWith, host: Option<&Sealers>) -> (&'static str, String) {
    let error = open_state(path, with, host).unwrap_err();
    (error.code(), error.to_string())
}

#[test]
fn a_seal_directory_in_simulation_opens_by_itself_and_its_backup_with_keys_alone() {
    let deployment = Deployment::new(1, 0);
    let mut seal = deployment.seal(41);
    seal.commit();
    let opened = open_state(&seal.dir, &none(), Some(&plain())).unwrap();
    assert_eq!((opened.opened_by, opened.sequence), (OpenedBy::SealedKey, Some(42)));
    assert!(opened.notes.is_empty(), "{:?}", opened.notes);
    assert_eq!(opened.state.authority().root_certificate, deployment.state.authority().root_certificate);

    let backup = seal.backup();
    for path in [&backup, &seal.data()] {
        assert_eq!(fails(path, &none(), Some(&plain())).0, "bad_key", "a file is not a seal directory");
        assert_eq!(open_state(path, &keys(&[0]), Some(&plain())).unwrap().opened_by, OpenedBy::RecoveryKeys);
    }
    assert_eq!(fails(&seal.dir, &none(), None).0, "bad_key", "not without being asked to");
    assert_eq!(fails(&seal.dir, &keys(&[1]), Some(&plain())).0, "bad_key", "keys that were given count");
    let root = VerifyWith { root_certificate: Some(vec![1]), ..none() };
    assert_eq!(fails(&seal.dir, &root, Some(&plain())).0, "not_as_expected");
}

#[test]
fn the_key_of_another_host_does_not_open_it() {
    let deployment = Deployment::new(1, 0);
    let seal = deployment.seal(1);
    let host = HostKeyFile::new(&seal.home.path().join("host"));
    let new = host.new_slot(SealMode::ProductKey).unwrap();
    let slot =
        Slot::wrap(SlotKind::Platform, &new.secret, &deployment.dek, DekId([8; 16]), "host", &new.params).unwrap();
    let entry = KeyEntry::new(DekId([8; 16]), vec![slot], false, None, &deployment.dek);
    fs::write(seal.dir.join(SEALED_KEY), SealedKey { entries: vec![entry] }.encode().unwrap()).unwrap();
    let opened = open_state(&seal.dir, &none(), Some(&Sealers::simulation(host.clone()))).unwrap();
    assert!(opened.notes[0].contains("no valid witness"), "{:?}", opened.notes);
    let other = HostKeyFile::new(&seal.home.path().join("other"));
    other.new_slot(SealMode::ProductKey).unwrap();
    for stranger in [Sealers::simulation(other), plain()] {
        let (code, message) = fails(&seal.dir, &none(), Some(&stranger));
        assert_eq!(code, "no_key");
        assert!(message.contains("recovery keys"), "{message}");
    }
    fs::remove_file(seal.dir.join(SEALED_KEY)).unwrap();
    assert!(fails(&seal.dir, &none(), Some(&Sealers::simulation(host.clone()))).1.contains("there is no sealed_key"));
}

#[test]
fn an_older_copy_beside_the_key_of_a_newer_state_is_told() {
    let deployment = Deployment::new(1, 0);
    let seal = deployment.seal(41);
    let mut older = deployment.write(&seal.data(), &deployment.spec(40));
    let opened = open_state(&seal.dir, &none(), Some(&plain())).unwrap();
    assert!(opened.notes[0].contains("has seen a newer state"), "{:?}", opened.notes);
    let record = older.seal_delta(1, &[counter(1)]).unwrap();
    older.advance(&record);
    let file = fs::OpenOptions::new().write(true).open(seal.data()).unwrap();
    file.write_all_at(&record.bytes, older.end - record.bytes.len() as u64).unwrap();
    let opened = open_state(&seal.dir, &none(), Some(&plain())).unwrap();
    assert!(opened.notes[0].contains("not a continuation"), "{:?}", opened.notes);
}

#[test]
fn the_contents_tell_everything_but_values_of_secrets() {
    let mut deployment = Deployment::new(3, 2);
    let value = b"planted value that must not be shown".to_vec();
    deployment.state.apply(&secret("s", value.clone())).unwrap();
    let seal = deployment.seal(1);
    let contents = Contents::of(&open_state(&seal.dir, &keys(&[0, 2]), None).unwrap().state);
    assert_eq!((contents.phase, contents.incarnation, contents.update_log_entries), ("running", 1, 1));
    assert_eq!(contents.counters[0].value, 1);
    assert_eq!(contents.counters[0].uuid, "09090909-0909-0909-0909-090909090909");
    assert_eq!((contents.recovery[0].scheme, contents.recovery[0].threshold), ("threshold", 2));
    assert_eq!(contents.recovery[0].parties, NAMES);
    let shown = &contents.secrets[0];
    assert_eq!((shown.name.as_str(), shown.r#type, shown.value, shown.user_defined), ("s", "plain", "set", true));
    let json = serde_json::to_string(&contents).unwrap();
    use base64::Engine as _;
    for form in [
        String::from_utf8(value.clone()).unwrap(),
        hex::encode(&value),
        base64::prelude::BASE64_STANDARD.encode(&value),
        hex::encode(&deployment.state.root_secret().0),
        hex::encode(deployment.established.root.expose()),
    ] {
        assert!(!json.contains(&form), "{json}");
    }
}

#[test]
fn what_lies_under_the_name_sealed_key_is_told() {
    let home = TempDir::new().unwrap();
    let kind = |bytes: &[u8]| {
        fs::write(home.path().join(SEALED_KEY), bytes).unwrap();
        inspect_key(home.path())
    };
    assert_eq!(kind(&[7; 32]).0, "upstream_bare");
    assert_eq!(kind(&[7; 16]).0, "upstream_bare");
    assert_eq!(kind(&[7; 33]).0, "unusable");
    let mut blob = 1024u32.to_le_bytes().to_vec();
    blob.resize(1088, 1);
    let (code, details) = kind(&blob);
    assert!(code == "unusable" && details[0].contains("SGX enclave"), "{details:?}");
    assert!(kind(b"HSM_SEALED and more").1[0].contains("HSM"));
    let seal = Deployment::new(1, 0).seal(1);
    assert_eq!(inspect_key(&seal.dir), ("ours", vec!["plain (no protection): plain".to_owned()]));
    fs::remove_file(home.path().join(SEALED_KEY)).unwrap();
    assert_eq!(inspect_key(home.path()), ("missing", Vec::new()));
}
