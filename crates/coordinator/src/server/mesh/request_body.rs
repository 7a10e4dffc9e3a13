//! The body of a gRPC request, watched while tonic reads it: a message that announces more than the limit is
//! refused in the words of upstream before any of it is read, a slow one is cut off, and what is read counts against
//! the budget that all request bodies of this listener have together.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use crate::server::http::budget::BodyShare;

/// A gRPC message starts with a compression flag and its length, four bytes big endian.
const PREFIX: usize = 5;

/// A body with a limit for its first message and for its time.
pub(super) struct RequestBody<B> {
    body: B,
    limit: usize,
    prefix: Vec<u8>,
    deadline: Pin<Box<Sleep>>,
    share: Arc<Mutex<BodyShare>>,
}

impl<B> RequestBody<B> {
    /// `share` outlives the body, as the message that was read from it does.
    pub(super) fn new(body: B, limit: usize, time: Duration, share: Arc<Mutex<BodyShare>>) -> Self {
        Self { body, limit, prefix: Vec::with_capacity(PREFIX), deadline: Box::pin(sleep(time)), share }
    }

    fn count(&self, data: &[u8]) -> Result<(), Status> {
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        share
            .grow(data.len())
            .map_err(|_| Status::unavailable("too much is being uploaded at the same time; try again"))
    }

    /// Looks at the announced length as soon as it is complete.
    fn check(&mut self, data: &[u8]) -> Result<(), Status> {
        let missing = PREFIX.saturating_sub(self.prefix.len());
        if missing == 0 {
            return Ok(());
        }
        self.prefix.extend(data.iter().take(missing));
        let &[_flag, a, b, c, d] = self.prefix.as_slice() else { return Ok(()) };
        let length = u32::from_be_bytes([a, b, c, d]);
        if usize::try_from(length).is_ok_and(|length| length <= self.limit) {
            return Ok(());
        }
        let limit = self.limit;
        Err(Status::resource_exhausted(format!("grpc: received message larger than max ({length} vs. {limit})")))
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Status::deadline_exceeded("the request took too long to arrive").into())));
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        if let Some(data) = frame.data_ref()
            && let Err(status) = self.check(data).and_then(|()| self.count(data))
        {
            return Poll::Ready(Some(Err(status.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
