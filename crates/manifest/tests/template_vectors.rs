//! Templates against vectors made with Go's own `text/template`: `fixtures/templates/cases.jsonl`
//! holds what Go renders or says with the data of `fixtures/templates/data.json`.
//!
//! `TEMPLATE_VECTORS=FILE cargo test -p marblerun-manifest --test template_vectors` compares another file.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use marblerun_manifest::model::SecretKind;
use marblerun_manifest::template::{Context, Kind, Reserved, SecretBytes, SecretValue, Template};
use serde::Deserialize;
use zeroize::Zeroizing;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Secret {
    r#type: String,
    size: u64,
    shared: bool,
    user_defined: bool,
    valid_for: u64,
    cert: Option<String>,
    private: Option<String>,
    public: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "MarbleRun")]
    reserved: BTreeMap<String, Secret>,
    #[serde(rename = "Secrets")]
    secrets: BTreeMap<String, Secret>,
    #[serde(rename = "Previous")]
    previous: BTreeMap<String, Secret>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    template: String,
    #[serde(default)]
    template_hex: String,
    kind: String,
    output: Option<String>,
    output_hex: Option<String>,
    #[serde(default)]
    error: String,
}

fn value(secret: &Secret) -> SecretValue {
    let part = |hex: &Option<String>| hex.as_ref().map(|hex| hex::decode(hex).unwrap());
    SecretValue {
        kind: SecretKind::from_name(&secret.r#type),
        size: secret.size,
        shared: secret.shared,
        user_defined: secret.user_defined,
        valid_for: secret.valid_for,
        cert: part(&secret.cert).map(Into::into),
        private: part(&secret.private).map(|bytes| SecretBytes::from(Zeroizing::new(bytes))),
        public: part(&secret.public).map(|bytes| SecretBytes::from(Zeroizing::new(bytes))),
    }
}

fn values(secrets: &BTreeMap<String, Secret>) -> BTreeMap<String, SecretValue> {
    secrets.iter().map(|(name, secret)| (name.clone(), value(secret))).collect()
}

/// What we refuse although Go renders it, or word differently so that no secret appears in an error.
fn differs_on_purpose(ours: &str, theirs: &Result<Vec<u8>, String>) -> bool {
    const REFUSED: &[&str] = &[
        "is not supported",
        "are not supported",
        "max expression depth exceeded",
        "too many steps",
        "result is too large",
    ];
    if REFUSED.iter().any(|text| ours.contains(text)) {
        return true;
    }
    let Err(theirs) = theirs else { return false };
    // Go shows the value here.
    ["range can't iterate over ", "non-comparable type", "call: non-function "].iter().any(|text| {
        let cut = |message: &str| message.find(text).map(|at| message[..at].to_owned());
        cut(ours).is_some() && cut(ours) == cut(theirs)
    })
}

#[test]
fn templates_render_and_fail_as_in_go() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/templates");
    let data: Data = serde_json::from_slice(&std::fs::read(format!("{folder}/data.json")).unwrap()).unwrap();
    let file = std::env::var("TEMPLATE_VECTORS").unwrap_or_else(|_| format!("{folder}/cases.jsonl"));
    let (secrets, previous) = (values(&data.secrets), values(&data.previous));
    let reserved = Reserved {
        root_ca: value(&data.reserved["RootCA"]),
        marble_cert: value(&data.reserved["MarbleCert"]),
        coordinator_root: value(&data.reserved["CoordinatorRoot"]),
        coordinator_intermediate: value(&data.reserved["CoordinatorIntermediate"]),
    };
    let context = Context { reserved: &reserved, secrets: &secrets, previous_secrets: &previous };

    let (mut compared, mut refused, mut wrong) = (0, BTreeMap::<String, usize>::new(), Vec::new());
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let template = if case.template.is_empty() {
            hex::decode(&case.template_hex).unwrap()
        } else {
            case.template.into_bytes()
        };
        let theirs = match (case.output, case.output_hex) {
            _ if !case.error.is_empty() => Err(case.error),
            (Some(output), _) => Ok(output.into_bytes()),
            (None, hex) => Ok(hex::decode(hex.unwrap_or_default()).unwrap()),
        };
        let kind = if case.kind == "env" { Kind::Env } else { Kind::File };
        let ours = Template::parse(&template, kind)
            .map_err(|error| error.to_string())
            .and_then(|parsed| parsed.execute(&context).map_err(|error| error.to_string()));
        compared += 1;
        let ours = ours.map(|output| output.to_vec());
        if ours == theirs {
            continue;
        }
        if ours.as_ref().is_err_and(|error| differs_on_purpose(error, &theirs)) {
            *refused.entry(ours.unwrap_err().rsplit(">: ").next().unwrap().to_owned()).or_default() += 1;
            continue;
        }
        let show = |result: &Result<Vec<u8>, String>| match result {
            Ok(bytes) => format!("renders {:?}", String::from_utf8_lossy(bytes)),
            Err(error) => format!("fails with {error}"),
        };
        wrong.push(format!(
            "{:?}\n  Go   {}\n  ours {}",
            String::from_utf8_lossy(&template),
            show(&theirs),
            show(&ours)
        ));
    }
    let shown = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{shown}", wrong.len());
    assert!(compared > 1000 && refused.values().sum::<usize>() * 10 < compared, "{refused:?}");
    eprintln!("{compared} templates compared; refused or worded differently on purpose: {refused:#?}");
}
