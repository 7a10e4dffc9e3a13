//! The metrics listener.

use marblerun_attestation::{IntelPlatform, PckCa, Tee};
use marblerun_collateral::Place;
use marblerun_coordinator::core::{Coordinator, Settings};
use marblerun_coordinator::server::Limits;
use marblerun_state::Phase;
use marblerun_store::Store;
use marblerun_testkit::FakeMarble;

use crate::support::{Server, manifest, state};

async fn metrics(server: &Server) -> String {
    let reply = server.metrics("/metrics").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8; escaping=underscores"));
    reply.body
}

/// The one sample that starts so, as its value.
#[track_caller]
fn value(metrics: &str, sample: &str) -> String {
    let found: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')).collect();
    assert_eq!(found.len(), 1, "{sample} in\n{metrics}");
    found[0].to_owned()
}

#[tokio::test]
async fn what_upstream_shows_from_the_start_is_there_from_the_start() {
    let server = Server::start().await;
    let text = metrics(&server).await;
    assert_eq!(value(&text, "coordinator_version_info{commit=\"abc\",version=\"1.2.3\"}"), "0");
    assert_eq!(value(&text, "coordinator_state"), "2");
    for path in
        ["/status", "/manifest", "/quote", "/recover", "/secrets", "/update", "/update-manifest", "/update-cancel"]
    {
        assert_eq!(value(&text, &format!("server_client_api_http_in_flight_requests{{path=\"{path}\"}}")), "0");
    }
    assert_eq!(text.matches("server_client_api_http_in_flight_requests{").count(), 19);
    assert_eq!(text.matches("grpc_server_handled_total{").count(), 17);
    let call = "grpc_method=\"Activate\",grpc_service=\"rpc.Marble\",grpc_type=\"unary\"";
    assert_eq!(value(&text, &format!("grpc_server_handled_total{{grpc_code=\"PermissionDenied\",{call}}}")), "0");
    for name in ["started", "msg_received", "msg_sent"] {
        assert_eq!(value(&text, &format!("grpc_server_{name}_total{{{call}}}")), "0");
    }
    for cause in ["encoding", "gathering"] {
        assert_eq!(value(&text, &format!("promhttp_metric_handler_errors_total{{cause=\"{cause}\"}}")), "0");
    }
    for code in [200, 500, 503] {
        assert_eq!(value(&text, &format!("promhttp_metric_handler_requests_total{{code=\"{code}\"}}")), "0");
    }
    assert_eq!(value(&text, "promhttp_metric_handler_requests_in_flight"), "1");
    assert_eq!(value(&text, "marblerun_simulation"), "1");
    assert_eq!(value(&text, "marblerun_tee_info{tee=\"simulation\"}"), "1");
    assert_eq!(value(&text, "marblerun_store_mode{mode=\"volatile\"}"), "1");

    for (name, kind, help) in [
        ("coordinator_version_info", "gauge", "Version information of the coordinator."),
        ("coordinator_state", "gauge", "State of the Coordinator."),
        ("server_client_api_http_in_flight_requests", "gauge", "Number of http requests which are currently running."),
        (
            "grpc_server_handled_total",
            "counter",
            "Total number of RPCs completed on the server, regardless of success or failure.",
        ),
    ] {
        assert!(text.contains(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")), "{name} in\n{text}");
    }
    assert!(!text.contains("coordinator_marble_activations"));
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_a_strangers_path() {
    let server = Server::start().await;
    for _ in 0..2 {
        server.get("/api/v2/status").await;
    }
    server.get("/made/up").await;
    server.call(None, "BREW", "/status", b"").await;
    server.post("/api/v2/manifest", "{}").await;
    let text = metrics(&server).await;
    let total = |labels: &str| value(&text, &format!("server_client_api_http_request_total{{{labels}}}"));
    assert_eq!(total("code=\"200\",method=\"get\",path=\"/api/v2/status\""), "2");
    assert_eq!(total("code=\"405\",method=\"get\",path=\"unknown\""), "1");
    assert_eq!(total("code=\"405\",method=\"unknown\",path=\"/status\""), "1");
    assert_eq!(total("code=\"500\",method=\"post\",path=\"/api/v2/manifest\""), "1");
    assert!(!text.contains("made"));
    let name = "server_client_api_http_request_duration_histogram_seconds";
    assert_eq!(value(&text, &format!("{name}_count{{method=\"get\",path=\"/api/v2/status\"}}")), "2");
    for bound in ["0.005", "0.025", "0.1", "0.5", "1", "2.5", "5", "+Inf"] {
        assert!(text.contains(&format!("le=\"{bound}\"")), "{bound}");
    }
    let name = "server_client_api_http_response_size_histogram_bytes";
    assert_eq!(value(&text, &format!("{name}_sum{{path=\"unknown\"}}")), "31.0");
    assert!(text.contains(&format!("# HELP {name} Response size in byte.\n# TYPE {name} histogram\n")));
    assert!(text.contains("# TYPE server_client_api_http_request_total counter\n"));
}

#[tokio::test]
async fn activations_are_counted_and_remembered() {
    let server = Server::with_manifest(&manifest::base()).await;
    let marble = FakeMarble::new().unwrap();
    let uuid = "1d1a5c34-0b4c-4b0e-9d31-0b2bb8a0a1e7";
    marble.activate(server.addresses.mesh, "web", uuid).await.unwrap();
    marble.activate(server.addresses.mesh, "web", "nonsense").await.unwrap_err();
    marble.activate(server.addresses.mesh, "made-up", uuid).await.unwrap_err();
    let text = metrics(&server).await;
    let counted = |name: &str, labels: &str| value(&text, &format!("coordinator_marble_{name}_total{{{labels}}}"));
    let labels = format!("type=\"web\",uuid=\"{uuid}\"");
    assert_eq!(counted("activations", &labels), "1");
    assert_eq!(counted("activations_success", &labels), "1");
    assert!(!text.contains("made-up") && !text.contains("nonsense"), "{text}");
    assert!(text.contains(
        "# HELP coordinator_marble_activations_total Number of Marble activation attempts.\n\
         # TYPE coordinator_marble_activations_total counter\n"
    ));
    let call = "grpc_method=\"Activate\",grpc_service=\"rpc.Marble\",grpc_type=\"unary\"";
    assert_eq!(value(&text, &format!("grpc_server_handled_total{{grpc_code=\"OK\",{call}}}")), "1");
    assert_eq!(value(&text, &format!("grpc_server_handled_total{{grpc_code=\"PermissionDenied\",{call}}}")), "1");
    assert_eq!(value(&text, &format!("grpc_server_msg_sent_total{{{call}}}")), "3");

    let events = server.metrics("/events").await;
    assert_eq!(events.header("content-type"), Some("application/json"));
    let event = &events.json()[0];
    assert_eq!(event["activation"], serde_json::json!({ "marbleType": "web", "uuid": uuid, "quote": null }));
    assert!(event["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!(events.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_becomes_of_requests_for_collateral_can_be_watched() {
    let nobody = Place::Url("http://127.0.0.1:1/".to_owned());
    let settings = marblerun_collateral::Settings { intel: nobody, secure: false, amd: "none".to_owned(), cache: None };
    let (source, service) = settings.open_counted().unwrap();
    let platform = IntelPlatform { tee: Tee::Sgx, fmspc: [1; 6], ca: PckCa::Processor };
    tokio::task::spawn_blocking(move || source.intel(&platform, 0).unwrap_err()).await.unwrap();
    let settings = Settings { collateral: service, ..Settings::simulation() };
    let coordinator = Coordinator::new(Store::in_memory(state(Phase::AcceptingManifest)), settings);
    let text = metrics(&Server::serve(coordinator, Limits::default()).await).await;
    assert_eq!(value(&text, "marblerun_collateral_fetch_errors_total"), "1");
    for name in ["hits", "stale_hits", "fetches"] {
        assert_eq!(value(&text, &format!("marblerun_collateral_{name}_total")), "0");
    }
    let text = metrics(&Server::start().await).await;
    assert!(!text.contains("marblerun_collateral"), "nobody is asked: {text}");
}

#[tokio::test]
async fn beside_the_metrics_are_events_and_health_and_nothing_else() {
    let server = Server::start().await;
    assert_eq!(server.metrics("/events").await.body, "null\n");
    assert_eq!(server.metrics("/healthz").await.status, 200);
    assert_eq!(server.metrics("/readyz").await.status, 200);
    let reply = server.metrics("/status").await;
    assert_eq!((reply.status, reply.body.as_str()), (404, "404 page not found\n"));
}
