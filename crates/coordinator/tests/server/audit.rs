//! The audit trail and backups over the API.

use marblerun_coordinator::config::Config;
use marblerun_coordinator::core::Clock;
use marblerun_coordinator::server::Limits;
use marblerun_coordinator::start::start;
use marblerun_state::Phase;
use serde_json::{Value, json};

use crate::support::{Server, manifest};

const ROUTES: [&str; 3] = ["/api/v3/audit", "/api/v3/audit/head", "/api/v3/backup"];

#[tokio::test]
async fn the_trail_is_for_users_and_backups_for_those_who_may_update_the_manifest() {
    let server = Server::with_manifest(&manifest::base()).await;
    for path in ROUTES {
        for identity in [None, Some(&manifest::stranger())] {
            let reply = server.call(identity, "GET", path, b"").await;
            assert_eq!((reply.status, &reply.json()["code"]), (401, &json!("unknown_user")), "{path}");
        }
    }
    for user in [manifest::admin(), manifest::reader(), manifest::nobody()] {
        for path in &ROUTES[..2] {
            let reply = server.get_as(&user, path).await;
            assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")), "{path}");
        }
    }
    let reply = server.get_as(&manifest::reader(), "/api/v3/backup").await;
    assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("not_allowed")));
    let reply = server.get_as(&manifest::admin(), "/api/v3/backup").await;
    assert_eq!((reply.status, &reply.json()["code"]), (409, &json!("no_sealed_state")), "this one keeps nothing");
    for phase in [Phase::Recovery, Phase::AcceptingManifest] {
        let server = Server::start_with(phase, Limits::default()).await;
        for path in ROUTES {
            assert_eq!(server.get_as(&manifest::admin(), path).await.status, 401, "{path}: there are no users");
        }
    }
}

#[tokio::test]
async fn pages_follow_each_other_up_to_the_signed_head() {
    let server = Server::with_manifest(&manifest::base()).await;
    let admin = manifest::admin();
    for version in 5..9 {
        let update = json!({ "Packages": { "frontend": { "SecurityVersion": version } } });
        assert_eq!(server.post_as(&admin, "/update", update.to_string()).await.status, 200);
    }
    let page = server.get_as(&admin, "/api/v3/audit?limit=2").await.json();
    assert_eq!((&page["trail"], &page["after"], &page["last"]), (&json!("changes"), &json!(0), &json!(5)));
    assert_eq!(page["entries"].as_array().unwrap().len(), 2);
    let rest = server.get_as(&admin, "/api/v3/audit?after=2").await.json();
    let lines: Vec<&str> = [&page, &rest]
        .iter()
        .flat_map(|page| page["entries"].as_array().unwrap())
        .map(|entry| entry.as_str().unwrap())
        .collect();
    assert_eq!(lines.len(), 5);
    let mut previous = page["previous"].as_str().unwrap().to_owned();
    for line in &lines {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["previous"], previous);
        previous = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, line.as_bytes()));
    }
    let head = server.get_as(&admin, "/api/v3/audit/head").await.json();
    let statement: Value = serde_json::from_str(head["statement"].as_str().unwrap()).unwrap();
    assert_eq!((&statement["changes"]["sequence"], &statement["changes"]["head"]), (&json!(5), &json!(previous)));
    assert_eq!(statement["rootFingerprint"], server.get("/api/v3/status").await.json()["rootFingerprint"]);
    for wrong in ["after=-1", "after=x", "limit=", "trail=other"] {
        let reply = server.get_as(&admin, &format!("/api/v3/audit?{wrong}")).await;
        assert_eq!((reply.status, &reply.json()["code"]), (400, &json!("bad_query")), "{wrong}");
    }
}

/// As the documentation says it can be done with openssl alone.
#[tokio::test]
async fn the_head_can_be_verified_with_openssl() {
    let server = Server::with_manifest(&manifest::base()).await;
    let head = server.get_as(&manifest::admin(), "/api/v3/audit/head").await.json();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("statement"), head["statement"].as_str().unwrap()).unwrap();
    let signature = marblerun_api::bytes::decode(head["signature"].as_str().unwrap()).unwrap();
    std::fs::write(path("signature"), signature).unwrap();
    std::fs::write(path("root.der"), &server.coordinator.snapshot().authority().root_certificate).unwrap();
    let script = "openssl x509 -inform der -in root.der -pubkey -noout > root.pub && \
                  (printf 'marblerun audit head v1\\n'; cat statement) | \
                  openssl dgst -sha384 -verify root.pub -signature signature";
    let output = std::process::Command::new("sh").args(["-c", script]).current_dir(dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Verified OK\n", "{output:?}");
}

#[tokio::test]
async fn strangers_are_counted_by_the_route_they_tried() {
    let server = Server::with_manifest(&manifest::base()).await;
    for _ in 0..3 {
        server.post("/api/v2/update", "{}").await;
        server.get_as(&manifest::stranger(), "/api/v2/secrets?s=symShared").await;
    }
    server.get_as(&manifest::nobody(), "/api/v2/secrets?s=symShared").await;
    server.get("/api/v3/nothing").await;
    server.coordinator.record_refusals().await;
    let page = server.get_as(&manifest::nobody(), "/api/v3/audit?trail=refusals").await.json();
    let mut told: Vec<String> = page["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| serde_json::from_str::<Value>(line.as_str().unwrap()).unwrap())
        .map(|entry| format!("{} {} {} {}", entry["actor"], entry["subject"], entry["reason"], entry["count"]))
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            r#""anyone" "/api/v2/secrets" "unknown_user" 3"#,
            r#""anyone" "/api/v2/update" "unknown_user" 3"#,
            r#""nobody" "read_secrets" "not_allowed" 1"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_arrives_whole_with_its_length_said() {
    let home = tempfile::tempdir().unwrap();
    let seal = home.path().join("seal");
    let config = Config::from_arguments([
        "marblerun-coordinator".to_owned(),
        format!("--seal-dir={}", seal.display()),
        "--tee=simulation".to_owned(),
    ]);
    let coordinator = start(&config.unwrap(), Clock::system()).await.unwrap();
    let mut large = manifest::base();
    large["Marbles"]["web"]["Parameters"]["Files"] = json!({ "/large": "x".repeat(1 << 20) });
    coordinator.set_manifest(large.to_string().into_bytes()).await.unwrap();
    let mut server = Server::serve(coordinator, Limits::default()).await;
    let address = server.addresses.client_api;
    let request = "GET /api/v3/backup HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (head, body) = crate::support::request_bytes(address, Some(&manifest::admin()), request).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let head = head.to_lowercase();
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
    assert!(
        head.contains("content-type: application/octet-stream") && head.contains("cache-control: no-store"),
        "{head}"
    );
    assert!(body.len() > 1 << 20);
    let file = home.path().join("backup");
    std::fs::write(&file, body).unwrap();
    let facts = marblerun_store::backup::inspect(&file).unwrap();
    assert_eq!(facts.condition.code(), "whole");
    let sequence = facts.sealed.unwrap().sequence;
    assert_eq!(sequence, server.coordinator.store_status().sequence, "up to its own entry");
    server.stop().await;
    server.coordinator.close().await;
}
