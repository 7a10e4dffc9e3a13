//! The key service's listener: from the first second of the process, in every phase. Strangers get as far as their
//! evidence; what they can take up until then is bounded in number and time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use marblerun_api::key::api_server::ApiServer;
use marblerun_api::peer::peers_server::PeersServer;
use marblerun_attestation::PeerIdentity;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::Status;
use tower::Service as _;

use super::channel;
use super::peers::Inner;
use super::service::Caller;
use crate::server::Limits;
use crate::server::connection::{self, Protocol, Stop, stopped};
use crate::server::listener;
use crate::untrusted::for_log;

/// Connections at a time, strangers' included: some more than a cluster has instances.
const CONNECTIONS: usize = 128;

/// Largest message taken.
pub(super) const MAX_MESSAGE: usize = 64 << 10;

/// Serves until told to stop.
pub(super) async fn run(inner: Arc<Inner>, listener: TcpListener, stop: Stop) {
    let limits = Limits::default();
    listener::accept(listener, CONNECTIONS, limits.shutdown, stop.clone(), |stream, address| {
        let (inner, mut stop) = (Arc::clone(&inner), stop.clone());
        async move {
            let attested = tokio::select! {
                attested = channel::accept(stream, &inner.tls, &inner.appraiser, &inner.times) => attested,
                () = stopped(&mut stop) => return,
            };
            match attested {
                Ok((stream, peer)) => serve(&inner, stream, address, peer, stop).await,
                Err(error) => {
                    let error = for_log(&error.to_string());
                    tracing::info!(%address, error, "a caller of the key service was turned away");
                }
            }
        }
    })
    .await;
}

/// Answers an appraised peer, until it goes or its evidence has grown old.
async fn serve(
    inner: &Arc<Inner>,
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    address: SocketAddr,
    peer: PeerIdentity,
    mut stop: Stop,
) {
    let limits = Limits { idle: inner.times.round * 6, ..Limits::default() };
    let (end, ended) = watch::channel(false);
    let caller = Caller { inner: Arc::clone(inner), peer: Arc::new(peer), address };
    let service = move |request: Request<Incoming>| answer(caller.clone(), request);
    let mut serving = std::pin::pin!(connection::serve(stream, Protocol::Http2, &limits, ended, service));
    tokio::select! {
        () = serving.as_mut() => return,
        () = stopped(&mut stop) => {}
        // The caller, too, counts from when it was attested, and makes another connection a little earlier.
        () = sleep(inner.times.attested + inner.times.round) => {}
    }
    let _ = end.send(true);
    serving.await;
}

async fn answer(caller: Caller, request: Request<Incoming>) -> Response<tonic::body::Body> {
    let path = request.uri().path();
    let answer: Result<_, Infallible> = if path.starts_with("/keypb.API/") {
        ApiServer::new(caller).max_decoding_message_size(MAX_MESSAGE).call(request).await
    } else if path.starts_with("/marblerun.peer.v1.Peers/") {
        PeersServer::new(caller).max_decoding_message_size(MAX_MESSAGE).call(request).await
    } else {
        Ok(Status::unimplemented("no such service").into_http::<Bytes>().map(|_| tonic::body::Body::empty()))
    };
    match answer {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
