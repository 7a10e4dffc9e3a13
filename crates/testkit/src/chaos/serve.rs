//! Connections of clients: TLS ends here, and a connection can be broken at any moment.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::Link;
use super::perform::perform;
use super::proxy::Shared;

/// Serves until told to end; then all connections break.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    shared: Arc<Shared>,
    end: tokio::sync::oneshot::Receiver<()>,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let acceptor = TlsAcceptor::from(tls);
    let accept = async {
        loop {
            // Errors are those of single connections.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = if *shared.link().borrow() == Link::Down {
                // Reset instead of closed, as by a machine without that port.
                stream.set_zero_linger()
            } else {
                tokio::spawn(connection(stream, acceptor.clone(), shared.clone()));
                Ok(())
            };
        }
    };
    tokio::select! {
        () = accept => {}
        _ = end => {}
    }
    Ok(())
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let broken = Arc::new(Notify::new());
    let (mut link, mut breaks) = (shared.link(), shared.breaks());
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, broken) = (shared.clone(), broken.clone());
        async move {
            let (call, fault) = shared.decide(request.method(), request.uri());
            let outcome = perform(&shared, &call, fault, request).await;
            shared.note(call.number, outcome.fault, outcome.response.as_ref().map(|response| response.status()));
            match outcome.response {
                Some(response) => Ok::<_, Infallible>(response),
                None => {
                    broken.notify_one();
                    std::future::pending().await
                }
            }
        }
    });
    let serve = async {
        let _ = stream.set_nodelay(true);
        if *shared.link().borrow() == Link::Silent {
            let _ = shared.link().wait_for(|link| *link != Link::Silent).await;
            return;
        }
        let Ok(tls) = acceptor.accept(stream).await else { return };
        // An error is the client's end of the connection.
        let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), service).await;
    };
    tokio::select! {
        () = serve => {}
        () = broken.notified() => {}
        _ = link.wait_for(|link| *link == Link::Down) => {}
        _ = breaks.changed() => {}
    }
}
