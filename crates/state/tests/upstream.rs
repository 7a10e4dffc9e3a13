//! States of upstream: read, understood, and written again to the byte.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use marblerun_manifest::model::{SecretDefinition, SecretKind};
use marblerun_pki::Secret;
use marblerun_recovery::{RecoveryRoot, Scheme, commitment};
use marblerun_state::{Change, CounterKey, Loader, Permission, Phase, RetiredRoot, State, upstream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const DEPLOYMENTS: [&str; 7] =
    ["single", "no-recovery-keys", "multi-xor-2", "shamir-2of3", "uniquekey", "rotation/1-before", "rotation/2-after"];

struct Fixture {
    plaintext: Vec<u8>,
    manifest: Vec<u8>,
    expected: Value,
}

impl Fixture {
    fn load(name: &str) -> Self {
        Self::open(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/upstream-state").join(name))
    }

    /// The large one is not copied into the project.
    fn rich() -> Option<Self> {
        let shared = "../../../shared/fixtures/upstream-state/rich";
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(shared);
        if !folder.exists() {
            eprintln!("SKIPPED: {} is absent, so the state with every kind of key is not tested", folder.display());
            return None;
        }
        Some(Self::open(folder))
    }

    fn open(folder: PathBuf) -> Self {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        Self {
            plaintext: read("state_plaintext.json"),
            manifest: read("manifest.json"),
            expected: serde_json::from_slice(&read("expected.json")).unwrap(),
        }
    }

    fn root(&self) -> Vec<u8> {
        hex::decode(self.expected["dek_hex"].as_str().unwrap()).unwrap()
    }

    fn header(&self) -> Vec<u8> {
        hex::decode(self.expected["header_hex"].as_str().unwrap()).unwrap()
    }

    fn import(&self) -> State {
        self.import_changed(|_| {}).unwrap()
    }

    /// Imports after a change of the store.
    fn import_changed(&self, change: impl FnOnce(&mut BTreeMap<String, Value>)) -> Result<State, String> {
        let mut map: BTreeMap<String, Value> = serde_json::from_slice(&self.plaintext).unwrap();
        change(&mut map);
        import(&serde_json::to_vec(&map).unwrap(), &self.header(), &self.root())
    }
}

fn import(plaintext: &[u8], header: &[u8], root: &[u8]) -> Result<State, String> {
    let root = RecoveryRoot::new(Zeroizing::new(root.to_vec()));
    upstream::import(plaintext, header, root, [7; 16], [8; 16]).map_err(|error| error.to_string())
}

fn no_placeholder(name: &str, _: &SecretDefinition) -> Result<Secret, String> {
    Err(format!("a placeholder for {name} was asked for"))
}

fn export(state: &State) -> String {
    let bytes = upstream::export(state, &no_placeholder).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn text(value: impl AsRef<[u8]>) -> Value {
    BASE64_STANDARD.encode(value).into()
}

/// Written as a snapshot and read again.
fn reloaded(state: &State) -> State {
    let mut loader = Loader::new();
    for change in state.to_changes() {
        loader.apply(&Change::decode(&change.encode()).unwrap()).unwrap();
    }
    loader.finish().unwrap()
}

fn all() -> impl Iterator<Item = (String, Fixture)> {
    let copied = DEPLOYMENTS.into_iter().map(|name| (name.to_owned(), Fixture::load(name)));
    copied.chain(Fixture::rich().map(|rich| ("rich".to_owned(), rich)))
}

#[test]
fn an_imported_state_exports_to_the_same_bytes() {
    for (name, fixture) in all() {
        let plaintext = String::from_utf8(fixture.plaintext.clone()).unwrap();
        let state = fixture.import();
        assert_eq!(export(&state), plaintext, "{name}");
        assert_eq!(export(&reloaded(&state)), plaintext, "{name}, after it was sealed and opened by us");
        let header = upstream::export_header(&state).unwrap();
        assert_eq!(hex::encode(header), fixture.expected["header_hex"].as_str().unwrap(), "{name}");
    }
}

#[test]
fn an_imported_state_is_the_deployment_it_was() {
    for (name, fixture) in all() {
        let state = fixture.import();
        let active = state.manifest().unwrap();
        let expected = |field: &str| fixture.expected[field].as_str().unwrap().to_owned();
        assert_eq!(state.phase(), Phase::AcceptingMarbles, "{name}");
        assert_eq!(active.raw, fixture.manifest, "{name}");
        assert_eq!(hex::encode(active.fingerprint), expected("manifest_fingerprint"), "{name}");
        assert_eq!(BASE64_STANDARD.encode(&active.signature), expected("manifest_signature_b64"), "{name}");
        let root_hash: [u8; 32] = Sha256::digest(&state.authority().root_certificate).into();
        assert_eq!(hex::encode(root_hash), expected("root_cert_sha256"), "{name}");
        assert_eq!(state.lineage().deployment_id, root_hash[..16], "two imports agree on who they are");
        assert_eq!((state.lineage().incarnation, state.lineage().incarnation_id), (1, [7; 16]));
    }
}

#[test]
fn the_recovery_set_follows_from_manifest_and_header() {
    let set = |name: &str| {
        let fixture = Fixture::load(name);
        let state = fixture.import();
        state.recovery().iter().for_each(|entry| assert_eq!(entry.root.expose(), fixture.root()));
        state.recovery().first().map(|entry| entry.set.clone())
    };
    assert!(set("no-recovery-keys").is_none());

    let single = set("single").unwrap();
    assert_eq!((single.scheme, single.threshold, single.epoch), (Scheme::Single, 1, [8; 16]));
    assert_eq!(single.parties[0].commitment, Some(commitment(&Fixture::load("single").root())));

    let xor = set("multi-xor-2").unwrap();
    assert_eq!((xor.scheme, xor.threshold, xor.parties.len()), (Scheme::Xor, 2, 2));
    assert_eq!(xor.unassigned_commitments.len(), 2);

    let shamir = set("shamir-2of3").unwrap();
    assert_eq!((shamir.scheme, shamir.threshold, shamir.parties.len()), (Scheme::Shamir, 2, 3));
    let names: Vec<&str> = shamir.parties.iter().map(|party| party.name.as_str()).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
    assert!(shamir.parties.iter().all(|party| party.public_key.len() > 256 && party.encrypted_secret.is_empty()));
    for secret in Fixture::load("shamir-2of3").expected["recovery_secrets_hex"].as_object().unwrap().values() {
        let hash = commitment(&hex::decode(secret.as_str().unwrap()).unwrap());
        assert!(shamir.unassigned_commitments.contains(&hash));
    }
}

#[test]
fn a_lost_or_foreign_header_leaves_the_parties_and_their_keys() {
    let fixture = Fixture::load("shamir-2of3");
    let foreign = Fixture::load("multi-xor-2").header();
    for header in [&b""[..], b"null", b"garbage", &foreign] {
        let state = import(&fixture.plaintext, header, &fixture.root()).unwrap();
        let set = &state.recovery()[0].set;
        assert!(set.unassigned_commitments.is_empty());
        assert_eq!((set.scheme, set.threshold, set.parties.len()), (Scheme::Shamir, 2, 3));
        assert!(upstream::export_header(&state).is_err());
        assert_eq!(export(&state).as_bytes(), fixture.plaintext);
    }
}

#[test]
fn a_16_byte_key_of_an_old_version_becomes_the_recovery_root() {
    let root = Fixture::load("single"); // its plaintext, under another key
    let old: Value =
        serde_json::from_str(include_str!("fixtures/upstream-state/legacy-16byte-key/expected.json")).unwrap();
    let key = hex::decode(old["dek_hex"].as_str().unwrap()).unwrap();
    let state = reloaded(&import(&root.plaintext, b"null", &key).unwrap());
    assert_eq!(state.recovery()[0].root.expose(), key);
    assert_eq!(key.len(), 16);
}

#[test]
fn every_kind_of_value_finds_its_place() {
    let Some(fixture) = Fixture::rich() else { return };
    let state = reloaded(&fixture.import());
    let active = state.manifest().unwrap();

    assert_eq!(state.package("backend").unwrap().security_version, Some(2));
    assert!(state.package("frontend").unwrap().advisories_given);
    assert_eq!(state.activations("counter"), 1);
    let uuid = *b"\x11\x11\x11\x11\x22\x22\x33\x33\x44\x44\x55\x55\x55\x55\x55\x55";
    let counter = CounterKey { marble_type: "counter".to_owned(), uuid, name: "foo".to_owned() };
    assert_eq!((state.counter(&counter), state.counters_of("counter", &uuid)), (3, 1));
    assert_ne!(state.root_secret(), state.previous_root_secret());
    assert_eq!(state.pending_update().unwrap().missing_acknowledgments, 1);
    assert!(state.pending_update().unwrap().required_users["admin1"]);
    assert_eq!(state.update_log().count(), 10);
    assert!(state.update_log().next().unwrap().ends_with("\"update\":\"Initial manifest set\"}"));

    let admin = &active.users["admin1"];
    assert_eq!(active.user_by_certificate(&admin.certificate).unwrap().name, "admin1");
    assert!(admin.is_allowed(Permission::UpdateManifest, std::iter::empty()));
    assert!(admin.is_allowed(Permission::WriteSecret, ["plainUser", "we:ird<&>é "].into_iter()));
    assert!(!admin.is_allowed(Permission::WriteSecret, ["plainUser", "symShared"].into_iter()));
    assert!(!admin.is_allowed(Permission::UpdateSecurityVersion, ["frontend"].into_iter()));

    assert_eq!(state.secret("plainUser").unwrap().private.as_ref().unwrap().as_slice(), b"plain value");
    assert!(state.previous_secret("plainUser").unwrap().private.is_none());
    assert!(state.secret("certUser").unwrap().certificate.is_some());
    let shared = state.secret("symShared").unwrap();
    assert_eq!((shared.kind, shared.size, shared.private.as_ref().unwrap().len()), (SecretKind::SymmetricKey, 128, 16));
}

#[test]
fn a_placeholder_is_never_handed_out() {
    let Some(fixture) = Fixture::rich() else { return };
    let state = fixture.import();
    for name in ["symPrivate", "certPrivateRSA"] {
        for secret in [state.secret(name).unwrap(), state.previous_secret(name).unwrap()] {
            assert!(secret.private.is_none() && secret.public.is_none() && secret.certificate.is_none(), "{name}");
        }
    }
    assert!(state.extra().any(|(key, _)| key == "secret:symPrivate"), "but it is kept for export");
}

#[test]
fn what_changes_is_exported_as_changed_and_the_rest_stays() {
    let Some(fixture) = Fixture::rich() else { return };
    let mut state = fixture.import();
    let before: BTreeMap<String, String> = serde_json::from_str(&export(&state)).unwrap();
    let key = Secret::clone(state.secret("symUser").unwrap());
    let key = Secret { private: Some(Zeroizing::new(vec![9; 16])), public: Some(Zeroizing::new(vec![9; 16])), ..key };
    state.apply(&Change::Secret("symUser".to_owned(), Some(Arc::new(key)))).unwrap();
    state.apply(&Change::Activations("counter".to_owned(), 255)).unwrap();
    state.apply(&Change::Log(vec!["{\"update\":\"<>\"}".to_owned()])).unwrap();
    let after: BTreeMap<String, String> = serde_json::from_str(&export(&state)).unwrap();

    let changed: Vec<&str> = after.iter().filter(|(k, v)| before.get(*k) != Some(v)).map(|(k, _)| k.as_str()).collect();
    assert_eq!(changed, ["activations:counter", "secret:symUser", "updateLog"]);
    assert_eq!(after.len(), before.len());
    assert_eq!(BASE64_STANDARD.decode(&after["activations:counter"]).unwrap(), b"ff");
    assert!(BASE64_STANDARD.decode(&after["updateLog"]).unwrap().ends_with(b"}\n{\"update\":\"<>\"}\n"));
}

#[test]
fn the_kept_form_of_a_value_ends_when_the_value_changes() {
    let fixture = Fixture::load("single");
    let odd = json!({"Package": "frontend", "MaxActivations": 0, "Parameters": {}, "Unknown": 1}).to_string();
    let mut state = fixture
        .import_changed(|map| {
            map.insert("marble:frontend".to_owned(), text(&odd));
            map.insert("activations:frontend".to_owned(), text("00a"));
        })
        .unwrap();
    let value = |state: &State, key: &str| {
        let map: BTreeMap<String, String> = serde_json::from_str(&export(state)).unwrap();
        String::from_utf8(BASE64_STANDARD.decode(&map[key]).unwrap()).unwrap()
    };
    assert_eq!(value(&state, "marble:frontend"), odd);
    assert_eq!(value(&state, "activations:frontend"), "00a");
    assert_eq!(state.activations("frontend"), 10);

    state.apply(&Change::Activations("frontend".to_owned(), 11)).unwrap();
    assert_eq!(value(&state, "activations:frontend"), "b");
    assert_eq!(value(&state, "marble:frontend"), odd);
    let active = state.manifest().unwrap();
    let again = Change::Manifest { raw: active.raw.clone(), signature: active.signature.clone() };
    state.apply(&again).unwrap();
    assert!(value(&state, "marble:frontend").starts_with("{\"Package\":\"frontend\",\"MaxActivations\":0,"));
    assert!(state.extra().next().is_none());
}

#[test]
fn unknown_keys_are_kept_and_any_json_formatting_is_read() {
    let fixture = Fixture::load("single");
    let map: BTreeMap<String, Value> = serde_json::from_slice(&fixture.plaintext).unwrap();
    let mut lines: Vec<String> = map.iter().rev().map(|(key, value)| format!(" {} : {value} ", json!(key))).collect();
    lines.push("\"\\u0066uture:<key>\" : \"AQI=\"".to_owned());
    lines.push("\"nothing\" : null".to_owned());
    lines.push("\"monotonicCounter:odd\" : \"AQI=\"".to_owned());
    let formatted = format!("{{\n{}\n}}\n", lines.join(",\n"));
    let state = reloaded(&import(formatted.as_bytes(), b"null", &fixture.root()).unwrap());
    let extra: BTreeMap<&str, &[u8]> = state.extra().collect();
    assert_eq!(extra["future:<key>"], [1, 2]);
    assert_eq!(extra["nothing"], b"");
    assert_eq!(extra["monotonicCounter:odd"], [1, 2]);
    assert!(export(&state).contains("\"future:\\u003ckey\\u003e\":\"AQI=\""));
}

#[test]
fn without_a_root_secret_the_root_key_stands_for_it() {
    let fixture = Fixture::load("single");
    let state = fixture.import_changed(|map| drop(map.remove("rootSecret"))).unwrap();
    assert_eq!(state.root_secret().0.len(), 48);
    assert_eq!(state.root_secret().0.as_slice(), state.authority().root_key.scalar().as_slice());
    assert!(!export(&reloaded(&state)).contains("rootSecret"));
}

#[test]
fn a_state_before_its_manifest_is_read_too() {
    let fixture = Fixture::load("single");
    let before = |map: &mut BTreeMap<String, Value>| {
        map.retain(|key, _| key.starts_with("certificate:") || key.starts_with("privateKey:") || key == "rootSecret");
    };
    let state = fixture.import_changed(before).unwrap();
    assert_eq!(state.phase(), Phase::AcceptingManifest);
    assert!(state.manifest().is_none() && state.recovery().is_empty());
}

#[test]
fn whatever_the_stored_phase_says_the_manifest_decides() {
    let fixture = Fixture::load("single");
    for value in [Some("1"), Some("0"), None] {
        let state = fixture
            .import_changed(|map| {
                map.remove("state");
                value.map(|value| map.insert("state".to_owned(), text(value)));
            })
            .unwrap();
        assert_eq!(state.phase(), Phase::AcceptingMarbles);
        assert_eq!(export(&state).as_bytes(), fixture.plaintext);
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let fixture = Fixture::load("rotation/1-before");
    let key_of_other = {
        let other: BTreeMap<String, Value> = serde_json::from_slice(&Fixture::load("single").plaintext).unwrap();
        other["privateKey:coordinatorRootKey"].clone()
    };
    let cases: [(&str, Option<Value>, &str); 14] = [
        ("certificate:coordinatorRootCert", None, "has no \"certificate:coordinatorRootCert\""),
        ("certificate:marbleRootCert", None, "has no \"certificate:marbleRootCert\""),
        ("privateKey:coordinatorIntermediateKey", None, "has no \"privateKey:coordinatorIntermediateKey\""),
        ("privateKey:coordinatorRootKey", Some(key_of_other), "root certificate: the private key"),
        ("manifest", Some(text("{")), "the manifest does not decode"),
        ("package:frontend", None, "package \"frontend\" of the manifest is missing"),
        ("package:frontend", Some(text("{\"Debug\":7}")), "unreadable at \"package:frontend\""),
        ("secret:shared1", None, "secret \"shared1\" of the manifest is missing"),
        (
            "secret:shared1",
            Some(text("{\"Type\":\"plain\"}")),
            "is plain in the state and symmetric-key in the manifest",
        ),
        ("secret:plain1", Some(text("{\"Type\":\"other\"}")), "unreadable at \"secret:plain1\": unknown type"),
        ("activations:frontend", Some(text("x")), "unreadable at \"activations:frontend\""),
        ("monotonicCounter:YQ==:ERERESIiMzNERFVVVVVVVQ==:YQ==", Some(text("1234567")), "a counter has 8 bytes"),
        ("pendingUpdate", Some(text("{\"manifestRaw\":7}")), "unreadable at \"pendingUpdate\""),
        ("anything", Some("not base64".into()), "value of \"anything\" is not base64"),
    ];
    for (key, value, reason) in cases {
        let result = fixture.import_changed(|map| {
            map.remove(key);
            value.clone().map(|value| map.insert(key.to_owned(), value));
        });
        let error = result.expect_err(key);
        assert!(error.contains(reason), "{key}: {error}");
    }
}

#[test]
fn an_error_never_repeats_a_secret() {
    let fixture = Fixture::load("rotation/1-before");
    for value in
        ["{\"Type\":\"plain\",\"Size\":\"hunter2\"}", "{\"Type\":\"plain\",\"Private\":[\"hunter2\"]}", "hunter2"]
    {
        let result = fixture.import_changed(|map| drop(map.insert("secret:plain1".to_owned(), text(value))));
        let error = result.unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn every_truncation_is_an_error() {
    let fixture = Fixture::load("single");
    for length in 0..fixture.plaintext.len() {
        assert!(import(&fixture.plaintext[..length], b"null", &fixture.root()).is_err(), "{length}");
    }
}

#[test]
fn a_state_of_ours_is_exported_with_placeholders_made_for_it() {
    let Some(fixture) = Fixture::rich() else { return };
    let mut state = fixture.import();
    // As if the placeholders had never been imported.
    for name in ["symPrivate", "certPrivateRSA"] {
        let definition = state.secret(name).map(Arc::clone);
        state.apply(&Change::Secret(name.to_owned(), definition)).unwrap();
        state.apply(&Change::PreviousIsCurrent(name.to_owned())).unwrap();
    }
    assert!(state.extra().next().is_none());
    assert!(upstream::export(&state, &no_placeholder).unwrap_err().to_string().contains("was asked for"));

    let placeholder = |name: &str, definition: &SecretDefinition| {
        Ok(Secret {
            kind: SecretKind::from_name(&definition.kind).unwrap(),
            size: definition.size,
            shared: false,
            user_defined: false,
            valid_for: 365,
            certificate: None,
            private: Some(Zeroizing::new(name.as_bytes().to_vec())),
            public: Some(Zeroizing::new(name.as_bytes().to_vec())),
        })
    };
    let exported = upstream::export(&state, &placeholder).unwrap();
    let again = import(&exported, &fixture.header(), &fixture.root()).unwrap();
    let kept: Vec<&str> = again.extra().map(|(key, _)| key).collect();
    let keys =
        ["previousSecret:certPrivateRSA", "previousSecret:symPrivate", "secret:certPrivateRSA", "secret:symPrivate"];
    assert_eq!(kept, keys);
    assert_eq!(upstream::export(&again, &no_placeholder).unwrap(), exported);
}

#[test]
fn replaced_marble_roots_are_ours_alone_and_are_not_exported() {
    let mut state = Fixture::load("single").import();
    let before = export(&state);
    let certificate = state.authority().marble_root_certificate.clone();
    let root = RetiredRoot { certificate, until_ms: i64::MAX, excluded: ["web".to_owned()].into() };
    state.apply(&Change::RetiredRoots(vec![Arc::new(root)])).unwrap();
    assert_eq!(export(&state), before);
    assert_eq!(export(&reloaded(&state)), before);
}
