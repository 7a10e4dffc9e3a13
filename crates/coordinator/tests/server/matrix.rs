//! Every route of upstream, every method, every phase.

use marblerun_coordinator::server::Limits;
use marblerun_state::Phase;

use crate::support::{Server, Session, manifest};

/// What an anonymous client without a body gets, in recovery, without a manifest, and running.
const ROUTES: [(&str, &str, [u16; 3]); 27] = [
    ("GET", "/status", [200, 200, 200]),
    ("GET", "/manifest", [200, 200, 200]),
    ("POST", "/manifest", [400, 400, 400]),
    ("GET", "/quote", [200, 200, 200]),
    ("POST", "/recover", [410, 410, 410]),
    ("GET", "/secrets", [401, 401, 401]),
    ("POST", "/secrets", [401, 401, 401]),
    ("GET", "/update", [500, 500, 200]),
    ("POST", "/update", [401, 401, 401]),
    ("GET", "/update-manifest", [404, 404, 404]),
    ("POST", "/update-manifest", [401, 401, 401]),
    ("POST", "/update-cancel", [401, 401, 401]),
    ("GET", "/api/v2/status", [200, 200, 200]),
    ("GET", "/api/v2/manifest", [500, 500, 200]),
    ("POST", "/api/v2/manifest", [400, 400, 400]),
    ("GET", "/api/v2/quote", [200, 200, 200]),
    ("POST", "/api/v2/recover", [400, 400, 400]),
    ("GET", "/api/v2/recover/public-key", [200, 500, 500]),
    ("GET", "/api/v2/secrets", [401, 401, 401]),
    ("POST", "/api/v2/secrets", [401, 401, 401]),
    ("GET", "/api/v2/update", [500, 500, 200]),
    ("POST", "/api/v2/update", [401, 401, 401]),
    ("GET", "/api/v2/update-manifest", [404, 404, 404]),
    ("POST", "/api/v2/update-manifest", [401, 401, 401]),
    ("POST", "/api/v2/update-cancel", [401, 401, 401]),
    ("POST", "/api/v2/sign-quote", [403, 403, 403]),
    ("POST", "/api/v2/monotonic-counter", [403, 403, 403]),
];

const METHODS: [&str; 8] = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"];

async fn all_phases() -> [Server; 3] {
    [
        Server::start_with(Phase::Recovery, Limits::default()).await,
        Server::start_with(Phase::AcceptingManifest, Limits::default()).await,
        Server::with_manifest(&manifest::base()).await,
    ]
}

#[tokio::test]
async fn every_route_answers_every_method_in_every_phase_as_upstream_does() {
    let mut paths: Vec<&str> = ROUTES.iter().map(|(_, path, _)| *path).collect();
    paths.dedup();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), 19);
    for (phase, server) in all_phases().await.iter().enumerate() {
        let mut session = Session::open(server.addresses.client_api, None).await;
        for path in &paths {
            for method in METHODS {
                let known = ROUTES.iter().find(|(m, p, _)| (m, p) == (&method, path));
                let expected = known.map_or(405, |(_, _, status)| status[phase]);
                let reply = session.call(method, path).await;
                let what = format!("{method} {path} in phase {}: {reply:?}", phase + 1);
                assert_eq!(reply.status, expected, "{what}");
                match reply.status {
                    _ if method == "HEAD" => assert_eq!(reply.body, "", "{what}"),
                    200 => assert!(reply.body.starts_with("{\"status\":\"success\",\"data\":"), "{what}"),
                    405 => assert_eq!(reply.body, "{\"status\":\"error\",\"data\":null}\n", "{what}"),
                    400 | 401 if path.starts_with("/api/v2") => {
                        assert!(reply.body.starts_with("{\"status\":\"fail\",\"data\":null,\"message\":\""), "{what}");
                        assert_eq!(reply.header("content-type"), Some("application/json"), "{what}");
                    }
                    _ => {
                        assert!(reply.body.starts_with("{\"status\":\"error\",\"data\":null,\"message\":\""), "{what}");
                        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"), "{what}");
                        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{what}");
                    }
                }
                assert!(reply.header("allow").is_none(), "{what}");
                assert!(reply.header("server").is_none(), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn whatever_is_no_route_is_405_because_clients_fall_back_on_it() {
    let server = Server::start().await;
    let mut session = Session::open(server.addresses.client_api, None).await;
    for path in ["/", "/foo", "/sign-quote", "/api/v2", "/api/v2/", "/api/v2/status/", "/STATUS", "/monotonic-counter"]
    {
        for method in METHODS {
            let reply = session.call(method, path).await;
            assert_eq!(reply.status, 405, "{method} {path}");
        }
    }
}
