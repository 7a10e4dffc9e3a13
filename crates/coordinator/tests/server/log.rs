//! What a request leaves in the log: one line with an id, and never a secret.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

use marblerun_coordinator::server::Limits;
use marblerun_state::Phase;
use marblerun_testkit::FakeMarble;
use serde_json::json;

use crate::support::{Server, manifest};

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The log of this test. Everything runs on one thread here, so it is complete but for work in the background.
/// There is one collector for all threads: with one for each, tracing may decide by another test's thread that
/// nobody listens.
struct Log;

struct ToThread;

impl Write for ToThread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> Self {
        static COLLECTOR: Once = Once::new();
        COLLECTOR.call_once(|| {
            tracing_subscriber::fmt()
                .with_writer(|| ToThread)
                .with_max_level(tracing::Level::TRACE)
                .with_ansi(false)
                .init();
        });
        LOG.take();
        Self
    }

    fn text(&self) -> String {
        LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap())
    }

    /// Lines with this event of ours.
    fn lines(&self, event: &str) -> Vec<String> {
        let ours = |line: &&str| line.contains("marblerun_coordinator::server") && line.contains(event);
        self.text().lines().filter(ours).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn each_request_is_one_line_with_an_id() {
    let log = Log::start();
    let server = Server::start().await;
    server.get("/api/v2/status?secret=parameter").await;
    server.get("/no\u{e9}%0awhere").await;
    server.get("/api/v3/healthz").await;
    let lines = log.lines(" request ");
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].contains("INFO") && lines[0].contains("path=\"/api/v2/status\" status=200"), "{}", lines[0]);
    assert!(lines[0].contains("request_id=\"") && lines[0].contains("peer=127.0.0.1:"), "{}", lines[0]);
    assert!(!log.text().contains("secret=parameter"));
    assert!(
        lines[1].contains("status=405") && lines[1].contains("\\\\nwhere"),
        "a path cannot forge lines: {}",
        lines[1]
    );
    assert!(lines[2].contains("DEBUG"), "probes are no news: {}", lines[2]);
}

#[tokio::test]
async fn what_a_stranger_sends_neither_forges_nor_fills_the_log() {
    let log = Log::start();
    let server = Server::start().await;
    let method = "A".repeat(100_000);
    assert_eq!(server.call(None, &method, "/status", b"").await.status, 405);
    let mut bad =
        json!({ "Packages": { "p": { "Debug": true } }, "Secrets": { "s\nFORGED": { "Type": "x\nFORGED" } } });
    assert_eq!(server.post("/manifest", bad.to_string()).await.status, 400);
    for n in 0..500 {
        bad["Marbles"][format!("{n}-{}", "m".repeat(2_000))] = json!({ "Package": "none" });
    }
    assert_eq!(server.post("/manifest", bad.to_string()).await.status, 400);
    let text = log.text();
    assert!(text.lines().any(|line| line.contains("manifest refused") && line.contains("\\nFORGED")), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("FORGED")), "{text}");
    let ours: usize = text.lines().filter(|line| line.contains(" marblerun_")).map(str::len).sum();
    assert!(ours < 50_000, "{ours} bytes");
}

#[tokio::test]
async fn the_first_version_is_pointed_to_the_second() {
    let log = Log::start();
    let server = Server::start().await;
    let text = "Usage of deprecated API endpoint. Consider using /api/v2/status instead";
    server.get("/api/v2/status").await;
    assert!(log.lines(text).is_empty());
    server.get("/status").await;
    assert_eq!(log.lines(text).len(), 1);
    server.get("/update-manifest").await;
    assert_eq!(log.lines("Usage of deprecated").len(), 1);
}

#[tokio::test]
async fn no_secret_is_ever_in_the_log() {
    let log = Log::start();
    let mut with_secret = manifest::base();
    with_secret["Marbles"]["web"]["Parameters"]["Env"] = json!({ "KEY": "{{ hex .Secrets.symShared }}" });
    let server = Server::with_manifest(&with_secret).await;
    let admin = manifest::admin();
    let planted = "planted-in-a-secret";
    let base64 = marblerun_api::bytes::encode(planted.as_bytes());
    server.post_as(&admin, "/secrets", json!({ "plainUnset": { "Key": base64 } }).to_string()).await;
    // Refused uploads are told about without their content.
    server.post_as(&admin, "/secrets", json!({ "symUnset": { "Key": base64 } }).to_string()).await;
    server.post_as(&admin, "/secrets", json!({ "symUnset": { "Key": planted } }).to_string()).await;
    let read = server.get_as(&admin, "/secrets?s=symShared&s=plainUnset").await.data();
    let shared = read["symShared"]["Private"].as_str().unwrap();
    let activation = FakeMarble::new().unwrap();
    let uuid = "1d1a5c34-0b4c-4b0e-9d31-0b2bb8a0a1e7";
    let activation = activation.activate(server.addresses.mesh, "web", uuid).await.unwrap();
    let key = activation.text("KEY").unwrap();

    let waiting = Server::start_with(Phase::Recovery, Limits::default()).await;
    waiting
        .post("/api/v2/recover", json!({ "recoverySecret": base64, "recoverySecretSignature": base64 }).to_string())
        .await;

    let text = log.text();
    assert_eq!(log.lines(" call ").len(), 1);
    for secret in [planted, &base64, shared, &key, &hex::encode(planted)] {
        assert!(!text.contains(secret), "{secret} in\n{text}");
    }
}
