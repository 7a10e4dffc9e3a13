//! Every manifest that upstream was seen to take or refuse is taken or refused here, at the same stage.
#![allow(clippy::unwrap_used, clippy::panic)]

mod vectors;

use std::collections::BTreeSet;

use jiff::Timestamp;
use marblerun_manifest::{CheckEnv, review};

/// A Coordinator without any variables.
fn env() -> CheckEnv {
    CheckEnv { now: "2026-11-21T00:00:00Z".parse::<Timestamp>().unwrap(), variables: Some(BTreeSet::new()) }
}

#[test]
fn every_vector_is_taken_or_refused_as_upstream_does() {
    let vectors = vectors::first_manifests();
    assert!(vectors.len() > 280, "only {} vectors", vectors.len());
    let mut failures = Vec::new();
    for (vector, raw) in vectors {
        let (manifest, report) = review(&raw, &env());
        let first = report.errors.first();
        let stage = first.map(|finding| finding.stage);
        let is_right = match vector.expect.as_str() {
            "ok" => first.is_none() || vector.deviation_allowed,
            // Upstream crashes on it.
            "error" if vector.stage.is_empty() => first.is_some(),
            "error" => stage.is_some_and(|stage| stage.as_str() == vector.stage),
            other => panic!("{other}"),
        };
        if !is_right || manifest.is_some() == (vector.stage == "decode") {
            failures.push(format!("{}: {} ({}), found {first:?}", vector.file, vector.stage, vector.reason_gist));
        }
    }
    assert!(failures.is_empty(), "{}\n{} failures", failures.join("\n"), failures.len());
}

#[test]
fn the_order_of_stages_decides_which_error_comes_first() {
    let mut count = 0;
    for (vector, raw) in vectors::first_manifests() {
        let (_, report) = review(&raw, &env());
        assert!(report.errors.is_sorted_by_key(|finding| finding.stage), "{}", vector.file);
        count += usize::from(report.errors.len() > 1);
    }
    assert!(count > 5, "only {count} vectors have several faults");
}

#[test]
fn the_texts_that_clients_know_are_upstreams() {
    let text = |file: &str| {
        let raw = std::fs::read(vectors::folder().join(file)).unwrap();
        review(&raw, &env()).1.errors.first().map(|finding| finding.peer_text()).unwrap_or_default()
    };
    for (file, expected) in [
        ("empty-body.json", "unmarshaling manifest: unexpected end of JSON input"),
        ("top-empty-object.json", "checking manifest: no allowed packages defined"),
        ("secret-cert-bad-ip.json", "unmarshaling manifest: invalid IP address: 999.1.1.1"),
        (
            "features-azurehsm-no-env.json",
            "checking manifest: manifest enables sealing with Azure HSM key, but required environment variables are not \
             set: [EDG_MAA_URL EDG_AZURE_HSM_VAULT_URL EDG_AZURE_HSM_KEY_NAME EDG_AZURE_CLIENT_ID EDG_AZURE_TENANT_ID \
             EDG_AZURE_CLIENT_SECRET EDG_AZURE_AUTHORITY_HOST EDG_AZURE_FEDERATED_TOKEN_FILE]",
        ),
        (
            "secret-cert-maxpathlen-no-ca.json",
            "generating secrets from manifest: x509: only CAs are allowed to specify MaxPathLen",
        ),
        (
            "secret-cert-sigalg-mismatch.json",
            "generating secrets from manifest: x509: requested SignatureAlgorithm does not match private key type",
        ),
        (
            "secret-sym-private-too-big.json",
            "generating placeholder secrets from manifest: hkdf: requested key length too large",
        ),
        ("recovery-not-pem.json", "generating recovery encryption key: given PEM data is not a public key"),
    ] {
        assert_eq!(text(file), expected, "{file}");
    }
    assert!(
        text("user-cert-not-pem.json")
            .starts_with("generating users from manifest: received invalid certificate for user ")
    );
    assert!(text("env-nul.json").ends_with(": content contains null bytes"));
    assert!(text("secret-sym-size0.json").starts_with("generating secrets from manifest: invalid secret size: "));
}
