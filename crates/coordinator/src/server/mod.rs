//! Shells: TLS, HTTP, gRPC, metrics. They decode, authenticate, call a use case, encode.
//!
//! [`Servers`] binds all listeners before any of them serves, and runs them until told to stop.

mod api;
pub(crate) mod connection;
mod http;
mod limits;
pub(crate) mod listener;
mod mesh;
mod metrics;
mod ready;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use ::http::Request;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::ListenAddress;
use crate::core::Coordinator;
use connection::{Protocol, Stop};
use http::budget::BodyBudget;
use http::router::Router;
use http::service::Sender;
pub use limits::Limits;
use metrics::Metrics;

/// Where to listen, and what to say about oneself.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Client API.
    pub client_api: ListenAddress,
    /// Marble API.
    pub mesh: ListenAddress,
    /// Metrics, events and health over plain HTTP; `None`: not served.
    pub metrics: Option<ListenAddress>,
    /// About this program.
    pub facts: Facts,
    /// What strangers can take up.
    pub limits: Limits,
}

/// What the program says about itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Version of the program.
    pub version: String,
    /// Commit it was built from; empty if not known.
    pub commit: String,
    /// What protects the process: `simulation`, `sgx`, ..
    pub tee: String,
}

impl Facts {
    fn simulation(&self) -> bool {
        self.tee == "simulation"
    }
}

/// Why the servers cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be listened on.
    #[error("the {listener} cannot listen on {address}: {cause}")]
    Listen {
        /// Which listener.
        listener: &'static str,
        /// Address as configured.
        address: String,
        /// Cause.
        cause: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Method and path of every route of the client API.
#[must_use]
pub fn client_api_routes() -> Vec<(String, String)> {
    api::router().routes()
}

/// The addresses that were bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Client API.
    pub client_api: SocketAddr,
    /// Marble API.
    pub mesh: SocketAddr,
    /// Metrics, if served.
    pub metrics: Option<SocketAddr>,
}

/// Bound listeners.
pub struct Servers {
    app: Arc<App>,
    client_api: TlsListener,
    mesh: TlsListener,
    metrics: Option<TcpListener>,
    addresses: Addresses,
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

/// What handlers work with.
struct App {
    coordinator: Coordinator,
    metrics: Metrics,
    router: Router,
    facts: Facts,
    limits: Limits,
    /// Of the client API.
    bodies: BodyBudget,
    /// Of the Marble API: uploads to the other do not keep Marbles from being activated.
    mesh_bodies: BodyBudget,
    answers: BodyBudget,
}

/// Connections of the metrics listener.
const METRICS_CONNECTIONS: usize = 64;

impl Servers {
    /// Binds all listeners.
    ///
    /// # Errors
    /// [`BindError`] if one of them cannot listen.
    pub async fn bind(config: ServerConfig, coordinator: Coordinator) -> Result<Self, BindError> {
        // Upstream binds in this order; an address used twice is reported for the later one.
        let metrics = match &config.metrics {
            Some(address) => Some(bind("metrics listener", address).await?),
            None => None,
        };
        let mesh = bind("Marble API", &config.mesh).await?;
        let client_api = bind("client API", &config.client_api).await?;
        let addresses = Addresses {
            client_api: local_address("client API", &config.client_api, &client_api)?,
            mesh: local_address("Marble API", &config.mesh, &mesh)?,
            metrics: match (&config.metrics, &metrics) {
                (Some(address), Some(listener)) => Some(local_address("metrics listener", address, listener)?),
                _ => None,
            },
        };

        let authority: tls::AuthoritySource = {
            let coordinator = coordinator.clone();
            Arc::new(move || coordinator.authority())
        };
        let client_api_tls = tls::client_api(authority.clone())?;
        let mesh_tls = tls::mesh(authority)?;
        let app = App {
            metrics: Metrics::new(&config.facts, &coordinator, &api::UPSTREAM_PATHS),
            router: api::router(),
            bodies: BodyBudget::new(config.limits.body_memory),
            mesh_bodies: BodyBudget::new(config.limits.body_memory / 4),
            answers: BodyBudget::new(config.limits.answer_memory),
            limits: config.limits,
            facts: config.facts,
            coordinator,
        };
        Ok(Self {
            app: Arc::new(app),
            client_api: TlsListener { listener: client_api, acceptor: TlsAcceptor::from(Arc::new(client_api_tls)) },
            mesh: TlsListener { listener: mesh, acceptor: TlsAcceptor::from(Arc::new(mesh_tls)) },
            metrics,
            addresses,
        })
    }

    /// The addresses that were bound: where a port was left to the system, the one it chose.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until `shutdown` is done, then lets requests in progress finish.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { app, client_api, mesh, metrics, addresses } = self;
        tracing::info!(address = %addresses.client_api, "client API is listening");
        tracing::info!(address = %addresses.mesh, "Marble API is listening");
        if let Some(address) = addresses.metrics {
            tracing::info!(%address, "metrics are served");
        }

        let (stopping, stop) = watch::channel(false);
        let serving = async {
            tokio::join!(
                serve_client_api(app.clone(), client_api, stop.clone()),
                serve_mesh(app.clone(), mesh, stop.clone()),
                async {
                    if let Some(listener) = metrics {
                        serve_metrics(app.clone(), listener, stop.clone()).await;
                    }
                },
            );
        };
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            () = shutdown => {}
            () = serving.as_mut() => return,
        }
        let _ = stopping.send(true);
        serving.await;
    }
}

async fn bind(listener: &'static str, address: &ListenAddress) -> Result<TcpListener, BindError> {
    let bound = listener::bind(address).await;
    bound.map_err(|cause| BindError::Listen { listener, address: address.to_string(), cause })
}

fn local_address(
    listener: &'static str,
    address: &ListenAddress,
    bound: &TcpListener,
) -> Result<SocketAddr, BindError> {
    bound.local_addr().map_err(|cause| BindError::Listen { listener, address: address.to_string(), cause })
}

async fn serve_client_api(app: Arc<App>, tls: TlsListener, stop: Stop) {
    let limits = app.limits;
    listener::accept(tls.listener, limits.connections, limits.shutdown, stop.clone(), |stream, address| {
        let (app, acceptor, stop) = (app.clone(), tls.acceptor.clone(), stop.clone());
        async move {
            let connecting = connect(&acceptor, stream, address, &app.limits, stop.clone());
            let Some((stream, protocol, sender)) = connecting.await else {
                return;
            };
            let protocol = protocol.unwrap_or(Protocol::Http1);
            let service = {
                let app = app.clone();
                move |request: Request<Incoming>| http::service::serve(app.clone(), sender.clone(), request)
            };
            connection::serve(stream, protocol, &app.limits, stop, service).await;
        }
    })
    .await;
}

async fn serve_mesh(app: Arc<App>, tls: TlsListener, stop: Stop) {
    let limits = app.limits;
    listener::accept(tls.listener, limits.connections, limits.shutdown, stop.clone(), |stream, address| {
        let (app, acceptor, stop) = (app.clone(), tls.acceptor.clone(), stop.clone());
        async move {
            let connecting = connect(&acceptor, stream, address, &app.limits, stop.clone());
            let Some((mut stream, protocol, sender)) = connecting.await else {
                return;
            };
            if protocol != Some(Protocol::Http2) {
                tracing::debug!(peer = %address, "a client of the Marble API did not choose h2");
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
                return;
            }
            let service = {
                let app = app.clone();
                move |request: Request<Incoming>| mesh::serve(app.clone(), sender.clone(), request)
            };
            connection::serve(stream, Protocol::Http2, &app.limits, stop, service).await;
        }
    })
    .await;
}

async fn serve_metrics(app: Arc<App>, listener: TcpListener, stop: Stop) {
    let limits = app.limits;
    listener::accept(listener, METRICS_CONNECTIONS, limits.shutdown, stop.clone(), |stream, _address| {
        let (app, stop) = (app.clone(), stop.clone());
        async move {
            let service = {
                let app = app.clone();
                move |request: Request<Incoming>| metrics::serve(app.clone(), request)
            };
            connection::serve(stream, Protocol::Http1, &app.limits, stop, service).await;
        }
    })
    .await;
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// The handshake, and what it settled: the protocol (if the client named one) and who the client is. `None` if there
/// is no connection: the handshake failed, or the server stops, which waits for nobody who has not asked yet.
async fn connect(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    limits: &Limits,
    mut stop: Stop,
) -> Option<(TlsStream, Option<Protocol>, Sender)> {
    let stream = tokio::select! {
        connected = tls::handshake(acceptor, stream, limits.handshake) => connected?,
        () = connection::stopped(&mut stop) => return None,
    };
    let (_, session) = stream.get_ref();
    let protocol = match session.alpn_protocol() {
        Some(tls::H2) => Some(Protocol::Http2),
        Some(_) => Some(Protocol::Http1),
        None => None,
    };
    let certificate = tls::peer_certificate(session);
    Some((stream, protocol, Sender { address, certificate }))
}
