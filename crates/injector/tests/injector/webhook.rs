//! The program on its own: what it serves, how it starts and ends.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::certificate::{MountedSecret, Pair};
use crate::client::{Kept, connect, health, mutate, send, voting};
use crate::process::{Injector, command};

fn patch(answer: &str) -> Value {
    let answer: Value = serde_json::from_str(answer).unwrap();
    serde_json::from_slice(&BASE64_STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_review_is_answered_over_either_http_with_what_the_flags_say_and_logged_in_one_line() {
    let pair = Pair::new("webhook");
    let flags = ["-coordAddr=coordinator.example:7", "-clusterDomain", "k.example", "--sgxResource", "example.com/epc"];
    let mut injector = Injector::start(&MountedSecret::new(&pair), &flags);
    let (status, first) = send(injector.address, &pair, mutate(injector.address, &voting())).await;
    assert_eq!(status.as_u16(), 200, "{first}");
    let mut kept = Kept::open(injector.address, &pair).await;
    let (status, second) = kept.send(mutate(injector.address, &voting())).await;
    assert_eq!((status.as_u16(), &second), (200, &first));
    let patch = patch(&first);
    assert_eq!(
        patch[0]["value"],
        json!([
            {"name": "EDG_MARBLE_COORDINATOR_ADDR", "value": "coordinator.example:7"},
            {"name": "EDG_MARBLE_TYPE", "value": "voting"},
            {"name": "EDG_MARBLE_DNS_NAMES", "value": "voting,voting.shop,voting.shop.svc.k.example"},
            {"name": "EDG_MARBLE_UUID_FILE", "value": "/voting-uid/uuid-file"}
        ])
    );
    assert_eq!(patch[2]["value"], json!({"limits": {"example.com/epc": "10"}}));
    let line = injector.wait_for_log("pod is a Marble");
    assert_eq!((&line["uid"], &line["namespace"], &line["pod"]), (&json!("u-1"), &json!("shop"), &json!("voting-")));
    let reviews = injector.log().iter().filter(|line| line["message"] == "pod is a Marble").count();
    assert_eq!(reviews, 2, "one line each");
}

#[tokio::test]
async fn a_refusal_is_logged_with_its_reason() {
    let pair = Pair::new("webhook");
    let mut injector = Injector::start(&MountedSecret::new(&pair), &[]);
    let mut pod = voting();
    pod["metadata"]["labels"]["marblerun/marblecontainer"] = json!("ap");
    let (status, answer) = send(injector.address, &pair, mutate(injector.address, &pod)).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status.as_u16(), &answer["response"]["allowed"]), (200, &json!(false)));
    let line = injector.wait_for_log("pod refused: ");
    assert_eq!(line["level"], "WARN");
    assert!(line["message"].as_str().unwrap().ends_with(answer["response"]["status"]["message"].as_str().unwrap()));
    assert_eq!(send(injector.address, &pair, mutate(injector.address, &json!(7))).await.0.as_u16(), 500);
    injector.wait_for_log("request refused: unable to mutate request: invalid pod");
}

#[test]
fn it_does_not_start_without_what_it_needs_and_says_which_flag_to_set() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (pair, other) = (Pair::new("a"), Pair::new("b"));
    std::fs::write(file("crt"), &pair.certificate).unwrap();
    std::fs::write(file("key"), &pair.key).unwrap();
    std::fs::write(file("other"), &other.key).unwrap();
    std::fs::write(file("text"), "text").unwrap();
    let (crt, key, text, other) = (file("crt"), file("key"), file("text"), file("other"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (certificate, key, listen, says) in [
        (&*file("none"), &*key, "127.0.0.1:0", "-tlsCertFile names the file"),
        (&*crt, &*file("none"), "127.0.0.1:0", "-tlsKeyFile names the file"),
        (&*text, &*key, "127.0.0.1:0", "it has no block CERTIFICATE"),
        (&*crt, &*text, "127.0.0.1:0", "is not one in PEM form"),
        (&*crt, &*other, "127.0.0.1:0", "cannot be used together"),
        (&*crt, &*key, &*taken, "-listen names another address"),
        (&*crt, &*key, "nonsense", "-listen (or MARBLERUN_INJECTOR_LISTEN) is \"nonsense\""),
    ] {
        let mut command = command();
        command.args(["-tlsCertFile", certificate, "-tlsKeyFile", key, "-listen", listen]);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{says}: {said}");
        assert!(said.contains(says), "{says:?} is not in {said}");
    }
    assert_eq!(command().arg("-coordAdr=x:1").output().unwrap().status.code(), Some(2), "as Go's flag package");
    let help = command().arg("-help").output().unwrap();
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("--coordAddr"));
}

#[tokio::test]
async fn told_to_end_it_still_takes_connections_for_a_while_and_then_ends_in_order() {
    let pair = Pair::new("webhook");
    let mut injector = Injector::start(&MountedSecret::new(&pair), &[]);
    let mut kept = Kept::open(injector.address, &pair).await;
    assert_eq!(kept.send(health(injector.address)).await.0.as_u16(), 200);
    injector.signal("-TERM");
    injector.wait_for_log("stopping");
    let asked = Instant::now();
    // The API server opens a new connection, which may still come here.
    let (status, _) = send(injector.address, &pair, mutate(injector.address, &voting())).await;
    assert_eq!(status.as_u16(), 200);
    // The one it has is closed, so that it asks elsewhere.
    tokio::time::timeout(Duration::from_secs(30), async {
        while kept.0.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(injector.wait().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(30));
    assert!(tokio::net::TcpStream::connect(injector.address).await.is_err());
}

#[tokio::test]
async fn interrupted_it_ends_at_once() {
    let pair = Pair::new("webhook");
    let mut injector = Injector::start(&MountedSecret::new(&pair), &[]);
    injector.signal("-INT");
    assert_eq!(injector.wait().code(), Some(0));
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_certificate_is_in_the_log_at_the_level_that_was_asked_for() {
    let (pair, other) = (Pair::new("webhook"), Pair::new("other"));
    for (level, logged) in [("error", Some("ERROR")), ("info", Some("INFO")), ("debug", None)] {
        let mut injector = Injector::start(&MountedSecret::new(&pair), &[&format!("-httpErrorLogLevel={level}")]);
        assert!(connect(injector.address, &[&other], b"h2").await.is_err());
        match logged {
            Some(name) => assert_eq!(injector.wait_for_log("TLS handshake failed")["level"], name),
            None => {
                // The next one is served, and there is nothing of the one before.
                send(injector.address, &pair, mutate(injector.address, &voting())).await;
                injector.wait_for_log("pod is a Marble");
                let said = injector.log().iter().any(|line| line["message"] == "TLS handshake failed");
                assert!(!said, "{:?}", injector.log());
            }
        }
    }
}

#[tokio::test]
async fn plain_http_gets_nowhere() {
    let pair = Pair::new("webhook");
    let injector = Injector::start(&MountedSecret::new(&pair), &[]);
    let mut stream = tokio::net::TcpStream::connect(injector.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}
