//! API v3, of our Coordinators.

use marblerun_client::ClientError;
use marblerun_client::wire::v3::{Mode, PeerAnswer, Phase, Severity};

use crate::fake::{Fake, MANIFEST, Script};

#[tokio::test]
async fn every_call_is_read_without_an_envelope() {
    let status = r#"{"phase":"accepting_marbles","code":3,"message":"m","tee":"simulation","version":"1","deployment":"d",
        "incarnation":1,"rootFingerprint":"ab","manifestFingerprint":null,"warnings":["w"],"future":1,
        "store":{"mode":"durable","sequence":7,"head":null,"bytes":9,"slots":[]}}"#;
    let script = Script::empty()
        .answer("GET /api/v3/status", 200, status)
        .answer("GET /api/v3/healthz", 200, r#"{"status":"ok"}"#)
        .answer("GET /api/v3/readyz", 503, r#"{"ready":false,"reasons":["recovery"]}"#)
        .answer("GET /api/v3/recovery", 200, r#"{"needed":true,"remaining":2,"parties":[{"name":"a","accepted":true}]}"#)
        .answer(
            "GET /api/v3/packages",
            200,
            r#"{"packages":{"p":{"debug":false,"securityVersion":5,"acceptedTcbStatuses":[],"acceptedAdvisories":[]}}}"#,
        )
        .answer(
            "POST /api/v3/manifest/check",
            200,
            r#"{"accepted":false,"fingerprint":"f","findings":[{"severity":"error","code":"c","stage":"s","path":"p","message":"m"}]}"#,
        )
        .answer("GET /api/v3/openapi.json", 200, r#"{"openapi":"3.1.0"}"#);
    let fake = Fake::start(script).await;
    let client = fake.client();
    let v3 = client.v3();
    let status = v3.status().await.unwrap();
    assert_eq!((status.phase, status.store.mode, status.store.sequence), (Phase::AcceptingMarbles, Mode::Durable, 7));
    assert_eq!(v3.health().await.unwrap().status, "ok");
    assert_eq!(v3.readiness().await.unwrap().reasons, ["recovery"], "not ready is an answer, with code 503");
    assert_eq!(v3.recovery().await.unwrap().remaining, Some(2));
    assert_eq!(v3.packages().await.unwrap().packages["p"].security_version, Some(5));
    let check = v3.check_manifest(MANIFEST).await.unwrap();
    assert_eq!((check.accepted, check.findings[0].severity), (false, Severity::Error));
    assert_eq!(fake.requests().iter().find(|request| request.line.starts_with("POST")).unwrap().body, MANIFEST);
    assert_eq!(v3.openapi().await.unwrap()["openapi"], "3.1.0");
}

#[tokio::test]
async fn a_refusal_says_what_happened_for_people_and_programs() {
    let problem = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"another manifest is being checked",
        "code":"busy","requestId":"r"}"#;
    let fake = Fake::start(Script::empty().answer("POST /api/v3/manifest/check", 503, problem)).await;
    let error = fake.client().v3().check_manifest(MANIFEST).await.unwrap_err();
    assert_eq!(error.code(), Some(503));
    assert!(error.to_string().ends_with(": 503 Service Unavailable: another manifest is being checked"), "{error}");
    assert!(matches!(error, ClientError::Problem { problem, .. } if problem.code == "busy"));
}

#[tokio::test]
async fn a_coordinator_without_v3_is_told_as_that() {
    for script in [Script::v1(), Script::v2(), Script::empty().answer("GET /api/v3/status", 404, "not found")] {
        let error = Fake::start(script).await.client().v3().status().await.unwrap_err();
        assert!(matches!(&error, ClientError::NoV3 { .. }), "{error}");
        assert!(error.to_string().ends_with("the Coordinator does not support API v3"), "{error}");
    }
}

#[tokio::test]
async fn what_several_coordinators_share_is_told_and_decided() {
    let cluster = r#"{"place":"Secret m/s","boot":"01","serving":false,
        "head":{"deployment":"d","incarnation":1,"incarnationId":"i","sequence":7,"head":"h"},
        "writers":[{"boot":"01","sequence":7,"commit":"c"}],"kekIds":["k"],"slots":["k"],"wanted":[],"entrySealed":true,
        "validatedMsAgo":12,"offlineGraceSeconds":300,"offlineActivations":0,"inDoubt":false,"doubts":1,"conflicts":2,
        "bytes":9,"limit":10,"missing":false,"divergence":{"reason":"r","here":null,"found":null,"lastWriter":"kubectl"},
        "peers":[{"address":"a:5433","answer":"silent","detail":"3 s"}],"format":1,"future":1}"#;
    let decided = r#"{"by":"alice","message":"m"}"#;
    let update = r#"{"applied":true,"missingAcknowledgments":0,"missingUsers":[],"recoverySecrets":{},
        "elsewhere":{"secondsAtMost":300,"message":"m"}}"#;
    let script = Script::empty()
        .answer("GET /api/v3/cluster", 200, cluster)
        .answer("POST /api/v3/restore/accept", 200, decided)
        .answer("POST /api/v3/restore/reject", 200, decided)
        .answer("POST /api/v3/kek/rotate", 200, decided)
        .answer("POST /api/v3/update", 200, update)
        .answer("POST /api/v3/update/acknowledge", 200, update);
    let fake = Fake::start(script).await;
    let client = fake.client();
    let v3 = client.v3();
    let cluster = v3.cluster().await.unwrap();
    assert_eq!((cluster.head.unwrap().sequence, cluster.peers[0].answer), (7, PeerAnswer::Silent));
    assert_eq!(cluster.divergence.unwrap().last_writer, "kubectl");
    assert_eq!(v3.accept_restore().await.unwrap().by, "alice");
    assert_eq!(v3.reject_restore().await.unwrap().by, "alice");
    assert_eq!(v3.rotate_kek(true).await.unwrap().by, "alice");
    assert_eq!(v3.apply_update(MANIFEST).await.unwrap().elsewhere.unwrap().seconds_at_most, 300);
    assert!(v3.acknowledge_update(MANIFEST).await.unwrap().applied);
    let requests = fake.requests();
    let body = |path: &str| requests.iter().find(|request| request.line.contains(path)).unwrap().body.clone();
    assert_eq!(body("/kek/rotate"), br#"{"revoke":true}"#);
    assert_eq!(body("/update/acknowledge"), MANIFEST);
}

#[tokio::test]
async fn a_coordinator_that_shares_nothing_says_so() {
    let problem = r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"this Coordinator does not share its state",
        "code":"state_not_shared","requestId":"r"}"#;
    let fake = Fake::start(Script::empty().answer("GET /api/v3/cluster", 409, problem)).await;
    let error = fake.client().v3().cluster().await.unwrap_err();
    assert!(matches!(error, ClientError::Problem { problem, .. } if problem.code == "state_not_shared"));
}
