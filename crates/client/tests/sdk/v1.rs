//! Coordinators that know API v1 only, and when they are asked.

use std::collections::BTreeMap;

use marblerun_client::{Client, ClientError, ExpectedManifest, secrets};

use crate::fake::{Fake, MANIFEST, Script, sha256};

/// The functions that upstream's library tries with v1, with the paths they use there.
const WITH_FALLBACK: [(&str, &str); 9] = [
    ("status", "GET /status"),
    ("manifest", "GET /manifest"),
    ("set_manifest", "POST /manifest"),
    ("update_log", "GET /update"),
    ("apply_update", "POST /update"),
    ("pending_update", "GET /update-manifest"),
    ("acknowledge_update", "POST /update-manifest"),
    ("cancel_update", "POST /update-cancel"),
    ("set_secrets", "POST /secrets"),
];

const WITHOUT_FALLBACK: [&str; 4] = ["recover", "recovery_public_key", "sign_quote", "set_monotonic_counter"];

async fn call(client: &Client, function: &str) -> Result<(), ClientError> {
    match function {
        "status" => client.status().await.map(drop),
        "manifest" => client.manifest().await.map(drop),
        "set_manifest" => client.set_manifest(MANIFEST).await.map(drop),
        "update_log" => client.update_log().await.map(drop),
        "apply_update" => client.apply_update(MANIFEST).await.map(drop),
        "pending_update" => client.pending_update().await.map(drop),
        "acknowledge_update" => client.acknowledge_update(MANIFEST).await.map(drop),
        "cancel_update" => client.cancel_update().await,
        "secrets" => client.secrets(&["symShared".to_owned(), "a b&c".to_owned()]).await.map(drop),
        "set_secrets" => client.set_secrets(BTreeMap::from([("k".to_owned(), secrets::value(b"hi"))])).await,
        "recover" => client.recover(b"secret", b"signature").await.map(drop),
        "recovery_public_key" => client.recovery_public_key().await.map(drop),
        "sign_quote" => client.sign_quote(b"quote").await.map(drop),
        "set_monotonic_counter" => client.set_monotonic_counter("foo", 1).await.map(drop),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_old_coordinator_is_asked_again_in_its_own_way() {
    let fake = Fake::start(Script::v1()).await;
    let secrets = ("secrets", "GET /secrets?s=symShared&s=a+b%26c");
    for (function, line) in WITH_FALLBACK.into_iter().chain([secrets]) {
        call(&fake.user(), function).await.unwrap_or_else(|error| panic!("{function}: {error}"));
        let (method, path) = line.split_once(' ').unwrap();
        assert_eq!(fake.lines(), [format!("{method} /api/v2{path}"), line.to_owned()], "{function}");
    }
}

#[tokio::test]
async fn only_405_means_an_old_coordinator() {
    for code in [400, 401, 403, 404, 410, 500, 502, 503] {
        let mut script = Script::v1();
        for (_, line) in WITH_FALLBACK {
            let (method, path) = line.split_once(' ').unwrap();
            let body = r#"{"status":"error","data":null,"message":"no"}"#;
            script = script.answer(&format!("{method} /api/v2{path}"), code, body);
        }
        let fake = Fake::start(script).await;
        for (function, _) in WITH_FALLBACK {
            let error = call(&fake.user(), function).await.unwrap_err();
            assert_eq!((error.code(), fake.lines().len()), (Some(code), 1), "{function}");
        }
    }
}

#[tokio::test]
async fn what_v1_never_had_is_not_tried_there() {
    let fake = Fake::start(Script::v1()).await;
    for function in WITHOUT_FALLBACK {
        let error = call(&fake.user(), function).await.unwrap_err();
        assert_eq!((error.code(), fake.lines().len()), (Some(405), 1), "{function}");
    }
}

#[tokio::test]
async fn an_old_coordinator_gets_raw_bodies() {
    let fake = Fake::start(Script::v1()).await;
    for function in ["set_manifest", "apply_update", "acknowledge_update"] {
        call(&fake.user(), function).await.unwrap();
        assert_eq!(fake.requests().last().unwrap().body, MANIFEST, "{function}");
    }
    call(&fake.user(), "set_secrets").await.unwrap();
    let body = fake.requests().pop().unwrap().body;
    assert_eq!(body, br#"{"k":{"Cert":null,"Private":null,"Key":"aGk="}}"#);
}

#[tokio::test]
async fn answers_of_an_old_coordinator_mean_the_same() {
    let fake = Fake::start(Script::v1()).await;
    let client = fake.user();
    assert_eq!(client.status().await.unwrap().code, 3);
    let manifest = client.manifest().await.unwrap();
    assert_eq!((manifest.manifest.0.as_slice(), manifest.manifest_fingerprint), (MANIFEST, sha256(MANIFEST)));
    assert!(client.set_manifest(MANIFEST).await.unwrap().is_empty());
    let log = client.update_log().await.unwrap();
    assert!(log.len() == 2 && log[1].ends_with(r#""new version":5}"#), "{log:?}");
    assert_eq!(client.apply_update(MANIFEST).await.unwrap().missing_acknowledgments, 0);
    let waiting = client.acknowledge_update(MANIFEST).await.unwrap();
    assert_eq!((waiting.missing_acknowledgments, waiting.missing_users), (1, vec!["User0".to_owned()]));
    let secrets = client.secrets(&["symShared".to_owned(), "a b&c".to_owned()]).await.unwrap();
    assert_eq!(secrets["symShared"].r#type, "symmetric-key");
}

#[tokio::test]
async fn words_of_an_acknowledgement_are_counted_and_not_believed_without_bound() {
    let with = |text: &str| {
        let body = format!(r#"{{"status":"success","data":"{text}"}}"#);
        Script::v1().answer("POST /update-manifest", 200, &body)
    };
    let applied = "All users have acknowledged the update manifest. Update successfully applied";
    for (text, missing) in [(applied, Some(0)), ("3 users still need to acknowledge the update manifest", Some(3))]
        .into_iter()
        .chain(["9223372036854775807 users", "-1 users", "", "Nobody"].map(|text| (text, None)))
    {
        let fake = Fake::start(with(text)).await;
        let result = fake.user().acknowledge_update(MANIFEST).await;
        assert_eq!(result.ok().map(|result| result.missing_acknowledgments), missing, "{text}");
    }
}

#[tokio::test]
async fn an_old_coordinator_without_a_manifest_answers_nothing_and_verifies_nothing() {
    let body =
        r#"{"status":"success","data":{"ManifestSignatureRootECDSA":null,"ManifestSignature":"","Manifest":null}}"#;
    let log = r#"{"status":"success","data":""}"#;
    let fake = Fake::start(Script::v1().answer("GET /manifest", 200, body).answer("GET /update", 200, log)).await;
    assert!(fake.client().manifest().await.unwrap().manifest.0.is_empty());
    assert!(fake.client().update_log().await.unwrap().is_empty());
    for expected in [ExpectedManifest::Raw(MANIFEST), ExpectedManifest::Raw(b"")] {
        let error = fake.client().verify_manifest(expected).await.unwrap_err();
        assert!(error.to_string().starts_with("Coordinator returned no manifest signature"), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_of_an_old_coordinator_is_proven_too() {
    let foreign = r#"{"status":"success","data":{"ManifestSignatureRootECDSA":"AAEC","ManifestSignature":"@FINGERPRINT@","Manifest":"@MANIFEST@"}}"#;
    let fake = Fake::start(Script::v1().answer("GET /manifest", 200, foreign)).await;
    assert!(matches!(fake.client().manifest().await, Err(ClientError::Trust(_))));
}
