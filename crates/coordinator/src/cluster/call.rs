//! One attested connection to a peer, and the calls over it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use marblerun_api::key::GetKeyEncryptionKeyRequest;
use marblerun_api::key::api_client::ApiClient;
use marblerun_api::peer::HelloRequest;
use marblerun_api::peer::peers_client::PeersClient;
use marblerun_attestation::PeerIdentity;
use marblerun_state::BootId;
use marblerun_store::cluster::{Kek, KekId, PeerGreeting};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tower::Service;
use zeroize::Zeroizing;

use super::channel::{self, ChannelError};
use super::peers::Inner;
use super::serve::MAX_MESSAGE;
use super::{greeting, union};
use crate::core::Union;

/// Why a peer did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// Nobody listens at its address.
    #[error("nobody listens there")]
    Nobody,
    /// It did not answer, or not in time.
    #[error("{0}")]
    Silent(String),
    /// It is not trusted, or does not trust this Coordinator.
    #[error("{0}")]
    Rejected(String),
    /// It answered that it cannot.
    #[error("{0}")]
    Unable(String),
}

/// An attested connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connection {
    sender: Sender,
    pub(super) peer: Arc<PeerIdentity>,
    attested: Instant,
}

impl Connection {
    /// The kept connection to an address, else a new one, which is kept.
    pub(super) async fn to(inner: &Inner, address: &str) -> Result<Self, CallError> {
        if let Some(connection) = inner.connection(address) {
            return Ok(connection);
        }
        let connection = Self::open(inner, address).await?;
        inner.keep(address, connection.clone());
        Ok(connection)
    }

    /// Connects, proves this process, appraises the other.
    pub(super) async fn open(inner: &Inner, address: &str) -> Result<Self, CallError> {
        let stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => CallError::Nobody,
            _ => CallError::Silent(format!("connecting: {error}")),
        })?;
        let _ = stream.set_nodelay(true);
        let attested = Instant::now();
        let (stream, peer) = channel::connect(stream, &inner.tls, &inner.appraiser, &inner.times).await?;
        let handshake = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(16 << 10)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|error| CallError::Silent(error.to_string()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a peer ended");
            }
        });
        Ok(Self { sender: Sender(sender), peer: Arc::new(peer), attested })
    }

    /// Whether another call may be made over it.
    pub(super) fn is_good(&self, attested: Duration) -> bool {
        !self.sender.0.is_closed() && self.attested.elapsed() < attested
    }

    /// Asks who is there.
    pub(super) async fn hello(&self, own: BootId) -> Result<PeerGreeting, CallError> {
        let request = HelloRequest { boot: own.0.to_vec() };
        let answer = self.peers().hello(request).await?;
        greeting::decode(answer.into_inner())
            .ok_or_else(|| CallError::Rejected("its greeting makes no sense".to_owned()))
    }

    /// Asks for one of these keys.
    pub(super) async fn kek(&self, wanted: &[KekId]) -> Result<Kek, CallError> {
        let wanted = wanted.iter().map(|id| id.0.to_vec()).collect();
        let request = GetKeyEncryptionKeyRequest { quote: Vec::new(), wanted };
        let mut client = ApiClient::with_origin(self.sender.clone(), origin()).max_decoding_message_size(MAX_MESSAGE);
        let key = Zeroizing::new(client.get_key_encryption_key(request).await?.into_inner().key);
        Kek::from_slice(&key).ok_or_else(|| CallError::Unable("what it gave is no key".to_owned()))
    }

    /// Tells it of the recovery, and hears what it has.
    pub(super) async fn ceremony(&self, mine: &Union) -> Result<Union, CallError> {
        let answer = self.peers().ceremony(stream::iter(union::parts(mine))).await?;
        let parts = answer.into_inner().map(|part| part.map_err(|status| status.to_string()));
        union::collect(parts).await.map_err(CallError::Unable)
    }

    fn peers(&self) -> PeersClient<Sender> {
        PeersClient::with_origin(self.sender.clone(), origin()).max_decoding_message_size(MAX_MESSAGE)
    }
}

/// Names no host: the channel is the one it is.
fn origin() -> Uri {
    Uri::from_static("http://peer")
}

impl From<ChannelError> for CallError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::TimedOut(_) => Self::Silent(error.to_string()),
            // What was a peer a moment ago may have gone; what answers TLS with something else is none.
            ChannelError::Io(ref io) if io.kind() != io::ErrorKind::InvalidData => Self::Silent(error.to_string()),
            ChannelError::Io(_)
            | ChannelError::Tls(_)
            | ChannelError::Message(_)
            | ChannelError::Refused(_)
            | ChannelError::NoEvidence(_)
            | ChannelError::RefusedByPeer(_) => Self::Rejected(error.to_string()),
        }
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        let text: String = status.message().chars().filter(|c| !c.is_control()).take(512).collect();
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated => Self::Rejected(text),
            Code::FailedPrecondition | Code::Unavailable | Code::DeadlineExceeded | Code::Unimplemented => {
                Self::Unable(text)
            }
            _ => Self::Silent(text),
        }
    }
}

/// A connection as the generated clients use it.
#[derive(Clone)]
struct Sender(SendRequest<tonic::body::Body>);

impl Service<Request<tonic::body::Body>> for Sender {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
