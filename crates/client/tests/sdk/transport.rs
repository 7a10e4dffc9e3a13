//! Connections: whom they go to, how long, how much.

use std::process::Command;
use std::time::{Duration, Instant};

use marblerun_client::{Client, ClientError, NoAnswer, Trust};

use crate::fake::{Fake, MANIFEST, Script, authority};

#[tokio::test]
async fn a_redirect_to_a_cleaner_path_is_followed_with_the_body() {
    let script = Script::v2()
        .redirect("GET /api/v2/status", 307, "/api/v2/./clean")
        .answer("GET /api/v2/clean", 200, r#"{"status":"success","data":{"code":3,"message":""}}"#)
        .redirect("POST /api/v2/update", 307, "/other")
        .answer("POST /other", 200, r#"{"status":"success","data":null}"#);
    let fake = Fake::start(script).await;
    assert_eq!(fake.client().status().await.unwrap().code, 3);
    fake.user().apply_update(MANIFEST).await.unwrap();
    let requests = fake.requests();
    let [.., first, second] = requests.as_slice() else { panic!() };
    assert_eq!((second.line.as_str(), &second.body), ("POST /other", &first.body));
}

#[tokio::test]
async fn a_redirect_to_another_host_or_without_end_is_not_followed() {
    let other = Fake::start(Script::v2()).await;
    for location in [other.endpoint.url("/api/v2/update"), "http://localhost/".to_owned(), "/api/v2/update".to_owned()]
    {
        let fake = Fake::start(Script::v2().redirect("POST /api/v2/update", 307, &location)).await;
        let error = fake.user().apply_update(MANIFEST).await.unwrap_err();
        assert!(error.to_string().contains("redirects"), "{location}: {error}");
        assert!(fake.requests().len() <= 5, "{location}");
    }
    assert!(other.lines().is_empty(), "nobody else is sent anything");
}

#[tokio::test]
async fn another_root_is_not_talked_to() {
    let fake = Fake::start(Script::v2()).await;
    let trust = Trust::Pinned(authority().root_certificate);
    let client = Client::builder(fake.endpoint.clone()).trust(trust).build().unwrap();
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Transport { why: NoAnswer::Untrusted, .. }), "{error}");
    assert!(fake.lines().is_empty());
}

#[tokio::test]
async fn a_silent_coordinator_is_not_waited_for_without_end() {
    let fake = Fake::start(Script::v2().silent()).await;
    let client = fake.builder().timeout(Duration::from_millis(500)).build().unwrap();
    let asked = Instant::now();
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Transport { why: NoAnswer::Silent, .. }), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn what_is_no_coordinator_is_told_with_code_and_words() {
    let fake = Fake::start(Script::empty().answer("GET /api/v2/status", 502, "<html>")).await;
    let error = fake.client().status().await.unwrap_err().to_string();
    assert!(error.ends_with("/api/v2/status: 502 Bad Gateway: : "), "{error}");
    let fake = Fake::start(Script::empty().answer("GET /api/v2/status", 200, "<html>")).await;
    let error = fake.client().status().await.unwrap_err().to_string();
    assert!(error.ends_with("it is not JSON"), "{error}");
    for code in [201, 204] {
        let fake = Fake::start(Script::empty().answer("POST /api/v2/update-cancel", code, "")).await;
        let error = fake.user().cancel_update().await.map_err(|error| error.code());
        assert_eq!(error, Err(Some(code)), "success is 200 alone");
    }
}

/// Runs a test of this file again, in a process whose environment names proxies that do not exist.
#[test]
fn proxies_are_never_asked() {
    let nowhere = "http://127.0.0.1:1";
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "v2::status_is_code_and_words"]).env_remove("NO_PROXY").env_remove("no_proxy");
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"] {
        again.env(name, nowhere);
    }
    let output = again.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
