//! `marblerun quote explain` over evidence at hand. Real evidence is no part of the project; where it is not, that is said.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn run(args: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_marblerun"));
    command.args(args).env("HOME", dir.path()).env_remove("XDG_CONFIG_HOME").env_remove("MARBLERUN_COLLATERAL");
    command.output().unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn ours(name: &str) -> String {
    format!("{}/../attestation/tests/fixtures/quotes/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Real evidence.
fn shared(name: &str) -> Option<String> {
    let path = PathBuf::from(format!("{}/../../../shared/fixtures/quotes/{name}", env!("CARGO_MANIFEST_DIR")));
    if !path.is_file() {
        eprintln!("SKIPPED: {} is not there, so real evidence is not explained", path.display());
        return None;
    }
    Some(path.display().to_string())
}

fn write(dir: &Path, name: &str, json: &Value) -> String {
    let path = dir.join(name);
    std::fs::write(&path, json.to_string()).unwrap();
    path.display().to_string()
}

#[test]
fn evidence_that_does_not_lead_to_intel_is_told_with_what_it_says() {
    let (quote, collateral) = (ours("synthetic/sgx_UpToDate.quote"), ours("synthetic/collateral.json"));
    let args = ["quote", "explain", &quote, "--collateral", &collateral, "--at", "2026-01-01T00:00:00Z"];
    let output = run(&args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("NOT GENUINE: the platform is not certified by Intel"), "{text}");
    assert!(text.contains("anybody could have made that up"), "{text}");
    let told = document(&run(&[&args[..], &["-o", "json"]].concat()));
    assert_eq!((&told["verified"], &told["accepted"]), (&false.into(), &false.into()));
    assert_eq!(told["claims"]["UniqueID"], "aa".repeat(32));
    assert_eq!(run(&[&args[..], &["--exit-code"]].concat()).status.code(), Some(10));
}

#[test]
fn a_real_quote_is_compared_with_a_package_field_by_field() {
    let Some(quote) = shared("sgx/automata-00606a.quote") else { return };
    let collateral = shared("sgx/00606a-202508.collateral.json").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let id = "a4f45c39dac622cb1dd32ddb35a52ec92db41d0fa88a1c911c49e59c534f61cd";
    let manifest = write(
        dir.path(),
        "manifest.json",
        &serde_json::json!({"Packages": {
            "right": {"UniqueID": id.to_uppercase()},
            "wrong": {"UniqueID": "00".repeat(32), "AcceptedTCBStatuses": ["UpToDate"]},
        }}),
    );
    let explain = |more: &[&str]| {
        let args =
            ["quote", "explain", &quote, "--collateral", &collateral, "--at", "2025-08-20T00:00:00Z", "-o", "json"];
        run(&[&args[..], more].concat())
    };
    let alone = explain(&[]);
    assert!(alone.status.success());
    let told = document(&alone);
    assert_eq!(told["platform"]["TCBStatus"], "SWHardeningNeeded");
    assert_eq!(told["advisories"], serde_json::json!(["INTEL-SA-00615"]));
    assert!(explain(&["--package", &format!("{manifest}#right")]).status.success());
    let wrong = explain(&["--package", &format!("{manifest}#wrong")]);
    assert_eq!(wrong.status.code(), Some(1));
    let compared = &document(&wrong)["compared"];
    let field = compared["fields"].as_array().unwrap().iter().find(|field| field["field"] == "UniqueID").unwrap();
    assert_eq!((&field["got"], &field["fits"]), (&Value::from(id), &false.into()));
    assert_eq!(compared["platform"], "TCB level invalid: SWHardeningNeeded");
    let era = write(dir.path(), "era.json", &serde_json::json!({"UniqueID": id}));
    assert!(explain(&["--era-config", &era]).status.success());
    let late = run(&["quote", "explain", &quote, "--collateral", &collateral, "--at", "2027-01-01T00:00:00Z"]);
    let text = String::from_utf8(late.stdout).unwrap();
    assert!(text.contains("newer collateral is needed"), "{text}");
}

#[test]
fn a_bare_report_of_snp_is_explained_with_its_keys_certificate() {
    let Some(report) = shared("snp/trustee-milan.report") else { return };
    let vek = shared("snp/trustee-milan.vcek.der").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().display().to_string();
    let args = ["quote", "explain", &report, "--collateral", &folder, "--at", "2026-01-01T00:00:00Z", "-o", "json"];
    let told = document(&run(&[&args[..], &["--vek", &vek]].concat()));
    assert_eq!((&told["verified"], &told["platform"]["Product"]), (&true.into(), &Value::from("Milan")), "{told}");
    let without = document(&run(&args));
    assert!(without["error"].as_str().unwrap().contains("no certificate"), "{without}");
    // A folder may have it.
    std::fs::copy(&vek, dir.path().join("host-1.der")).unwrap();
    assert_eq!(document(&run(&args))["verified"], true);
}

#[test]
fn what_is_no_evidence_or_no_package_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = write(dir.path(), "m.json", &serde_json::json!({"Packages": {"a": {}}}));
    let quote = ours("synthetic/sgx_UpToDate.quote");
    for (args, part) in [
        (vec!["quote", "explain", manifest.as_str()], "evidence of no known kind"),
        (vec!["quote", "explain", &quote, "--package", "m.json"], "expected MANIFEST#PACKAGE"),
        (vec!["quote", "explain", &quote, "--at", "yesterday"], "--at \"yesterday\""),
        (vec!["quote", "explain", &quote, "--vek", &quote], "--vek is for bare reports"),
        (vec!["quote", "explain", &quote, "--collateral", "/missing"], "collateral in /missing"),
    ] {
        let output = run(&args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && text.contains(part), "{args:?}: {text}");
    }
    let named = format!("{manifest}#b");
    let text = String::from_utf8(run(&["quote", "explain", &quote, "--package", &named]).stderr).unwrap();
    assert!(text.contains("has no package \"b\"; it has: a"), "{text}");
}
