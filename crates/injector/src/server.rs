//! The shell: TLS and HTTP around [`crate::admission`].
//!
//! Nobody authenticates here, as upstream: an answer tells no secret, and changes nothing. So what a stranger
//! can take up is bounded: connections, memory, time.

mod body;
mod certificate;
mod connection;
mod routes;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::settings::{ListenAddress, Settings};
pub use certificate::CertificateError;

use body::BodyBudget;
use certificate::ServingCertificate;
use routes::App;

/// What strangers can take up. One value, so that tests can be quick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the header of a request, and between two requests of an HTTP/1.1 connection.
    pub header: Duration,
    /// For the body of a request. The API server itself waits for 10 seconds by default, and 30 at most.
    pub body: Duration,
    /// Size of a request body. The API server takes objects of 3 MiB, which are larger as JSON.
    pub body_bytes: usize,
    /// Memory of all request bodies together.
    pub body_memory: usize,
    /// Age at which a connection is asked to end, so that neither an idle one nor an old certificate stays for ever.
    pub age: Duration,
    /// For requests in progress on a connection that is to end.
    pub farewell: Duration,
    /// How long new connections are still taken after SIGTERM. The API server does not ask again elsewhere, and
    /// learns of the end of a pod later than the pod itself.
    pub drain: Duration,
    /// Connections; further ones wait to be accepted.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            header: Duration::from_secs(60),
            body: Duration::from_secs(10),
            body_bytes: 8 * 1024 * 1024,
            body_memory: 64 * 1024 * 1024,
            age: Duration::from_secs(600),
            farewell: Duration::from_secs(5),
            drain: Duration::from_secs(3),
            connections: 1024,
        }
    }
}

/// How to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Connections are asked to end, new ones are still taken for a while.
    Drain,
    /// No new connections; requests in progress are answered.
    AtOnce,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("the webhook cannot listen on {address}: {cause}; -listen names another address")]
    Listen {
        /// As configured.
        address: ListenAddress,
        /// Cause.
        cause: io::Error,
    },
    /// There is no certificate to begin with.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// How far the server has come: connections of an earlier phase are asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    Stopped,
}

/// Waits until the server is past a phase.
async fn after(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    // An error means that the server is gone.
    let _ = phases.wait_for(|current| *current > phase).await;
}

/// A bound server.
pub struct Server {
    listener: TcpListener,
    certificate: Arc<ServingCertificate>,
    acceptor: tokio_rustls::TlsAcceptor,
    app: Arc<App>,
    limits: Limits,
    level: tracing::Level,
}

impl Server {
    /// Reads the certificate and binds the address.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn bind(settings: Settings, limits: Limits) -> Result<Self, StartError> {
        let certificate = ServingCertificate::load(settings.tls_cert_file, settings.tls_key_file).await?;
        let certificate = Arc::new(certificate);
        let acceptor = Arc::new(certificate::server_config(certificate.clone())?).into();
        let listener = bind(&settings.listen)
            .await
            .map_err(|cause| StartError::Listen { address: settings.listen.clone(), cause })?;
        let bodies = BodyBudget::new(limits.body_memory, limits.body_bytes, limits.body);
        let app = Arc::new(App { rules: settings.rules, bodies });
        Ok(Self { listener, certificate, acceptor, app, limits, level: settings.http_error_log_level })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until told how to stop, and lets requests in progress finish.
    pub async fn run(self, stop: impl Future<Output = Stop> + Send) {
        let (phase, phases) = watch::channel(Phase::Serving);
        let limits = self.limits;
        let mut accepting = std::pin::pin!(self.accept(phases));
        let how = tokio::select! {
            how = stop => how,
            _ = &mut accepting => return,
        };
        tracing::info!(?how, "stopping");
        if how == Stop::Drain {
            phase.send_replace(Phase::Draining);
            let _ = timeout(limits.drain, &mut accepting).await;
        }
        phase.send_replace(Phase::Stopped);
        let mut connections = accepting.await;
        // One may be in its handshake yet; each ends by itself after its farewell.
        let finish = async { while connections.join_next().await.is_some() {} };
        if timeout(limits.handshake + limits.farewell, finish).await.is_err() {
            connections.shutdown().await;
        }
    }

    /// Accepts until the server stops; the connections that are left then.
    async fn accept(self, mut phases: watch::Receiver<Phase>) -> JoinSet<()> {
        let for_connections = phases.clone();
        let room = Arc::new(Semaphore::new(self.limits.connections));
        let mut connections = JoinSet::new();
        let service = connection::Service {
            certificate: self.certificate,
            acceptor: self.acceptor,
            app: self.app,
            limits: self.limits,
            level: self.level,
        };
        loop {
            let next = async {
                let permit = room.clone().acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            tokio::select! {
                () = after(&mut phases, Phase::Draining) => return connections,
                Some(_) = connections.join_next() => {}
                (permit, accepted) = next => match accepted {
                    Ok((stream, peer)) => {
                        let connection = service.clone().serve(stream, peer, for_connections.clone());
                        connections.spawn(async move {
                            connection.await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        // For want of something (file descriptors, memory) that others have to give back.
                        sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

async fn bind(address: &ListenAddress) -> io::Result<TcpListener> {
    if !address.host.is_empty() {
        return TcpListener::bind((address.host.as_str(), address.port)).await;
    }
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, address.port)).await {
        // A machine without IPv6; a port in use is in use there as well.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port)).await
        }
        bound => bound,
    }
}
