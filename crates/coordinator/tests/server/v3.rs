//! The API that is ours: health, status, checks, problem details, the document.

use serde_json::{Value, json};

use marblerun_coordinator::server::Limits;
use marblerun_state::Phase;

use crate::support::{Server, manifest};

#[tokio::test]
async fn health_and_readiness_are_there_for_probes() {
    for phase in [Phase::Recovery, Phase::AcceptingManifest] {
        let server = Server::start_with(phase, Limits::default()).await;
        let reply = server.get("/api/v3/healthz").await;
        assert_eq!((reply.status, reply.json()), (200, json!({ "status": "ok" })));
        let reply = server.get("/api/v3/readyz").await;
        assert_eq!((reply.status, reply.json()), (200, json!({ "ready": true, "reasons": [] })));
    }
}

#[tokio::test]
async fn the_status_says_what_this_instance_is() {
    let server = Server::start().await;
    let status = server.get("/api/v3/status").await.json();
    assert_eq!(status["phase"], "accepting_manifest");
    assert_eq!(status["code"], 2);
    assert_eq!(status["tee"], "simulation");
    assert_eq!(status["version"], "1.2.3");
    assert_eq!(status["incarnation"], 1);
    assert_eq!(status["deployment"], "07".repeat(16));
    assert_eq!(status["manifestFingerprint"], Value::Null);
    let root = &server.coordinator.snapshot().authority().root_certificate.clone();
    let fingerprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, root);
    assert_eq!(status["rootFingerprint"], hex::encode(fingerprint));

    let server = Server::with_manifest(&manifest::base()).await;
    let status = server.get("/api/v3/status").await.json();
    assert_eq!(status["phase"], "accepting_marbles");
    assert_eq!(status["manifestFingerprint"], server.get("/api/v2/manifest").await.data()["manifestFingerprint"]);
    let warnings = status["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning.as_str().unwrap().contains("RecoveryKeys")), "{warnings:?}");
}

#[tokio::test]
async fn the_packages_in_force_have_their_present_security_version() {
    let server = Server::with_manifest(&manifest::base()).await;
    let update = json!({ "Packages": { "frontend": { "SecurityVersion": 8 } } });
    server.post_as(&manifest::admin(), "/update", update.to_string()).await;
    let package = server.get("/api/v3/packages").await.json()["packages"]["frontend"].clone();
    assert_eq!(package["securityVersion"], 8);
    assert_eq!(package["productId"], 3);
    assert_eq!(package["acceptedTcbStatuses"], json!(["SWHardeningNeeded"]));
    assert!(package.get("uniqueId").is_none());
}

#[tokio::test]
async fn refusals_are_problem_details() {
    let server = Server::start().await;
    for (method, path, status, code) in [
        ("GET", "/api/v3/nothing", 404, "no_such_path"),
        ("POST", "/api/v3/", 404, "no_such_path"),
        ("POST", "/api/v3/status", 405, "no_such_method"),
    ] {
        let reply = server.call(None, method, path, b"").await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        let problem = reply.json();
        assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)));
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["requestId"].as_str().unwrap().len(), 32);
        if status == 405 {
            assert_eq!(reply.header("allow"), Some("GET"));
        }
    }
}

#[tokio::test]
async fn the_document_describes_every_route_that_is_served() {
    let server = Server::start().await;
    let document = server.get("/api/v3/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 4);
    for (path, operations) in paths {
        for method in operations.as_object().unwrap().keys() {
            let reply = server.call(None, &method.to_uppercase(), path, b"").await;
            assert!(![404, 405].contains(&reply.status), "{method} {path}: {reply:?}");
        }
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for schema in ["Status", "Store", "Problem", "Packages", "Readiness"] {
        assert!(schemas.contains_key(schema), "{schema}");
    }
}

#[tokio::test]
async fn a_manifest_can_be_checked_without_being_set() {
    let server = Server::start().await;
    let check = async |raw: String| server.post("/api/v3/manifest/check", raw).await.json();

    let good = manifest::base().to_string();
    let answer = check(good.clone()).await;
    assert_eq!(answer["accepted"], true);
    let fingerprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, good.as_bytes());
    assert_eq!(answer["fingerprint"], hex::encode(fingerprint));
    let findings = answer["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["severity"] == "warning"), "{findings:?}");

    let mut bad = manifest::base();
    bad["Marbles"]["web"]["Package"] = json!("nowhere");
    bad["Users"]["admin"]["Certificate"] = json!("nonsense");
    let answer = check(bad.to_string()).await;
    assert_eq!(answer["accepted"], false);
    let paths: Vec<_> = answer["findings"].as_array().unwrap().iter().filter(|f| f["severity"] == "error").collect();
    assert!(paths.len() >= 2, "all at once: {paths:?}");
    assert!(paths.iter().any(|finding| finding["path"] == "Marbles.web.Package"), "{paths:?}");

    for garbage in ["", "{", "[]", "\u{0}"] {
        assert_eq!(check(garbage.to_owned()).await["accepted"], false, "{garbage:?}");
    }
    assert_eq!(server.get("/api/v2/status").await.data()["code"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_by_strangers_neither_queue_up_nor_hold_up_an_update() {
    let server = Server::with_manifest(&manifest::base()).await;
    let mut large = manifest::base();
    large["Marbles"]["web"]["Parameters"]["Files"] = json!({ "/large": "x".repeat(2 << 20) });
    let (large, update) = (large.to_string(), json!({ "Packages": { "frontend": { "SecurityVersion": 5 } } }));
    let checks = futures_util::future::join_all((0..6).map(|_| server.post("/api/v3/manifest/check", &large)));
    let admin = manifest::admin();
    let (checks, update) = tokio::join!(checks, server.post_as(&admin, "/update", update.to_string()));
    assert_eq!(update.status, 200);
    assert!(checks.iter().any(|reply| reply.status == 200));
    for refused in checks.iter().filter(|reply| reply.status != 200) {
        assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("busy")));
    }
}

#[tokio::test]
async fn a_coordinator_that_shares_nothing_has_nothing_to_decide_in_any_phase() {
    for phase in [Phase::Recovery, Phase::AcceptingManifest] {
        let server = Server::start_with(phase, Limits::default()).await;
        let reply = server.get("/api/v3/cluster").await;
        assert_eq!((reply.status, &reply.json()["code"]), (409, &json!("state_not_shared")));
        let status = server.get("/api/v3/status").await.json();
        assert!(status["store"].get("divergence").is_none() && status["store"].get("validatedMsAgo").is_none());
    }
    let server = Server::with_manifest(&manifest::base()).await;
    for (path, body) in [
        ("/api/v3/restore/accept", ""),
        ("/api/v3/restore/reject", ""),
        ("/api/v3/kek/rotate", ""),
        ("/api/v3/kek/rotate", r#"{"revoke":true}"#),
    ] {
        let reply = server.post_as(&manifest::admin(), path, body).await;
        assert_eq!((reply.status, &reply.json()["code"]), (409, &json!("state_not_shared")), "{path}");
        assert_eq!(reply.json()["detail"], "this Coordinator does not share its state");
    }
    for body in [r#"{"revoke":1}"#, r#"{"revok":true}"#, "{"] {
        let reply = server.post_as(&manifest::admin(), "/api/v3/kek/rotate", body).await;
        assert_eq!((reply.status, &reply.json()["code"]), (400, &json!("bad_json")), "{body}");
    }
}

#[tokio::test]
async fn where_no_state_is_stored_there_are_no_key_slots_and_what_cannot_be_meant_is_told() {
    let server = Server::with_manifest(&manifest::base()).await;
    let admin = manifest::admin();
    for (method, path, body, status, code) in [
        ("GET", "/api/v3/seal/slots", "", 409, "no_key_slots"),
        ("POST", "/api/v3/seal/slots/test", "", 409, "no_key_slots"),
        ("POST", "/api/v3/seal/slots/rotate", "", 409, "no_key_slots"),
        ("POST", "/api/v3/seal/slots", r#"{"backend":"plain"}"#, 409, "no_key_slots"),
        ("DELETE", "/api/v3/seal/slots?slot=plain", "", 409, "no_key_slots"),
        ("DELETE", "/api/v3/seal/slots", "", 400, "bad_query"),
        ("POST", "/api/v3/seal/slots", "", 400, "bad_json"),
        ("POST", "/api/v3/seal/slots", r#"{"backends":"plain"}"#, 400, "bad_json"),
        ("POST", "/api/v3/seal/slots/rotate", r#"{"forced":true}"#, 400, "bad_json"),
        ("PUT", "/api/v3/seal/slots", "", 405, "no_such_method"),
    ] {
        let reply = server.call(Some(&admin), method, path, body.as_bytes()).await;
        assert_eq!((reply.status, &reply.json()["code"]), (status, &json!(code)), "{method} {path} {body}");
    }
}

#[tokio::test]
async fn an_update_is_made_and_acknowledged_over_the_third_version_too() {
    let server = Server::with_manifest(&manifest::base()).await;
    let update = json!({ "Packages": { "frontend": { "SecurityVersion": 9 } } });
    let reply = server.post_as(&manifest::admin(), "/api/v3/update", update.to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    assert_eq!(
        answer,
        json!({ "applied": true, "missingAcknowledgments": 0, "missingUsers": [], "recoverySecrets": {} }),
        "there is no elsewhere"
    );
    let package = server.get("/api/v3/packages").await.json()["packages"]["frontend"].clone();
    assert_eq!(package["securityVersion"], 9);
    let reply = server.post_as(&manifest::admin(), "/api/v3/update/acknowledge", update.to_string()).await;
    assert_eq!((reply.status, &reply.json()["code"]), (404, &json!("no_pending_update")));
}
