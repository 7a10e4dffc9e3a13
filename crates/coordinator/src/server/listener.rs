//! Listening sockets: bound first, all together, so that a port in use stops the start; then accepted from
//! until the server stops.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection::{Stop, stopped};
use crate::config::ListenAddress;

/// Pause after an accept that failed for want of something (file descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds an address.
pub(crate) async fn bind(address: &ListenAddress) -> io::Result<TcpListener> {
    match address.wildcards() {
        // A machine without IPv6 refuses the first; any other refusal (port in use) is repeated by the second.
        Some([v6, v4]) => match TcpListener::bind(v6).await {
            Ok(listener) => Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
            Err(_) => TcpListener::bind(v4).await,
        },
        None => TcpListener::bind((address.host.as_str(), address.port)).await,
    }
}

/// Accepts until the server stops, then lets connections finish for `grace`. No more than `most` at a time.
pub(crate) async fn accept<S, F>(listener: TcpListener, most: usize, grace: Duration, mut stop: Stop, serve: S)
where
    S: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = room.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(ended) = connections.join_next() => report(ended),
            (permit, accepted) = next => match accepted {
                Ok((stream, peer)) => {
                    // Answers are written whole; waiting for more to send only delays them.
                    let _ = stream.set_nodelay(true);
                    let connection = serve(stream, peer);
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let finish = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if timeout(grace, finish).await.is_err() {
        connections.shutdown().await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended by a fault of the Coordinator");
    }
}
