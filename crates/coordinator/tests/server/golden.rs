//! Answers of upstream, to the byte.

use marblerun_coordinator::server::Limits;
use marblerun_state::Phase;
use marblerun_testkit::RecoveryKeyPair;
use serde_json::{Value, json};

use crate::support::{Identity, Reply, Server, manifest, wrapped};

/// Status, content type (`J`SON or `T`ext) and body without its line end.
#[track_caller]
fn assert_reply(reply: &Reply, status: u16, kind: char, body: &str) {
    assert_eq!(reply.body.strip_suffix('\n'), Some(body), "{reply:?}");
    assert_eq!(reply.status, status, "{reply:?}");
    let content_type = if kind == 'J' { "application/json" } else { "text/plain; charset=utf-8" };
    assert_eq!(reply.header("content-type"), Some(content_type), "{reply:?}");
    assert_eq!(reply.header("x-content-type-options").is_some(), kind == 'T', "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
}

#[track_caller]
fn assert_error(reply: &Reply, status: u16, message: &str) {
    assert_reply(reply, status, 'T', &format!("{{\"status\":\"error\",\"data\":null,\"message\":\"{message}\"}}"));
}

#[track_caller]
fn assert_fail(reply: &Reply, status: u16, message: &str) {
    assert_reply(reply, status, 'J', &format!("{{\"status\":\"fail\",\"data\":null,\"message\":\"{message}\"}}"));
}

#[track_caller]
fn assert_success(reply: &Reply, data: &str) {
    assert_reply(reply, 200, 'J', &format!("{{\"status\":\"success\",\"data\":{data}}}"));
}

const WRONG_STATE: &str = "server is not in expected state";
const UNKNOWN_USER: &str = "unauthorized user: client certificate did not match any MarbleRun users";

#[tokio::test]
async fn without_a_manifest() {
    let server = Server::start().await;
    assert_success(
        &server.get("/status").await,
        r#"{"StatusCode":2,"StatusMessage":"Coordinator is ready to accept a manifest."}"#,
    );
    assert_success(
        &server.get("/api/v2/status").await,
        r#"{"code":2,"message":"Coordinator is ready to accept a manifest."}"#,
    );
    assert_success(
        &server.get("/manifest").await,
        r#"{"ManifestSignatureRootECDSA":null,"ManifestSignature":"","Manifest":null}"#,
    );
    assert_error(&server.get("/api/v2/manifest").await, 500, "requested value not set");
    for path in ["/update", "/api/v2/update", "/api/v2/recover/public-key"] {
        assert_error(&server.get(path).await, 500, WRONG_STATE);
    }
    for path in ["/update-manifest", "/api/v2/update-manifest"] {
        assert_error(&server.get(path).await, 404, "no update in progress");
    }
    for path in ["/secrets", "/update", "/update-manifest", "/update-cancel"] {
        assert_error(&server.post(path, "").await, 401, UNKNOWN_USER);
        assert_fail(&server.post(&format!("/api/v2{path}"), "").await, 401, UNKNOWN_USER);
    }
    assert_error(&server.get("/secrets?s=a").await, 401, UNKNOWN_USER);
    assert_fail(&server.get("/api/v2/secrets").await, 401, UNKNOWN_USER);
    assert_error(
        &server.post("/recover", "{}").await,
        410,
        "Recovering the Coordinator using the /recover API endpoint has been disabled. Use the /api/v2/recover endpoint instead.",
    );
    assert_error(
        &server.post("/api/v2/sign-quote", "").await,
        403,
        "SignQuoteEndpoint feature is not enabled in the manifest",
    );
    assert_error(
        &server.post("/api/v2/monotonic-counter", "").await,
        403,
        "MonotonicCounter feature is not enabled in the manifest",
    );
}

#[tokio::test]
async fn in_recovery_mode() {
    let server = Server::start_with(Phase::Recovery, Limits::default()).await;
    assert_success(
        &server.get("/api/v2/status").await,
        r#"{"code":1,"message":"Coordinator is in recovery mode. Either upload a key to unseal the saved state, or set a new manifest. For more information on how to proceed, consult the documentation."}"#,
    );
    assert_fail(&server.post("/api/v2/recover", "").await, 400, "EOF");
    assert_fail(
        &server.post("/api/v2/recover", r#"{"recoverySecret":"AAEC"}"#).await,
        400,
        "failed to decrypt recovery secret: ephemeral secret key not set",
    );
    let key = server.get("/api/v2/recover/public-key").await;
    assert!(
        key.body
            .starts_with(r#"{"status":"success","data":{"algorithm":"RSA","ephemeralPublicKey":"MIICIjANBgkqhkiG9w0B"#)
    );
    assert_fail(
        &server.post("/api/v2/recover", r#"{"recoverySecret":"AAEC"}"#).await,
        400,
        "failed to decrypt recovery secret: crypto/rsa: decryption error",
    );
}

#[tokio::test]
async fn the_quote_in_simulation() {
    let server = Server::start().await;
    let v1 = server.get("/quote").await;
    let v2 = server.get("/api/v2/quote").await;
    assert!(v1.body.starts_with(r#"{"status":"success","data":{"Cert":"-----BEGIN CERTIFICATE-----\nMII"#), "{v1:?}");
    assert!(v1.body.ends_with("-----END CERTIFICATE-----\\n\",\"Quote\":null}}\n"), "{v1:?}");
    assert_eq!(v2.body, v1.body.replace("\"Cert\"", "\"cert\"").replace("\"Quote\"", "\"quote\""));
    assert_eq!(v2.data()["cert"].as_str().unwrap().matches("BEGIN CERTIFICATE").count(), 2);
    for nonce in ["AAECAw==", "-_8=", ""] {
        assert_eq!(server.get(&format!("/api/v2/quote?nonce={nonce}")).await.body, v2.body);
    }
    for (nonce, at) in [("AAECAw", 4), ("%2B%2F8=", 0), ("!!", 0)] {
        assert_fail(
            &server.get(&format!("/api/v2/quote?nonce={nonce}")).await,
            400,
            &format!("invalid query: bad nonce format: illegal base64 data at input byte {at}"),
        );
        assert_eq!(server.get(&format!("/quote?nonce={nonce}")).await.status, 200);
    }
}

#[tokio::test]
async fn manifests_that_are_none() {
    let server = Server::start().await;
    assert_error(
        &server.post("/manifest", "{\"Packages\":").await,
        400,
        "unmarshaling manifest: unexpected end of JSON input",
    );
    for raw in ["{}", "null"] {
        assert_error(&server.post("/manifest", raw).await, 400, "checking manifest: no allowed packages defined");
    }
    assert_fail(&server.post("/api/v2/manifest", "").await, 400, "EOF");
    assert_fail(&server.post("/api/v2/manifest", "{\"manifest\":").await, 400, "unexpected EOF");
    assert_fail(
        &server.post("/api/v2/manifest", "{\"manifest\":\"!!\"}").await,
        400,
        "illegal base64 data at input byte 0",
    );
    for body in ["{}", "null"] {
        assert_error(
            &server.post("/api/v2/manifest", body).await,
            500,
            "unmarshaling manifest: unexpected end of JSON input",
        );
    }
    for body in [
        r#"{"manifest":"e30="}"#,
        r#"{"MANIFEST":"e30=","foo":1} garbage"#,
        r#"{"manifest":[123,125]}"#,
        r#"{"manifest":"e3\n0="}"#,
    ] {
        assert_error(
            &server.post("/api/v2/manifest", body).await,
            500,
            "checking manifest: no allowed packages defined",
        );
    }
    let mut bad_key = manifest::base();
    bad_key["RecoveryKeys"] = json!({ "rk1": "nonsense" });
    assert_error(
        &server.post("/api/v2/manifest", wrapped(&bad_key)).await,
        500,
        "generating recovery encryption key: given PEM data is not a public key",
    );
    let mut bad_user = manifest::base();
    bad_user["Users"]["admin"]["Certificate"] = json!("nonsense");
    assert_error(
        &server.post("/api/v2/manifest", wrapped(&bad_user)).await,
        500,
        "generating users from manifest: received invalid certificate for user admin",
    );
    let mut bad_template = manifest::base();
    bad_template["Marbles"]["web"]["Parameters"]["Files"] = json!({ "/y": "{{ pem .Secrets.zz.Cert }}" });
    assert_error(
        &server.post("/api/v2/manifest", wrapped(&bad_template)).await,
        500,
        "running manifest template dry run: in Marble web: file /y: template: data:1:3: executing \\\"data\\\" at \\u003cpem .Secrets.zz.Cert\\u003e: error calling pem: secret does not exist",
    );
    // Nothing of this left a trace.
    assert_eq!(server.get("/api/v2/status").await.data()["code"], 2);
    assert_success(&server.post("/api/v2/manifest", wrapped(manifest::base())).await, r#"{"RecoverySecrets":{}}"#);
    assert_eq!(server.get("/api/v2/update").await.data()["updateLog"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_manifest_that_is_set() {
    let raw = serde_json::to_string_pretty(&manifest::base()).unwrap();
    let server = Server::start().await;
    assert_success(&server.post("/manifest", &raw).await, "null");
    assert_error(&server.post("/manifest", &raw).await, 400, WRONG_STATE);
    assert_error(&server.post("/api/v2/manifest", wrapped(&raw)).await, 500, WRONG_STATE);

    let v2 = server.get("/api/v2/manifest").await;
    let base64 = marblerun_api::bytes::encode(raw.as_bytes());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, raw.as_bytes());
    let fingerprint = hex::encode(digest);
    let signature = v2.data()["manifestSignatureRootECDSA"].as_str().unwrap().to_owned();
    assert_success(
        &v2,
        &format!(
            r#"{{"manifestSignatureRootECDSA":"{signature}","manifestFingerprint":"{fingerprint}","manifest":"{base64}"}}"#
        ),
    );
    assert_success(
        &server.get("/manifest").await,
        &format!(
            r#"{{"ManifestSignatureRootECDSA":"{signature}","ManifestSignature":"{fingerprint}","Manifest":"{base64}"}}"#
        ),
    );

    let line = server.get("/api/v2/update").await.data()["updateLog"][0].as_str().unwrap().to_owned();
    assert!(line.starts_with("{\"time\":\"") && line.ends_with("\",\"update\":\"Initial manifest set\"}"), "{line}");
    let quoted = line.replace('"', "\\\"");
    assert_success(&server.get("/update").await, &format!("\"{quoted}\\n\""));
    assert_success(&server.get("/api/v2/update").await, &format!("{{\"updateLog\":[\"{quoted}\"]}}"));
    assert_success(
        &server.get("/status").await,
        r#"{"StatusCode":3,"StatusMessage":"Coordinator is running correctly and ready to accept marbles."}"#,
    );
}

#[tokio::test]
async fn secrets_as_users_read_them() {
    let server = Server::with_manifest(&manifest::base()).await;
    let admin = manifest::admin();
    let reply = server.get_as(&admin, "/api/v2/secrets?s=symShared").await;
    let value = reply.data()["secrets"]["symShared"]["Private"].as_str().unwrap().to_owned();
    let secret = format!(
        r#"{{"symShared":{{"Type":"symmetric-key","Size":128,"Shared":true,"UserDefined":false,"Cert":null,"ValidFor":0,"Private":"{value}","Public":"{value}"}}}}"#
    );
    assert_success(&reply, &format!(r#"{{"secrets":{secret}}}"#));
    assert_success(&server.get_as(&admin, "/secrets?s=symShared&s=symShared").await, &secret);

    let reply = server.get_as(&admin, "/api/v2/secrets?s=certEc").await;
    assert!(
        reply.body.starts_with(r#"{"status":"success","data":{"secrets":{"certEc":{"Type":"cert-ecdsa","Size":256,"Shared":true,"UserDefined":false,"Cert":"MII"#),
        "{reply:?}"
    );
    assert!(reply.body.contains(r#"","ValidFor":365,"Private":"MIG"#), "{reply:?}");

    assert_success(
        &server.get_as(&admin, "/api/v2/secrets?s=plainUnset").await,
        r#"{"secrets":{"plainUnset":{"Type":"plain","Size":0,"Shared":false,"UserDefined":true,"Cert":null,"ValidFor":0,"Private":null,"Public":null}}}"#,
    );
    let no_parameter = "invalid query: endpoint requires at least one query parameter";
    let empty_parameter = "malformed query string: empty query parameter";
    assert_fail(&server.get_as(&admin, "/api/v2/secrets").await, 400, no_parameter);
    assert_fail(&server.get_as(&admin, "/api/v2/secrets?S=symShared").await, 400, no_parameter);
    assert_fail(&server.get_as(&admin, "/api/v2/secrets?s=a&s=").await, 400, empty_parameter);
    assert_error(&server.get_as(&admin, "/secrets").await, 400, no_parameter);
    let forbidden = "user admin is not allowed to read one or more secrets of: [symShared restricted]";
    assert_error(&server.get_as(&admin, "/api/v2/secrets?s=symShared&s=restricted").await, 500, forbidden);
    assert_error(&server.get_as(&admin, "/secrets?s=symShared&s=restricted").await, 400, forbidden);
}

#[tokio::test]
async fn secrets_as_users_write_them() {
    let server = Server::with_manifest(&manifest::base()).await;
    let (admin, reader) = (manifest::admin(), manifest::reader());
    let sdk = r#"{"secrets":{"plainUnset":{"Cert":null,"Private":null,"Key":"aGk="}}}"#;
    assert_success(&server.post_as(&admin, "/api/v2/secrets", sdk).await, "null");
    assert_success(&server.post_as(&admin, "/secrets", r#"{"plainUnset":{"key":"aGk="}}"#).await, "null");
    let read = server.get_as(&admin, "/secrets?s=plainUnset").await.data();
    assert_eq!((&read["plainUnset"]["Private"], &read["plainUnset"]["Public"]), (&json!("aGk="), &json!("aGk=")));

    let v2 = async |body: &str| server.post_as(&admin, "/api/v2/secrets", body).await;
    let wrong_size = "parsing new secrets: declared size and actual size don't match: symUnset";
    assert_error(&v2(r#"{"secrets":{"symUnset":{"Key":"AAEC"}}}"#).await, 500, wrong_size);
    assert_error(&server.post_as(&admin, "/secrets", r#"{"symUnset":{"Key":"AAEC"}}"#).await, 400, wrong_size);
    assert_error(
        &v2(r#"{"secrets":{"certUnset":{"Private":"MC4C"}}}"#).await,
        500,
        "parsing new secrets: x509: unsupported public key type: \\u003cnil\\u003e",
    );
    assert_fail(&v2(r#"{"secrets":{"certUnset":{"Cert":"AAEC"}}}"#).await, 400, "x509: malformed certificate");
    assert_error(&v2("{}").await, 500, "parsing new secrets: no new secrets defined");
    assert_error(&server.post_as(&admin, "/secrets", "{}").await, 400, "parsing new secrets: no new secrets defined");
    assert_fail(&v2("").await, 400, "EOF");
    assert_error(&server.post_as(&admin, "/secrets", "").await, 400, "unexpected end of JSON input");

    let body = format!(r#"{{"symUnset":{{"Key":"{}"}}}}"#, "A".repeat(22) + "==");
    let forbidden = "user reader is not allowed to update secret: symUnset";
    assert_error(&server.post_as(&reader, "/api/v2/secrets", format!("{{\"secrets\":{body}}}")).await, 500, forbidden);
    assert_error(&server.post_as(&reader, "/secrets", body).await, 400, forbidden);

    // RFC 5280 allows 20 bytes of serial number; certificates in use have more.
    let certificate = marblerun_api::bytes::encode(&Identity::fixture("long-serial").chain()[0]);
    let body = format!(r#"{{"secrets":{{"certUnset":{{"Cert":"{certificate}"}}}}}}"#);
    assert_success(&v2(&body).await, "null");
}

#[tokio::test]
async fn updates_of_packages() {
    let server = Server::with_manifest(&manifest::base()).await;
    let (admin, nobody) = (manifest::admin(), manifest::nobody());
    let update = |version: u64| json!({ "Packages": { "frontend": { "SecurityVersion": version } } });
    let applied = r#"{"missingAcknowledgments":0,"missingUsers":null}"#;
    assert_success(&server.post_as(&admin, "/api/v2/update", wrapped(update(5))).await, applied);
    assert_success(&server.post_as(&admin, "/update", update(6).to_string()).await, "null");
    let downgrade =
        "checking update manifest: update manifest tries to downgrade SecurityVersion of the original manifest";
    assert_error(&server.post_as(&admin, "/api/v2/update", wrapped(update(2))).await, 500, downgrade);
    assert_error(&server.post_as(&admin, "/update", update(2).to_string()).await, 400, downgrade);
    assert_error(
        &server.post_as(&admin, "/api/v2/update", wrapped("{}")).await,
        500,
        "checking update manifest: no packages defined",
    );
    assert_error(
        &server.post_as(&nobody, "/api/v2/update", wrapped("{}")).await,
        500,
        "user nobody is not allowed to update one or more packages of []",
    );
    let log = server.get("/api/v2/update").await.data();
    let line = log["updateLog"][1].as_str().unwrap();
    let expected = r#","update":"SecurityVersion increased","user":"admin","package":"frontend","new version":5}"#;
    assert!(line.ends_with(expected), "{line}");
}

#[tokio::test]
async fn updates_of_the_manifest_that_need_nobody_else() {
    let server = Server::with_manifest(&manifest::base()).await;
    let admin = manifest::admin();
    let mut next = manifest::base();
    next["Packages"]["frontend"]["SecurityVersion"] = json!(9);
    let applied = r#"{"missingAcknowledgments":0,"missingUsers":null}"#;
    assert_success(&server.post_as(&admin, "/api/v2/update", wrapped(&next)).await, applied);
    let manifest = server.get("/api/v2/manifest").await.data()["manifest"].clone();
    assert_eq!(manifest, json!(marblerun_api::bytes::encode(next.to_string().as_bytes())));

    let none = "no update in progress";
    for path in ["/update-manifest", "/api/v2/update-manifest"] {
        assert_error(&server.get(path).await, 404, none);
        let body = if path.starts_with("/api") { wrapped(&next) } else { next.to_string() };
        assert_error(&server.post_as(&admin, path, body).await, 404, none);
    }
    for path in ["/update-cancel", "/api/v2/update-cancel"] {
        assert_error(&server.post_as(&admin, path, "").await, 404, none);
        assert_error(
            &server.post_as(&manifest::reader(), path, "").await,
            500,
            "user reader is not allowed to cancel the manifest update",
        );
    }
    assert_error(
        &server.post_as(&manifest::reader(), "/api/v2/update", wrapped(&next)).await,
        500,
        "user reader is not allowed to update the complete manifest",
    );
}

#[tokio::test]
async fn updates_of_the_manifest_that_wait_for_others() {
    let mut shared = manifest::base();
    let more = [("admin2", "ecdsa-p384"), ("admin3", "x509-v1")];
    for (name, fixture) in more {
        shared["Users"][name] = json!({ "Certificate": Identity::fixture(fixture).pem(), "Roles": ["updater"] });
    }
    let server = Server::with_manifest(&shared).await;
    let [admin, admin2, admin3] = ["ecdsa-p256", "ecdsa-p384", "x509-v1"].map(Identity::fixture);
    let mut next = shared.clone();
    next["Marbles"]["web"]["MaxActivations"] = json!(5);

    let started = r#"{"missingAcknowledgments":2,"missingUsers":["admin2","admin3"]}"#;
    assert_success(&server.post_as(&admin, "/api/v2/update", wrapped(&next)).await, started);
    let pending = format!(
        r#"{{"manifest":"{}","message":"2 users still need to acknowledge the update manifest","missingUsers":["admin2","admin3"]}}"#,
        marblerun_api::bytes::encode(next.to_string().as_bytes())
    );
    for path in ["/update-manifest", "/api/v2/update-manifest"] {
        assert_success(&server.get(path).await, &pending);
    }
    let in_progress = "update already in progress. Acknowledge the update to apply it, or cancel it to start a new one";
    assert_error(&server.post_as(&admin2, "/api/v2/update", wrapped(&next)).await, 500, in_progress);
    assert_error(&server.post_as(&admin2, "/update", next.to_string()).await, 400, in_progress);
    assert_success(
        &server.post_as(&admin, "/api/v2/update-manifest", wrapped(&next)).await,
        r#"{"message":"2 users still need to acknowledge the update manifest.\nThe following users have not yet accepted: admin2, admin3","missingUsers":["admin2","admin3"],"missingAcknowledgments":2}"#,
    );
    assert_error(
        &server.post_as(&admin2, "/api/v2/update-manifest", wrapped("other bytes")).await,
        500,
        "provided manifest does not match the pending manifest",
    );
    assert_error(
        &server.post_as(&manifest::reader(), "/api/v2/update-manifest", wrapped(&next)).await,
        500,
        "user reader is not allowed to acknowledge manifest updates",
    );
    assert_success(
        &server.post_as(&admin2, "/update-manifest", next.to_string()).await,
        r#""1 user still needs to acknowledge the update manifest""#,
    );
    assert_success(
        &server.post_as(&admin3, "/api/v2/update-manifest", wrapped(&next)).await,
        r#"{"message":"All users have acknowledged the update manifest. Update successfully applied","missingUsers":null,"missingAcknowledgments":0}"#,
    );

    for (path, data) in [
        ("/update-cancel", r#""Update successfully cancelled""#),
        ("/api/v2/update-cancel", r#"{"message":"Update successfully cancelled"}"#),
    ] {
        assert_eq!(server.post_as(&admin, "/api/v2/update", wrapped(&shared)).await.status, 200);
        assert_success(&server.post_as(&admin3, path, "").await, data);
    }
    assert_success(&server.post_as(&admin, "/update", shared.to_string()).await, "null");
}

#[tokio::test]
async fn new_recovery_secrets_are_given_out_by_both_versions() {
    let mut with_key = manifest::base();
    with_key["RecoveryKeys"] = json!({ "rk1": RecoveryKeyPair::new().unwrap().public_pem().unwrap() });
    let server = Server::start().await;
    let reply = server.post("/manifest", with_key.to_string()).await;
    assert_eq!(reply.data()["RecoverySecrets"]["rk1"].as_str().map(str::len), Some(344), "{reply:?}");

    let admin = manifest::admin();
    with_key["RecoveryKeys"] = json!({ "rk2": RecoveryKeyPair::new().unwrap().public_pem().unwrap() });
    let reply = server.post_as(&admin, "/api/v2/update", wrapped(&with_key)).await;
    assert!(
        reply.body.starts_with(
            r#"{"status":"success","data":{"missingAcknowledgments":0,"missingUsers":null,"recoverySecrets":{"rk2":""#
        ),
        "{reply:?}"
    );
    with_key["RecoveryKeys"] = json!({ "rk3": RecoveryKeyPair::new().unwrap().public_pem().unwrap() });
    let reply = server.post_as(&admin, "/update", with_key.to_string()).await;
    assert_eq!(reply.data()["RecoverySecrets"]["rk3"].as_str().map(str::len), Some(344), "{reply:?}");

    let none = r#"{"missingAcknowledgments":0,"missingUsers":null,"recoverySecrets":{}}"#;
    assert_success(&server.post_as(&admin, "/api/v2/update", wrapped(manifest::base())).await, none);
}

#[tokio::test]
async fn sign_quote_vouches_for_nothing_in_simulation() {
    let server = Server::with_manifest(&manifest::with_features(&["signquoteendpoint"])).await;
    let refusal = |reason: &str, message: &str| {
        format!(r#"{{"status":"fail","data":{{"sgxQuote":"{reason}"}},"message":"{message}"}}"#)
    };
    for (body, reason, message) in [
        ("", "failed to parse JSON data", "bad request: EOF"),
        ("{}", "quote verification failed: empty report", "quote verification failed"),
        (r#"{"sgxQuote":"AAEC"}"#, "quote verification failed: OE_UNSUPPORTED", "quote verification failed"),
    ] {
        assert_reply(&server.post("/api/v2/sign-quote", body).await, 400, 'J', &refusal(reason, message));
    }
}

/// Setting, updating, reading never answers a secret where none was asked for.
#[tokio::test]
async fn public_answers_hold_no_secret() {
    let server = Server::with_manifest(&manifest::base()).await;
    let reply = server.get_as(&manifest::admin(), "/secrets?s=symShared").await;
    let value = reply.data()["symShared"]["Private"].clone();
    let Value::String(value) = value else { panic!("{value}") };
    for path in ["/manifest", "/quote", "/update", "/api/v2/quote", "/api/v3/status", "/api/v3/packages"] {
        assert!(!server.get(path).await.body.contains(&value), "{path}");
    }
}
