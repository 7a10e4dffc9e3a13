//! From an accepted socket to a finished TLS handshake, in bounded time.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What Go's server says to a client that forgot the `s` of `https`.
const NOT_TLS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// How long the rest of a misdirected request is read, so that the answer is not lost with a reset connection.
const LINGER: Duration = Duration::from_secs(1);

/// Does the handshake. `None` if there is no connection to serve.
pub(in crate::server) async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    limit: Duration,
) -> Option<TlsStream<TcpStream>> {
    let handshake = async {
        // A TLS record starts with a control byte, an HTTP request with the letters of its method.
        let mut first = [0];
        if stream.peek(&mut first).await.ok()? > 0 && first.iter().all(u8::is_ascii_uppercase) {
            refuse_plain_http(stream).await;
            return None;
        }
        match acceptor.accept(stream).await {
            Ok(stream) => Some(stream),
            Err(error) => {
                tracing::debug!(%error, "TLS handshake failed");
                None
            }
        }
    };
    timeout(limit, handshake).await.unwrap_or_default()
}

async fn refuse_plain_http(mut stream: TcpStream) {
    if stream.write_all(NOT_TLS).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut scratch = [0; 4096];
        while matches!(stream.read(&mut scratch).await, Ok(1..)) {}
    };
    let _ = timeout(LINGER, drain).await;
}
