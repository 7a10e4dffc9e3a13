//! What HTTP itself asks for: paths, protocols, limits, time.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use marblerun_coordinator::server::Limits;
use marblerun_state::Phase;
use marblerun_testkit::RecoveryKeyPair;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Server, connect, manifest, request, wrapped};

#[tokio::test]
async fn paths_match_decoded_and_are_cleaned_by_redirect() {
    let server = Server::start().await;
    assert_eq!(server.get("/%73tatus").await.status, 200);
    assert_eq!(server.get("/status?anything=%zz").await.status, 200);

    let reply = server.get("//status?a=b").await;
    assert_eq!((reply.status, reply.header("location")), (307, Some("/status?a=b")));
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(reply.body, "<a href=\"/status?a=b\">Temporary Redirect</a>.\n\n");

    let reply = server.post("/api/../status", "x").await;
    assert_eq!((reply.status, reply.header("location")), (307, Some("/status")));
    assert_eq!(reply.body, "");
}

#[tokio::test]
async fn the_server_as_a_whole_has_options_and_nonsense_is_a_bad_request() {
    let server = Server::start().await;
    let reply = server.call(None, "OPTIONS", "*", b"").await;
    assert_eq!((reply.status, reply.body.as_str(), reply.header("content-length")), (200, "", Some("0")));
    assert_eq!(server.get("/%zz").await.status, 400);
    let reply = request(server.addresses.client_api, None, b"nonsense\r\n\r\n").await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn who_speaks_plain_http_is_told_so() {
    let server = Server::start().await;
    for address in [server.addresses.client_api, server.addresses.mesh] {
        for method in ["GET", "POST", "DELETE"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("{method} /status HTTP/1.1\r\nhost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
        }
    }
}

#[tokio::test]
async fn http2_works_where_the_client_chooses_it() {
    let server = Server::start().await;
    let stream = connect(server.addresses.client_api, None, &[b"h2"]).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for (method, path, status) in [
        ("GET", "/api/v2/status", 200),
        ("GET", "/foo", 405),
        ("GET", "//status", 307),
        ("HEAD", "/status", 405),
        ("HEAD", "//status", 307),
        ("POST", "//status", 307),
        ("OPTIONS", "/status", 405),
    ] {
        let request = hyper::Request::builder().method(method).uri(format!("https://localhost{path}"));
        let reply = sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(reply.status(), status, "{method} {path}");
        let length = reply.headers().get("content-length").map_or("0", |length| length.to_str().unwrap()).to_owned();
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        if method == "HEAD" {
            assert!(body.is_empty() && length != "0", "{method} {path}: {length}");
        } else {
            assert_eq!(length, body.len().to_string(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let server = Server::start().await;
    let mut stream = connect(server.addresses.client_api, None, &[b"http/1.1"]).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /status HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("}\n") {
            answer.push(char::from(stream.read_u8().await.unwrap()));
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test]
async fn what_a_request_says_about_its_content_is_not_looked_at() {
    let server = Server::start().await;
    let body = wrapped("{}");
    let request_text = format!(
        "POST /api/v2/manifest HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: image/png\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = request(server.addresses.client_api, None, request_text.as_bytes()).await;
    assert_eq!(reply.message(), "checking manifest: no allowed packages defined");
    // A body of a request that has none is not looked at either.
    assert_eq!(server.call(None, "GET", "/status", b"{").await.status, 200);
}

#[tokio::test]
async fn bodies_above_their_limit_are_refused() {
    let server = Server::start().await;
    const MIB: usize = 1024 * 1024;
    let users = Server::with_manifest(&manifest::with_features(&["SignQuoteEndpoint"])).await;
    let admin = manifest::admin();
    for (path, most) in [
        ("/update", 16 * MIB),
        ("/api/v2/update", 24 * MIB),
        ("/secrets", 4 * MIB),
        ("/api/v2/secrets", 4 * MIB),
        ("/api/v2/sign-quote", 4 * MIB),
    ] {
        assert_eq!(users.post_as(&admin, path, vec![b' '; most + 1]).await.status, 413, "{path}");
    }
    for (path, most) in [("/manifest", 16 * MIB), ("/api/v2/manifest", 24 * MIB), ("/api/v3/manifest/check", 16 * MIB)]
    {
        let reply = server.post(path, vec![b' '; most + 1]).await;
        assert_eq!(reply.status, 413, "{path}");
        let reply = server.post(path, vec![b' '; most]).await;
        assert_ne!(reply.status, 413, "{path}");
    }
}

#[tokio::test]
async fn large_answers_have_room_together_but_what_answers_a_change_is_always_sent() {
    let limits = Limits { answer_memory: 1, ..Limits::default() };
    let server = Server::start_with(Phase::AcceptingManifest, limits).await;
    let key = RecoveryKeyPair::new().unwrap().public_pem().unwrap();
    let mut large = manifest::base();
    large["RecoveryKeys"] = (0..220).map(|n| (format!("holder{n}"), serde_json::Value::from(key.clone()))).collect();
    let set = server.post("/api/v2/manifest", wrapped(&large)).await;
    assert_eq!(set.status, 200);
    assert!(set.body.len() > 64 * 1024, "{}", set.body.len());
    for path in ["/manifest", "/api/v2/manifest"] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.body.starts_with("{\"status\":\"error\"")), (503, true), "{path}");
    }
    assert_eq!(server.get("/api/v2/status").await.status, 200);
}

#[tokio::test]
async fn only_the_first_20480_bytes_of_a_recovery_request_count() {
    let server = Server::start_with(Phase::Recovery, Limits::default()).await;
    let secret = "A".repeat(24_000);
    let reply = server.post("/api/v2/recover", format!("{{\"recoverySecret\":\"{secret}\"}}")).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.body, "{\"status\":\"fail\",\"data\":null,\"message\":\"unexpected EOF\"}\n");
    // A request that is complete before that may be followed by anything.
    let request = format!("{{\"recoverySecret\":\"AAEC\"}}{}", " ".repeat(30_000));
    assert!(server.post("/api/v2/recover", request).await.message().starts_with("failed to decrypt recovery secret: "));
}

fn hasty() -> Limits {
    Limits {
        handshake: Duration::from_millis(300),
        header: Duration::from_millis(300),
        body_stall: Duration::from_millis(300),
        body_total: Duration::from_secs(2),
        idle: Duration::from_millis(600),
        shutdown: Duration::from_secs(1),
        ..Limits::default()
    }
}

/// Waits for the other side to hang up.
async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Duration {
    let started = Instant::now();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.expect("still open");
    started.elapsed()
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let server = Server::start_with(Phase::AcceptingManifest, hasty()).await;
    for address in [server.addresses.client_api, server.addresses.mesh] {
        let mut silent = TcpStream::connect(address).await.unwrap();
        closed(&mut silent).await;
        let mut halting = TcpStream::connect(address).await.unwrap();
        halting.write_all(&[0x16, 3, 1]).await.unwrap();
        closed(&mut halting).await;
    }
    assert_eq!(server.get("/status").await.status, 200);
}

#[tokio::test]
async fn a_request_that_does_not_come_is_not_waited_for() {
    let server = Server::start_with(Phase::AcceptingManifest, hasty()).await;
    for start in [&b""[..], b"GET /status HTTP/1.1\r\nhost"] {
        let mut stream = connect(server.addresses.client_api, None, &[]).await.unwrap();
        stream.write_all(start).await.unwrap();
        closed(&mut stream).await;
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_timeout() {
    let server = Server::start_with(Phase::AcceptingManifest, hasty()).await;
    let start = b"POST /api/v2/manifest HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\nconnection: close\r\n\r\n{";
    let reply = request(server.addresses.client_api, None, start).await;
    assert_eq!(reply.status, 408);
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed() {
    let server = Server::start_with(Phase::AcceptingManifest, hasty()).await;
    let stream = connect(server.addresses.client_api, None, &[b"h2"]).await.unwrap();
    let (_sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<bytes::Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::time::timeout(Duration::from_secs(10), connection).await.expect("still open").unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_then_served() {
    let limits = Limits { connections: 2, ..hasty() };
    let server = Server::start_with(Phase::AcceptingManifest, limits).await;
    // Two that say nothing take up all the room until the handshake limit.
    let _first = TcpStream::connect(server.addresses.client_api).await.unwrap();
    let _second = TcpStream::connect(server.addresses.client_api).await.unwrap();
    assert_eq!(server.get("/status").await.status, 200);
}

#[tokio::test]
async fn a_stop_is_orderly_and_ends_listening() {
    let mut server = Server::start().await;
    let _idle = connect(server.addresses.client_api, None, &[]).await.unwrap();
    let _silent = connect(server.addresses.client_api, None, &[b"h2"]).await.unwrap();
    let _without_handshake = TcpStream::connect(server.addresses.client_api).await.unwrap();
    let _of_the_mesh = TcpStream::connect(server.addresses.mesh).await.unwrap();
    let started = Instant::now();
    server.stop().await;
    assert!(started.elapsed() < Duration::from_secs(15));
    for address in [server.addresses.client_api, server.addresses.mesh, server.addresses.metrics.unwrap()] {
        assert!(TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test]
async fn an_address_in_use_stops_the_start_and_is_named() {
    use marblerun_coordinator::config::ListenAddress;
    use marblerun_coordinator::server::{Facts, ServerConfig, Servers};
    let server = Server::start().await;
    let taken = server.addresses.client_api;
    let free = || ListenAddress { host: "127.0.0.1".to_owned(), port: 0 };
    let config = ServerConfig {
        client_api: ListenAddress { host: "127.0.0.1".to_owned(), port: taken.port() },
        mesh: free(),
        metrics: None,
        facts: Facts { version: String::new(), commit: String::new(), tee: "simulation".to_owned() },
        limits: Limits::default(),
    };
    let Err(error) = Servers::bind(config, server.coordinator.clone()).await else { panic!("bound twice") };
    assert!(error.to_string().starts_with(&format!("the client API cannot listen on {taken}: ")), "{error}");
}
