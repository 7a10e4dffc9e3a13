//! Metrics: upstream's names, labels, buckets and texts, and some of our own; and the plain HTTP listener that
//! serves them beside events and health. The listener is off by default: it has no authentication.

mod exposition;
mod labels;
mod scraped;
mod serve;

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use tonic::Code;

use crate::core::Coordinator;
use crate::server::Facts;
use labels::{ACTIVATE, Call, Cause, Durations, GRPC_CODES, Handled, Path, Protection, Requests, Scrape, Version};
use scraped::Scraped;
pub(in crate::server) use serve::serve;

/// Label of requests for paths that are no route. Never the path itself: strangers choose it.
pub(in crate::server) const UNKNOWN_PATH: &str = "unknown";

const DURATION_BUCKETS: [f64; 7] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0];
const SIZE_BUCKETS: [f64; 5] = [100.0, 1000.0, 2000.0, 5000.0, 10000.0];

type Counters<L> = Family<L, Counter>;
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics.
#[derive(Debug)]
pub(in crate::server) struct Metrics {
    registry: Registry,
    requests: Counters<Requests>,
    durations: Histograms<Durations>,
    request_sizes: Histograms<Path>,
    response_sizes: Histograms<Path>,
    in_flight: Family<Path, Gauge>,
    grpc_started: Counters<Call>,
    grpc_received: Counters<Call>,
    grpc_sent: Counters<Call>,
    grpc_handled: Counters<Handled>,
    scrapes: Counters<Scrape>,
    scrapes_in_flight: Gauge,
}

/// A request being answered; counted until this is dropped.
pub(in crate::server) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers everything, and presets what upstream shows from the start.
    pub(in crate::server) fn new(facts: &Facts, coordinator: &Coordinator, paths: &[&'static str]) -> Self {
        let mut new = Registering(Registry::default());
        let version: Family<Version, Gauge> =
            new.add("coordinator_version_info", "Version information of the coordinator");
        version.get_or_create(&Version { commit: facts.commit.clone(), version: facts.version.clone() }).set(0);
        let tee: Family<Protection, Gauge> = new.add("marblerun_tee_info", "What protects this Coordinator");
        tee.get_or_create(&Protection { tee: facts.tee.clone() }).set(1);
        new.0.register_collector(Box::new(Scraped::new(coordinator.clone(), facts.simulation())));
        let errors: Counters<Cause> = new.add(
            "promhttp_metric_handler_errors",
            "Total number of internal errors encountered by the promhttp metric handler",
        );
        for cause in ["encoding", "gathering"] {
            let _ = errors.get_or_create(&Cause { cause });
        }
        let metrics = Self {
            requests: new.add("server_client_api_http_request", "Total number of requests received"),
            durations: new.histograms(
                "server_client_api_http_request_duration_histogram_seconds",
                "Request time duration",
                || Histogram::new(DURATION_BUCKETS),
            ),
            request_sizes: new.histograms(
                "server_client_api_http_request_size_histogram_bytes",
                "Request size in byte",
                || Histogram::new(SIZE_BUCKETS),
            ),
            response_sizes: new.histograms(
                "server_client_api_http_response_size_histogram_bytes",
                "Response size in byte",
                || Histogram::new(SIZE_BUCKETS),
            ),
            in_flight: new.add(
                "server_client_api_http_in_flight_requests",
                "Number of http requests which are currently running",
            ),
            grpc_started: new.add("grpc_server_started", "Total number of RPCs started on the server"),
            grpc_received: new
                .add("grpc_server_msg_received", "Total number of RPC stream messages received on the server"),
            grpc_sent: new.add("grpc_server_msg_sent", "Total number of gRPC stream messages sent by the server"),
            grpc_handled: new.add(
                "grpc_server_handled",
                "Total number of RPCs completed on the server, regardless of success or failure",
            ),
            scrapes: new.add("promhttp_metric_handler_requests", "Total number of scrapes by HTTP status code"),
            scrapes_in_flight: new
                .add("promhttp_metric_handler_requests_in_flight", "Current number of scrapes being served"),
            registry: new.0,
        };
        metrics.preset(paths);
        metrics
    }

    fn preset(&self, paths: &[&'static str]) {
        for path in paths {
            let _ = self.in_flight.get_or_create(&Path { path });
        }
        for code in [200, 500, 503] {
            let _ = self.scrapes.get_or_create(&Scrape { code });
        }
        for family in [&self.grpc_started, &self.grpc_received, &self.grpc_sent] {
            let _ = family.get_or_create(&ACTIVATE);
        }
        for code in GRPC_CODES {
            let _ = self.grpc_handled.get_or_create(&Handled::activate(code));
        }
    }

    /// A request arrived. `path` is a registered path or [`UNKNOWN_PATH`].
    pub(in crate::server) fn http_started(&self, path: &'static str) -> InFlight {
        let gauge = self.in_flight.get_or_create_owned(&Path { path });
        gauge.inc();
        InFlight(gauge)
    }

    /// A request was answered.
    pub(in crate::server) fn http_finished(
        &self,
        path: &'static str,
        method: &Method,
        status: StatusCode,
        duration: Duration,
        request_size: u64,
        response_size: u64,
    ) {
        let method = labels::method(method);
        self.requests.get_or_create(&Requests { code: status.as_u16(), method, path }).inc();
        self.durations.get_or_create(&Durations { method, path }).observe(duration.as_secs_f64());
        self.request_sizes.get_or_create(&Path { path }).observe(approximate(request_size));
        self.response_sizes.get_or_create(&Path { path }).observe(approximate(response_size));
    }

    /// A call was decoded.
    pub(in crate::server) fn grpc_started(&self) {
        self.grpc_started.get_or_create(&ACTIVATE).inc();
        self.grpc_received.get_or_create(&ACTIVATE).inc();
    }

    /// A call was answered, well or not.
    pub(in crate::server) fn grpc_finished(&self, code: Code) {
        self.grpc_sent.get_or_create(&ACTIVATE).inc();
        self.grpc_handled.get_or_create(&Handled::activate(labels::grpc_code(code))).inc();
    }

    /// Everything in the text format of Prometheus.
    pub(in crate::server) fn scrape(&self) -> Result<String, std::fmt::Error> {
        self.scrapes_in_flight.inc();
        let text = exposition::text(&self.registry);
        self.scrapes_in_flight.dec();
        let code = if text.is_ok() { 200 } else { 500 };
        self.scrapes.get_or_create(&Scrape { code }).inc();
        text
    }
}

/// Sizes are far below the numbers a float cannot hold.
#[allow(clippy::cast_precision_loss)]
fn approximate(size: u64) -> f64 {
    size as f64
}

/// A registry being filled. It ends each help text with a full stop, and each counter's name with `_total`.
struct Registering(Registry);

impl Registering {
    fn add<M: Metric + Default + Clone>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    fn histograms<L>(&mut self, name: &str, help: &str, make: fn() -> Histogram) -> Histograms<L>
    where
        L: EncodeLabelSet + Hash + Eq + Clone + Debug + Send + Sync + 'static,
    {
        let family = Family::new_with_constructor(make);
        self.0.register(name, help, family.clone());
        family
    }
}
