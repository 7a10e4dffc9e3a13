//! Request bodies: bounded in size and time, and in memory for all of them together.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes that one permit stands for.
const PIECE: usize = 1024;

/// Memory that all requests share.
#[derive(Debug, Clone)]
pub(super) struct BodyBudget {
    memory: Arc<Semaphore>,
    most: usize,
    time: Duration,
}

/// A body, and its share of the memory.
#[derive(Debug)]
pub(super) struct ReadBody {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Why a body is not read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("too many requests at once, try again")]
    NoRoom,
    #[error("the request body took too long")]
    TooSlow,
    #[error("the request body ended early: {0}")]
    Broken(String),
}

impl BodyError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl BodyBudget {
    pub(super) fn new(memory: usize, most: usize, time: Duration) -> Self {
        Self { memory: Arc::new(Semaphore::new(memory / PIECE)), most, time }
    }

    /// Reads a body. What cannot be had of the memory is refused at once: requests that each hold a part and wait
    /// for the rest would wait for each other.
    pub(super) async fn read<B>(&self, body: B) -> Result<ReadBody, BodyError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        timeout(self.time, self.read_all(body)).await.unwrap_or(Err(BodyError::TooSlow))
    }

    async fn read_all<B>(&self, body: B) -> Result<ReadBody, BodyError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        // The API server says how much will come.
        if body.size_hint().lower() > self.most as u64 {
            return Err(BodyError::TooLarge(self.most));
        }
        let mut body = std::pin::pin!(body);
        let mut bytes = BytesMut::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            let size = bytes.len() + data.len();
            if size > self.most {
                return Err(BodyError::TooLarge(self.most));
            }
            let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let wanted = u32::try_from(size.div_ceil(PIECE).saturating_sub(held)).map_err(|_| BodyError::NoRoom)?;
            let more = self.memory.clone().try_acquire_many_owned(wanted).map_err(|_| BodyError::NoRoom)?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(ReadBody { bytes: bytes.freeze(), _share: share })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn full(size: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b'x'; size]))
    }

    #[tokio::test]
    async fn a_body_is_read_whole_up_to_the_limit_and_refused_beyond() {
        let budget = BodyBudget::new(1 << 20, 5000, SECOND);
        assert_eq!(budget.read(full(5000)).await.unwrap().bytes.len(), 5000);
        assert_eq!(budget.read(full(5001)).await.unwrap_err(), BodyError::TooLarge(5000));
        // One whose size is not told is counted as it comes.
        let frames = [3000, 3000].map(|size| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; size]))));
        let unknown = StreamBody::new(stream::iter(frames));
        assert_eq!(budget.read(unknown).await.unwrap_err(), BodyError::TooLarge(5000));
    }

    #[tokio::test]
    async fn memory_is_shared_and_given_back() {
        let budget = BodyBudget::new(10 * PIECE, 8 * PIECE, SECOND);
        let first = budget.read(full(8 * PIECE)).await.unwrap();
        assert_eq!(budget.read(full(3 * PIECE)).await.unwrap_err(), BodyError::NoRoom);
        assert!(budget.read(full(2 * PIECE)).await.is_ok());
        drop(first);
        assert!(budget.read(full(8 * PIECE)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let budget = BodyBudget::new(1 << 20, 5000, SECOND);
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert_eq!(budget.read(never).await.unwrap_err(), BodyError::TooSlow);
    }
}
