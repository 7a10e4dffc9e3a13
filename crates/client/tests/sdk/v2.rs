//! Coordinators with API v2.

use std::collections::BTreeMap;

use marblerun_client::{
    Client, ClientError, ExpectedManifest, MarbleCredentials, TcbStatus, Trust, secrets, verify_signed_quote, wire,
};
use serde_json::{Value, json};

use crate::fake::{Fake, MANIFEST, QUOTE, Script, alice, authority, sha256};

fn sent(fake: &Fake) -> Value {
    serde_json::from_slice(&fake.requests().last().unwrap().body).unwrap()
}

fn b64(bytes: &[u8]) -> String {
    wire::bytes::encode(bytes)
}

#[tokio::test]
async fn status_is_code_and_words() {
    let fake = Fake::start(Script::v2()).await;
    let status = fake.client().status().await.unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "Coordinator is ready to accept a manifest."));
    assert_eq!(fake.lines(), ["GET /api/v2/status"]);
}

#[tokio::test]
async fn the_manifest_comes_byte_for_byte_and_is_proven() {
    let fake = Fake::start(Script::v2()).await;
    let manifest = fake.client().manifest().await.unwrap();
    assert_eq!(manifest.manifest.0, MANIFEST);
    assert_eq!(manifest.manifest_fingerprint, sha256(MANIFEST));
    fake.client().verify_manifest(ExpectedManifest::Raw(MANIFEST)).await.unwrap();
    let other = fake.client().verify_manifest(ExpectedManifest::Fingerprint([0xab; 32])).await.unwrap_err();
    let text = format!("manifest hash does not match local hash: \"{}\" != \"{}\"", sha256(MANIFEST), "ab".repeat(32));
    assert_eq!(other.to_string(), text);
}

#[tokio::test]
async fn a_manifest_that_the_root_did_not_sign_is_refused() {
    let line = "GET /api/v2/manifest";
    let with = |fingerprint: &str, signature: &str| {
        let (manifest, fingerprint) = (b64(MANIFEST), fingerprint.to_owned());
        json!({"status": "success", "data": {
            "manifest": manifest, "manifestFingerprint": fingerprint, "manifestSignatureRootECDSA": signature}})
        .to_string()
    };
    let foreign = b64(&authority().root_key.sign_sha256(MANIFEST).unwrap());
    for (fingerprint, signature, part) in [
        (sha256(b"another"), "@SIGNATURE@", "does not have the fingerprint"),
        (String::new(), "@SIGNATURE@", "does not have the fingerprint"),
        (sha256(MANIFEST), foreign.as_str(), "root did not sign"),
        (sha256(MANIFEST), "", "root did not sign"),
        (sha256(MANIFEST), "AAEC", "root did not sign"),
    ] {
        let fake = Fake::start(Script::v2().answer(line, 200, &with(&fingerprint, signature))).await;
        let error = fake.client().manifest().await.unwrap_err();
        assert!(matches!(&error, ClientError::Trust(text) if text.contains(part)), "{error}");
    }
}

#[tokio::test]
async fn setting_a_manifest_answers_the_recovery_secrets() {
    let fake = Fake::start(Script::v2()).await;
    let secrets = fake.client().set_manifest(MANIFEST).await.unwrap();
    assert_eq!(secrets["rk1"].0, [0, 1, 2]);
    assert_eq!(sent(&fake), json!({"manifest": b64(MANIFEST)}));
    assert!(fake.requests()[0].headers.contains("content-type: application/json"));
    let none =
        Script::v2().answer("POST /api/v2/manifest", 200, r#"{"status":"success","data":{"RecoverySecrets":{}}}"#);
    assert!(Fake::start(none).await.client().set_manifest(MANIFEST).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_update_log_is_a_list_of_lines() {
    let fake = Fake::start(Script::v2()).await;
    let log = fake.client().update_log().await.unwrap();
    assert_eq!(log, [r#"{"time":"2026-11-20T23:53:37.858Z","update":"Initial manifest set"}"#]);
}

#[tokio::test]
async fn updates_tell_who_is_missing_and_hand_on_new_recovery_secrets() {
    let fake = Fake::start(Script::v2()).await;
    let waiting = fake.user().apply_update(MANIFEST).await.unwrap();
    assert_eq!((waiting.missing_acknowledgments, waiting.recovery_secrets.len()), (2, 0));
    assert_eq!(waiting.missing_users, ["admin3", "admin2"]);
    assert_eq!(sent(&fake), json!({"manifest": b64(MANIFEST)}));
    let applied = fake.user().acknowledge_update(MANIFEST).await.unwrap();
    assert_eq!((applied.missing_acknowledgments, applied.missing_users.len()), (0, 0));
    assert_eq!(applied.recovery_secrets["rec2"].0, [3, 4, 5]);
    let pending = fake.client().pending_update().await.unwrap();
    assert_eq!((pending.manifest.0.as_slice(), pending.missing_users.unwrap().len()), (MANIFEST, 2));
    fake.user().cancel_update().await.unwrap();
    let cancel = fake.requests().pop().unwrap();
    assert!(cancel.body.is_empty() && !cancel.headers.contains("content-type"));
    assert_eq!(
        fake.lines(),
        [
            "POST /api/v2/update",
            "POST /api/v2/update-manifest",
            "GET /api/v2/update-manifest",
            "POST /api/v2/update-cancel"
        ]
    );
}

#[tokio::test]
async fn an_update_without_data_is_in_force() {
    for body in [r#"{"status":"success","data":null}"#, r#"{"status":"success"}"#] {
        let fake = Fake::start(Script::v2().answer("POST /api/v2/update", 200, body)).await;
        let result = fake.user().apply_update(MANIFEST).await.unwrap();
        assert_eq!((result.missing_acknowledgments, result.missing_users.len()), (0, 0));
    }
}

#[tokio::test]
async fn secrets_are_asked_for_by_encoded_names_and_sent_with_nulls() {
    let fake = Fake::start(Script::v2()).await;
    let names = ["symShared".to_owned(), "a b&c".to_owned()];
    let secrets = fake.user().secrets(&names).await.unwrap();
    assert_eq!((secrets["symShared"].size, secrets["symShared"].private.as_ref().unwrap().0.len()), (128, 16));
    assert_eq!(fake.lines(), ["GET /api/v2/secrets?s=symShared&s=a+b%26c"]);
    let new = BTreeMap::from([("k".to_owned(), secrets::value(b"hi")), ("c".into(), secrets::certificate(b"C", b"K"))]);
    fake.user().set_secrets(new).await.unwrap();
    let expected = json!({"secrets": {
        "k": {"Cert": null, "Private": null, "Key": "aGk="}, "c": {"Cert": "Qw==", "Private": "Sw==", "Key": null}}});
    assert_eq!(sent(&fake), expected);
}

#[tokio::test]
async fn a_user_shows_its_certificate_and_others_show_none() {
    let fake = Fake::start(Script::v2()).await;
    fake.user().status().await.unwrap();
    fake.client().status().await.unwrap();
    let requests = fake.requests();
    assert!(requests[0].client.is_some() && requests[1].client.is_none());
}

#[tokio::test]
async fn a_stranger_is_told_what_the_coordinator_says() {
    let message = "unauthorized user: client certificate did not match any MarbleRun users";
    let body = format!(r#"{{"status":"fail","data":null,"message":"{message}"}}"#);
    let fake = Fake::start(Script::v2().answer("POST /api/v2/update-cancel", 401, &body)).await;
    let error = fake.user().cancel_update().await.unwrap_err();
    assert_eq!(error.code(), Some(401));
    let url = fake.endpoint.url("/api/v2/update-cancel");
    assert_eq!(error.to_string(), format!("POST {url}: authorizing user: {message}"));
    assert_eq!(fake.lines(), ["POST /api/v2/update-cancel"], "only 405 means an older Coordinator");
}

#[tokio::test]
async fn a_refusal_has_code_status_message_and_data() {
    let body = r#"{"status":"fail","data":{"sgxQuote":"quote verification failed: empty report"},"message":"quote verification failed"}"#;
    let fake = Fake::start(Script::v2().answer("POST /api/v2/sign-quote", 400, body)).await;
    let ClientError::Refused(refusal) = fake.client().sign_quote(b"").await.unwrap_err() else { panic!() };
    let url = fake.endpoint.url("/api/v2/sign-quote");
    assert_eq!(refusal.to_string(), format!("POST {url}: 400 Bad Request: fail: quote verification failed"));
    assert_eq!(refusal.data, r#"{"sgxQuote":"quote verification failed: empty report"}"#);
}

#[tokio::test]
async fn a_signed_quote_is_about_this_quote_and_signed_by_this_root() {
    let fake = Fake::start(Script::v2()).await;
    let statement = fake.client().sign_quote(QUOTE).await.unwrap();
    assert_eq!(sent(&fake), json!({"sgxQuote": b64(QUOTE)}));
    let root = &fake.authority.root_certificate;
    assert_eq!(verify_signed_quote(root, QUOTE, &statement).unwrap(), TcbStatus::UpToDate);
    verify_signed_quote(root, b"another quote", &statement).unwrap_err();
    verify_signed_quote(&authority().root_certificate, QUOTE, &statement).unwrap_err();
    let better = wire::v2::SignQuote { tcb_status: "SWHardeningNeeded".into(), ..statement };
    verify_signed_quote(root, QUOTE, &better).unwrap_err();
    let error = fake.client().sign_quote(b"another quote").await.unwrap_err();
    assert!(matches!(error, ClientError::Trust(_)), "checked at once: {error}");
    for unknown in ["Unknown", "Splendid"] {
        let signature = fake.authority.root_key.sign_sha256(format!("{}{unknown}", b64(QUOTE)).as_bytes()).unwrap();
        let statement =
            wire::v2::SignQuote { tcb_status: unknown.into(), verification_signature: signature.as_slice().into() };
        assert!(matches!(verify_signed_quote(root, QUOTE, &statement), Err(ClientError::Protocol { .. })));
    }
}

#[tokio::test]
async fn a_marble_raises_its_counter_with_what_its_premain_was_given() {
    let fake = Fake::start(Script::v2()).await;
    let credentials =
        MarbleCredentials { identity: alice(), trust: Trust::Pinned(fake.authority.root_certificate.clone()) };
    let marble = Client::builder(fake.endpoint.clone()).marble(credentials).build().unwrap();
    assert_eq!(marble.set_monotonic_counter("foo", u64::MAX).await.unwrap(), 2);
    assert_eq!(sent(&fake), json!({"name": "foo", "value": u64::MAX}));
    assert!(fake.requests()[0].client.is_some());
}

#[tokio::test]
async fn names_of_answers_match_in_any_case() {
    let body = r#"{"Status":"success","DATA":{"CODE":1,"Message":"x"},"message":""}"#;
    let fake = Fake::start(Script::v2().answer("GET /api/v2/status", 200, body)).await;
    assert_eq!(fake.client().status().await.unwrap().code, 1);
}

#[tokio::test]
async fn an_answer_that_must_hold_data_and_does_not_is_an_error() {
    for line in ["GET /api/v2/status", "GET /api/v2/update", "POST /api/v2/update-manifest", "POST /api/v2/recover"] {
        let fake = Fake::start(Script::v2().answer(line, 200, r#"{"status":"success","data":null}"#)).await;
        let client = fake.client();
        let error = match line {
            "GET /api/v2/status" => client.status().await.map(drop),
            "GET /api/v2/update" => client.update_log().await.map(drop),
            "POST /api/v2/update-manifest" => client.acknowledge_update(b"").await.map(drop),
            _ => client.recover(b"", b"").await.map(drop),
        };
        assert!(matches!(error, Err(ClientError::Protocol { .. })), "{line}");
    }
}

#[tokio::test]
async fn a_recovery_beside_a_coordinator_that_serves_is_asked_for_by_force() {
    let serving = r#"{"status":"error","data":null,"message":"another one serves"}"#;
    let recovered = r#"{"status":"success","data":{"remaining":0,"message":"Recovery successful."}}"#;
    let script = Script::v2().answer("POST /api/v2/recover", 409, serving).answer(
        "POST /api/v2/recover?force=true",
        200,
        recovered,
    );
    let fake = Fake::start(script).await;
    let client = fake.client();
    assert!(client.recover(b"secret", b"signature").await.unwrap_err().to_string().contains("another one serves"));
    assert_eq!(client.recover_forced(b"secret", b"signature").await.unwrap().remaining, 0);
}
