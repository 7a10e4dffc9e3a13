//! Templates of whole manifests: the dry run of those in `fixtures/manifests`, and rendering for a Marble.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use marblerun_manifest::Manifest;
use marblerun_manifest::model::{Encoding, File, Parameters, SecretKind};
use marblerun_manifest::template::{
    CompiledMarble, Context, Place, RenderError, Reserved, SecretBytes, SecretSource, SecretValue, dry_run,
};
use serde::Deserialize;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/manifests");

#[derive(Deserialize)]
struct Entry {
    file: Option<String>,
    expect: Option<String>,
    stage: Option<String>,
}

/// No secret has a value yet.
fn nothing() -> BTreeMap<String, SecretValue> {
    BTreeMap::new()
}

fn manifest(json: &str) -> Manifest {
    Manifest::decode(json.as_bytes()).unwrap()
}

fn errors(json: &str) -> Vec<String> {
    dry_run(&manifest(json), &nothing()).iter().map(ToString::to_string).collect()
}

#[test]
fn the_dry_run_finds_what_upstream_finds_in_the_vectors() {
    let index = std::fs::read(format!("{FIXTURES}/index.json")).unwrap();
    let entries: Vec<Entry> = serde_json::from_slice(&index).unwrap();
    let (mut passed, mut failed) = (0, 0);
    for Entry { file, expect, stage } in entries {
        let Some(file) = file else { continue };
        let raw = std::fs::read(format!("{FIXTURES}/{file}")).unwrap();
        let bad_template = stage.as_deref() == Some("template");
        if !bad_template && expect.as_deref() != Some("ok") {
            continue;
        }
        let found = dry_run(&Manifest::decode(&raw).unwrap(), &nothing());
        assert_eq!(!found.is_empty(), bad_template, "{file}: {found:?}");
        if bad_template { failed += 1 } else { passed += 1 }
    }
    assert!(passed > 50 && failed > 10, "{passed} {failed}");
}

#[test]
fn every_finding_is_told_with_its_place() {
    let found = errors(
        r#"{"Marbles": {
            "b": {"Parameters": {"Files": {"/y": "{{ pem .Secrets.zz.Cert }}", "/ok": "{{ hex .Secrets.k }}"},
                                 "Env": {"E": "{{ raw .Secrets.k }}", "N": "a\u0000b"}}},
            "a": {"Parameters": {"Env": {"Z": {"Data": "YQBi", "Encoding": "base64", "NoTemplates": true}},
                                 "Files": {"nul": "a\u0000b", "off": {"Data": "{{", "NoTemplates": true}}}}},
          "Secrets": {"k": {"Type": "symmetric-key", "Size": 128}}}"#,
    );
    assert_eq!(
        found,
        [
            "in Marble a: env variable: Z: content contains null bytes",
            "in Marble b: file /y: template: data:1:3: executing \"data\" at <pem .Secrets.zz.Cert>: error calling pem: secret does not exist",
            "in Marble b: env variable E: template: data:1: function \"raw\" not defined",
            "in Marble b: env variable: N: content contains null bytes",
        ]
    );
}

#[test]
fn the_dry_run_takes_given_values_before_dummies() {
    let manifest = manifest(
        r#"{"Marbles": {"m": {"Parameters": {"Env": {"E": "{{ string .Secrets.u }}", "P": "{{ hex .Previous.Secrets.u }}"}}}},
            "Secrets": {"u": {"Type": "plain", "UserDefined": true}}}"#,
    );
    assert_eq!(dry_run(&manifest, &nothing()), []);
    let public = Some(SecretBytes::from(&b"a\0b"[..]));
    let uploaded = SecretValue { kind: Some(SecretKind::Plain), public, ..SecretValue::default() };
    let found = dry_run(&manifest, &BTreeMap::from([("u".to_owned(), uploaded)]));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].place, Place::Env("E".to_owned()));
    assert!(found[0].reason.ends_with("error calling string: secret contains null bytes"), "{}", found[0]);
}

#[test]
fn placeholders_have_the_parts_the_real_secrets_will_have() {
    let found = errors(
        r#"{"Marbles": {"m": {"Parameters": {"Files": {
            "1": "{{ pem .Secrets.key.Cert }}", "2": "{{ index .Secrets.key.Private 15 }}", "3": "{{ index .Secrets.key.Private 16 }}",
            "4": "{{ pem .Secrets.cert.Cert }}{{ pem .Secrets.cert.Private }}{{ pem .Secrets.cert.Public }}{{ hex .Secrets.cert }}",
            "5": "{{ pem .Secrets.user.Cert }}{{ hex .Secrets.user }}{{ .Secrets.user.Type }}"}}}},
          "Secrets": {"key": {"Type": "symmetric-key", "Size": 128}, "cert": {"Type": "cert-rsa", "Size": 2048},
                      "user": {"Type": "symmetric-key", "Size": 128, "UserDefined": true}}}"#,
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("in Marble m: file 1: ") && found[0].ends_with("tried to parse secret with empty value")
    );
    assert!(found[1].starts_with("in Marble m: file 3: ") && found[1].ends_with("index out of range"), "{}", found[1]);
}

fn text(data: &str) -> File {
    File { data: data.as_bytes().to_vec(), ..File::default() }
}

/// Remembers which secrets were asked for.
struct Watched {
    secrets: BTreeMap<String, SecretValue>,
    asked: RefCell<BTreeSet<String>>,
}

impl SecretSource for Watched {
    fn secret(&self, name: &str) -> Option<SecretValue> {
        self.asked.borrow_mut().insert(name.to_owned());
        self.secrets.secret(name)
    }

    fn names(&self) -> Vec<String> {
        panic!("all secrets were asked for");
    }
}

fn watched() -> Watched {
    let secrets = ["a", "b", "c"]
        .map(|name| {
            let bytes = Some(SecretBytes::from(name.as_bytes()));
            (name.to_owned(), SecretValue { private: bytes.clone(), public: bytes, ..SecretValue::default() })
        })
        .into();
    Watched { secrets, asked: RefCell::default() }
}

#[test]
fn a_marble_is_rendered_from_what_was_compiled_once() {
    let binary =
        File { data: b"\x00\x01{{ hex .Secrets.a }}\xff".to_vec(), encoding: Encoding::Base64, no_templates: false };
    let untouched = File { data: b"a\x00b{{".to_vec(), encoding: Encoding::Hex, no_templates: true };
    let parameters = Parameters {
        files: [("b64.bin".to_owned(), binary), ("hex.bin".to_owned(), untouched)].into(),
        env: [("EMPTY", ""), ("PLAIN", "v"), ("SYM", "{{ hex .Secrets.b.Private }}"), ("", "x"), ("A=B", "y")]
            .map(|(name, data)| (name.to_owned(), text(data)))
            .into(),
        argv: ["./app", "--x", "{{ hex .Secrets.c }}"].map(str::to_owned).into(),
    };
    let compiled = CompiledMarble::compile(&parameters).unwrap();
    assert_eq!(compiled.references().secrets, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    let (reserved, secrets) = (Reserved::dummy(), watched());
    let context = Context { reserved: &reserved, secrets: &secrets, previous_secrets: &secrets };
    for _ in 0..2 {
        let rendered = compiled.render(&context).unwrap();
        let file = |path: &str| rendered.files[path].to_vec();
        assert_eq!((file("b64.bin"), file("hex.bin")), (b"\x00\x0161\xff".to_vec(), b"a\x00b{{".to_vec()));
        let env: Vec<_> = rendered.env.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        assert_eq!(env, [("", &b"x"[..]), ("A=B", b"y"), ("EMPTY", b""), ("PLAIN", b"v"), ("SYM", b"62")]);
    }
    assert_eq!(compiled.argv(), parameters.argv);
    assert_eq!(*secrets.asked.borrow(), compiled.references().secrets, "only what is referenced is asked for");
}

#[test]
fn all_templates_that_cannot_be_parsed_are_told_at_once() {
    let parameters = Parameters {
        files: [("f".to_owned(), text("{{ string .Secrets.a }}")), ("g".to_owned(), text("fine {{ 1 }}"))].into(),
        env: [("E".to_owned(), text("{{")), ("F".to_owned(), text("{{ raw .Secrets.a }}"))].into(),
        argv: Vec::new(),
    };
    let errors = CompiledMarble::compile(&parameters).unwrap_err();
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "file f: template: data:1: function \"string\" not defined",
            "env variable E: template: data:1: unclosed action",
            "env variable F: template: data:1: function \"raw\" not defined",
        ]
    );
}

#[test]
fn a_rendering_that_fails_says_where() {
    let (reserved, secrets) = (Reserved::dummy(), watched());
    let context = Context { reserved: &reserved, secrets: &secrets, previous_secrets: &secrets };
    let render = |files: &[(&str, &str)], env: &[(&str, &str)]| {
        let entries =
            |list: &[(&str, &str)]| list.iter().map(|(name, data)| ((*name).to_owned(), text(data))).collect();
        let parameters = Parameters { files: entries(files), env: entries(env), argv: Vec::new() };
        CompiledMarble::compile(&parameters).unwrap().render(&context).map(|_| ())
    };
    assert_eq!(
        render(&[("/p\"q", "{{ hex .Secrets.nope }}")], &[]).unwrap_err().to_string(),
        "parsing secrets for file \"/p\\\"q\": template: data:1:3: executing \"data\" at <hex .Secrets.nope>: error calling hex: secret does not exist"
    );
    let failed = render(&[], &[("E", "{{ pem .Secrets.a }}")]).unwrap_err().to_string();
    assert!(failed.starts_with("parsing secrets for env variable \"E\": template: data:1:3: "), "{failed}");
    let nul = render(&[], &[("E", "{{ printf \"a%cb\" 0 }}")]).unwrap_err();
    assert_eq!(nul, RenderError::Nul { place: Place::Env("E".to_owned()) });
}
