//! One client for everything. Its stack is built here and not by kube, so that nothing in it repeats a request: kube
//! would repeat on 429, 503 and 504, and the pool below it requests that met a closed connection. A repetition turns a
//! success into a conflict, and hides from the store that there is a doubt.

use std::time::Duration;

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt as _};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use crate::access::AccessError;

/// Cluster protocol, section 10.
const CONNECTING: Duration = Duration::from_secs(3);
/// Shorter than what API servers and load balancers allow, so that requests seldom meet a connection that is being closed.
const IDLE: Duration = Duration::from_secs(20);

/// Why the API server cannot be spoken to at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It is not known where it is, or who we are.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Certificates, keys or tokens cannot be used.
    #[error("{source_name} cannot be used: {reason}")]
    Credentials {
        /// Where they are from.
        source_name: String,
        /// Why.
        reason: String,
    },
    /// It is not known which namespace.
    #[error("EDG_K8S_NAMESPACE: {0}")]
    Name(#[from] crate::names::NameError),
}

/// A client. To be called where a runtime is entered.
pub(crate) fn client(config: &Config) -> Result<Client, Box<kube::Error>> {
    // rustls asks for one; whoever installed another one first has decided.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let https = config.rustls_https_connector_with_connector(tcp)?;
    // The time covers the TLS handshake too.
    let connector = ServiceBuilder::new().map_future(Box::pin).timeout(CONNECTING).service(https);
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .retry_canceled_requests(false)
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, &config.default_namespace))
}
