//! One HTTP connection: served until the client is done, nothing moves any more, or the server stops.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::limits::Limits;

/// What the connection speaks, as the handshake settled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Upstream's limit for request headers (Go's default).
const HEADER_BYTES: u32 = 1024 * 1024;

/// Requests that one HTTP/2 connection may have in progress.
const STREAMS: u32 = 64;

/// Once a connection is to end, how long it may stay with nothing moving and no request in progress.
const FAREWELL: Duration = Duration::from_millis(500);

/// Tells all connections to stop.
pub(crate) type Stop = watch::Receiver<bool>;

/// Waits until the server stops.
pub(crate) async fn stopped(stop: &mut Stop) {
    // An error means that the sender is gone, and the server with it.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves one connection to its end.
pub(crate) async fn serve<I, S, F, B>(io: I, protocol: Protocol, limits: &Limits, mut stop: Stop, service: S)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let activity = Arc::new(Activity::default());
    let io = TokioIo::new(Watched { io, activity: activity.clone() });
    let service = {
        let activity = activity.clone();
        service_fn(move |request| {
            let activity = activity.clone();
            let busy = Busy::new(activity.clone());
            let answer = service(request);
            async move {
                let answer = answer.await;
                drop(busy);
                Ok::<_, Infallible>(answer.map(|body| Outgoing::new(body, &activity)))
            }
        })
    };
    let builder = builder(protocol, limits);
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    tokio::select! {
        result = connection.as_mut() => return log(result),
        () = stopped(&mut stop) => {}
        () = activity.idle(limits.idle) => {}
        // Whoever asks and does not read is not waited for, whatever else moves.
        () = activity.stuck(limits.answer_stall) => return,
    }
    connection.as_mut().graceful_shutdown();
    // The farewell begins now, however long nothing has moved before.
    activity.moved();
    tokio::select! {
        ended = timeout(limits.shutdown, connection) => if let Ok(result) = ended { log(result) },
        // Who neither waits for an answer nor says goodbye (half a header, HTTP/2 without a word) is not waited for.
        () = activity.idle(FAREWELL) => {}
    }
}

fn builder(protocol: Protocol, limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(usize::try_from(HEADER_BYTES).unwrap_or(usize::MAX));
    builder.http2().timer(TokioTimer::new()).max_header_list_size(HEADER_BYTES).max_concurrent_streams(STREAMS);
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    }
}

fn log(result: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = result {
        // Clients that hang up are everyday life.
        tracing::debug!(%error, "connection ended");
    }
}

/// When something last moved, how many requests are being answered, and since when answers wait to be taken.
#[derive(Debug)]
struct Activity {
    base: Instant,
    last_ms: AtomicU64,
    busy: AtomicUsize,
    unsent: Mutex<HashMap<u64, Instant>>,
    answers: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            last_ms: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            unsent: Mutex::default(),
            answers: AtomicU64::new(0),
        }
    }
}

impl Activity {
    fn moved(&self) {
        let ms = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    /// Returns once nothing has moved for `limit` with no request in progress.
    async fn idle(&self, limit: Duration) {
        loop {
            let until = self.base + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + limit;
            if until <= Instant::now() {
                if self.busy.load(Ordering::Relaxed) == 0 {
                    return;
                }
                self.moved();
                continue;
            }
            sleep_until(until).await;
        }
    }
}

impl Activity {
    fn unsent(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once an answer has waited for `limit` without a piece of it being taken.
    async fn stuck(&self, limit: Duration) {
        loop {
            let oldest = self.unsent().values().min().copied();
            let until = oldest.unwrap_or_else(Instant::now) + limit;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// An answer that is on its way until this is dropped.
struct Unsent {
    activity: Arc<Activity>,
    id: u64,
}

impl Unsent {
    fn new(activity: &Arc<Activity>) -> Self {
        let id = activity.answers.fetch_add(1, Ordering::Relaxed);
        activity.unsent().insert(id, Instant::now());
        Self { activity: activity.clone(), id }
    }

    /// Another piece was asked for: those before it have been taken.
    fn taken(&self) {
        self.activity.unsent().insert(self.id, Instant::now());
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.activity.unsent().remove(&self.id);
    }
}

/// Bytes of an answer; their last reference goes when they have been sent.
struct Piece {
    bytes: Bytes,
    _unsent: Arc<Unsent>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body of an answer, watched until all of it has been sent.
struct Outgoing<B> {
    body: B,
    unsent: Arc<Unsent>,
}

impl<B> Outgoing<B> {
    fn new(body: B, activity: &Arc<Activity>) -> Self {
        Self { body, unsent: Arc::new(Unsent::new(activity)) }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Outgoing<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.unsent.taken();
        let watched = |bytes| Bytes::from_owner(Piece { bytes, _unsent: self.unsent.clone() });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(watched))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request in progress.
struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: Arc<Activity>) -> Self {
        activity.busy.fetch_add(1, Ordering::Relaxed);
        Self(activity)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        self.0.moved();
    }
}

/// A stream that notes when bytes move.
struct Watched<I> {
    io: I,
    activity: Arc<Activity>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.moved();
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        if matches!(polled, Poll::Ready(Ok(1..))) {
            self.activity.moved();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
