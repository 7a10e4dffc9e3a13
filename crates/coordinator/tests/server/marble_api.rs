//! The Marble API from the outside.

use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use marblerun_coordinator::server::Limits;
use marblerun_state::Phase;
use marblerun_testkit::FakeMarble;
use prost::Message as _;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::support::{Identity, Server, connect, manifest};

const UUID: &str = "1d1a5c34-0b4c-4b0e-9d31-0b2bb8a0a1e7";

/// A unary call by hand: gRPC status, message, and what came back.
async fn call(server: &Server, path: &str, announced: u32, message: &[u8]) -> (String, String, Vec<u8>) {
    let stream = connect(server.addresses.mesh, Some(&manifest::admin()), &[b"h2"]).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut body = vec![0];
    body.extend_from_slice(&announced.to_be_bytes());
    body.extend_from_slice(message);
    let request = hyper::Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(bytes::Bytes::from(body)))
        .unwrap();
    let reply = sender.send_request(request).await.unwrap();
    assert_eq!(reply.status(), 200);
    let (head, body) = reply.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or(head.headers);
    let text =
        |name| trailers.get(name).map(|v: &http::HeaderValue| v.to_str().unwrap().to_owned()).unwrap_or_default();
    (text("grpc-status"), text("grpc-message").replace("%20", " "), body.to_bytes().to_vec())
}

fn grpc_code(error: anyhow::Error) -> (tonic::Code, String) {
    let status = error.downcast_ref::<tonic::Status>().unwrap_or_else(|| panic!("{error:?}"));
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn a_marble_gets_its_identity_and_parameters() {
    let mut with_env = manifest::base();
    with_env["Marbles"]["web"]["Parameters"] = json!({
        "Argv": ["web", "--port", "80"],
        "Env": { "KEY": "{{ hex .Secrets.symShared }}" },
        "Files": { "/config": "plain" },
    });
    let server = Server::with_manifest(&with_env).await;
    let activation = FakeMarble::new().unwrap().activate(server.addresses.mesh, "web", UUID).await.unwrap();
    assert_eq!(activation.argv, ["web", "--port", "80"]);
    assert_eq!(activation.files["/config"], b"plain");
    assert_eq!(activation.env["KEY"].len(), 32);
    for name in ["ROOT_CA", "MARBLE_CERTIFICATE_CHAIN", "PRIVATE_KEY", "COORDINATOR_ROOT_CA"] {
        assert!(activation.text(&format!("MARBLE_PREDEFINED_{name}")).unwrap().starts_with("-----BEGIN "), "{name}");
    }
}

#[tokio::test]
async fn refusals_have_the_codes_clients_know() {
    let marble = FakeMarble::new().unwrap();
    let server = Server::start().await;
    let refused = marble.activate(server.addresses.mesh, "web", UUID).await.unwrap_err();
    assert_eq!(
        grpc_code(refused),
        (tonic::Code::FailedPrecondition, "cannot accept marbles in current state".to_owned())
    );

    let server = Server::with_manifest(&manifest::base()).await;
    let refused = marble.activate(server.addresses.mesh, "made-up", UUID).await.unwrap_err();
    assert_eq!(
        grpc_code(refused),
        (tonic::Code::PermissionDenied, "marble verification failed: unknown marble type requested".to_owned())
    );
    let refused = marble.activate(server.addresses.mesh, "web", "12").await.unwrap_err();
    assert_eq!(grpc_code(refused), (tonic::Code::InvalidArgument, "invalid UUID: invalid UUID length: 2".to_owned()));
}

#[tokio::test]
async fn one_connection_may_activate_several_times() {
    let server = Server::with_manifest(&manifest::base()).await;
    let server = Arc::new(server);
    let calls = (0..8).map(|_| {
        let server = server.clone();
        tokio::spawn(async move {
            let marble = FakeMarble::new().unwrap();
            marble.activate(server.addresses.mesh, "web", UUID).await.unwrap()
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_method_is_unimplemented_in_upstreams_words() {
    let server = Server::start().await;
    for (path, message) in [
        ("/rpc.Marble/Deactivate", "unknown method Deactivate for service rpc.Marble"),
        ("/grpc.health.v1.Health/Check", "unknown service grpc.health.v1.Health"),
    ] {
        let (code, text, _) = call(&server, path, 0, b"").await;
        assert_eq!((code.as_str(), text.as_str()), ("12", message));
    }
}

#[tokio::test]
async fn a_message_above_four_mebibytes_is_refused_by_its_announcement() {
    let server = Server::start().await;
    let most = 4 * 1024 * 1024;
    let (code, text, _) = call(&server, "/rpc.Marble/Activate", most + 1, b"").await;
    assert_eq!((code.as_str(), text.as_str()), ("8", "grpc: received message larger than max (4194305 vs. 4194304)"));

    let filled =
        |csr: usize| marblerun_api::marble::ActivationReq { csr: vec![0; csr], ..Default::default() }.encode_to_vec();
    let overhead = filled(most as usize).len() - most as usize;
    let message = filled(most as usize - overhead);
    assert_eq!(message.len(), most as usize);
    let (code, _, _) = call(&server, "/rpc.Marble/Activate", most, &message).await;
    assert_eq!(code, "9", "a message at the limit is read, and refused for the state alone");
}

#[tokio::test]
async fn garbage_is_an_error_of_its_sender() {
    let server = Server::start().await;
    let (code, _, _) = call(&server, "/rpc.Marble/Activate", 4, b"\xff\xff\xff\xff").await;
    assert_eq!(code, "13");
}

#[tokio::test]
async fn a_client_that_does_not_choose_h2_is_closed_after_the_handshake() {
    let server = Server::start().await;
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let mut stream = connect(server.addresses.mesh, Some(&manifest::admin()), alpn).await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(std::time::Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        let _ = read.expect("still open");
        assert!(rest.is_empty());
    }
}

#[tokio::test]
async fn counters_belong_to_marbles_until_they_have_a_newer_certificate() {
    let server = Server::with_manifest(&manifest::with_features(&["MonotonicCounter"])).await;
    let path = "/api/v2/monotonic-counter";
    let fail = |message: &str| {
        format!("{{\"status\":\"fail\",\"data\":null,\"message\":\"unauthorized marble: {message}\"}}\n")
    };
    assert_eq!(server.post(path, "").await.body, fail("client certificate did not match any Marble"));
    let reply = server.post_as(&manifest::admin(), path, "").await;
    assert_eq!((reply.status, reply.body), (401, fail("x509: certificate signed by unknown authority")));

    let activation = FakeMarble::new().unwrap().activate(server.addresses.mesh, "web", UUID).await.unwrap();
    let marble = Identity::from_pem(
        &activation.text("MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN").unwrap(),
        &activation.text("MARBLE_PREDEFINED_PRIVATE_KEY").unwrap(),
    );
    for (set, before) in [(2, 0), (3, 2), (3, 3), (1, 3), (0, 3)] {
        let body = json!({ "name": "foo", "value": set }).to_string();
        let reply = server.post_as(&marble, path, body).await;
        assert_eq!(reply.body, format!("{{\"status\":\"success\",\"data\":{{\"value\":{before}}}}}\n"));
    }
    let reply = server.post_as(&marble, path, r#"{"name":"x","value":-1}"#).await;
    assert_eq!(
        reply.body,
        "{\"status\":\"fail\",\"data\":null,\"message\":\"json: cannot unmarshal number -1 into Go struct field MonotonicCounterRequest.value of type uint64\"}\n"
    );

    let update = json!({ "Packages": { "frontend": { "SecurityVersion": 5 } } }).to_string();
    assert_eq!(server.post_as(&manifest::admin(), "/update", update).await.status, 200);
    assert_eq!(server.post_as(&marble, path, "{}").await.status, 200, "a Marble that stays up goes on");
    FakeMarble::new().unwrap().activate(server.addresses.mesh, "web", UUID).await.unwrap();
    let reply = server.post_as(&marble, path, "{}").await;
    assert_eq!((reply.status, reply.body), (401, fail("x509: certificate signed by unknown authority")));
}

#[tokio::test]
async fn activations_count_against_the_memory_that_all_bodies_have_together() {
    let server = Server::start_with(Phase::AcceptingManifest, Limits { body_memory: 1, ..Limits::default() }).await;
    server.coordinator.set_manifest(manifest::base().to_string().into_bytes()).await.unwrap();
    let (status, message, _) = call(&server, "/rpc.Marble/Activate", 64 * 1024, &[0; 64 * 1024]).await;
    assert_eq!((status.as_str(), message.as_str()), ("14", "too much is being uploaded at the same time; try again"));
    FakeMarble::new().unwrap().activate(server.addresses.mesh, "web", UUID).await.unwrap();
}
