//! One connection: handshake with the newest certificate, then requests until either side is done.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::ServingCertificate;
use super::routes::App;
use super::{Limits, Phase, after};

/// The API server asks for no more than a few at a time on one connection.
const STREAMS: u32 = 100;
const HEADER_BYTES: u32 = 64 * 1024;

/// What every connection is served with.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) certificate: Arc<ServingCertificate>,
    pub(super) acceptor: TlsAcceptor,
    pub(super) app: Arc<App>,
    pub(super) limits: Limits,
    pub(super) level: tracing::Level,
}

impl Service {
    /// Serves a connection to its end.
    pub(super) async fn serve(self, stream: TcpStream, peer: SocketAddr, mut phases: watch::Receiver<Phase>) {
        let accepted_in = *phases.borrow();
        // Answers are written whole; waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let handshake = async {
            self.certificate.refresh().await;
            self.acceptor.accept(stream).await
        };
        let stream = match timeout(self.limits.handshake, handshake).await {
            Ok(Ok(stream)) => stream,
            // Most often an API server whose caBundle does not have this certificate's issuer.
            Ok(Err(error)) => return self.log("TLS handshake failed", peer, &error),
            Err(error) => return self.log("TLS handshake took too long", peer, &error),
        };
        let builder = self.builder(&stream);
        let service = {
            let app = self.app.clone();
            service_fn(move |request| {
                let app = app.clone();
                async move { Ok::<_, Infallible>(app.answer(request).await) }
            })
        };
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            result = connection.as_mut() => return self.ended(result, peer),
            () = after(&mut phases, accepted_in) => {}
            () = sleep(self.limits.age) => {}
        }
        connection.as_mut().graceful_shutdown();
        if let Ok(result) = timeout(self.limits.farewell, connection).await {
            self.ended(result, peer);
        }
    }

    fn builder(&self, stream: &TlsStream<TcpStream>) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header)
            .max_buf_size(HEADER_BYTES as usize);
        builder.http2().timer(TokioTimer::new()).max_header_list_size(HEADER_BYTES).max_concurrent_streams(STREAMS);
        // Settled by the handshake, so that nobody has to wait for a first byte to know it.
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => builder.http2_only(),
            _ => builder.http1_only(),
        }
    }

    fn ended(&self, result: Result<(), Box<dyn std::error::Error + Send + Sync>>, peer: SocketAddr) {
        if let Err(error) = result {
            self.log("connection broken", peer, &error);
        }
    }

    /// At the level of the settings. The macros want it to be constant.
    fn log(&self, what: &str, peer: SocketAddr, error: &dyn std::fmt::Display) {
        match self.level {
            tracing::Level::ERROR => tracing::error!(%peer, %error, "{what}"),
            tracing::Level::WARN => tracing::warn!(%peer, %error, "{what}"),
            tracing::Level::INFO => tracing::info!(%peer, %error, "{what}"),
            _ => tracing::debug!(%peer, %error, "{what}"),
        }
    }
}
