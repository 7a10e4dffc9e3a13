//! The body of an answer: bytes in memory, or a file that is read as fast as the client takes it.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::sync::mpsc;

/// Bytes read at a time. With the channel below, a client holds at most three such pieces in memory.
const PIECE: usize = 64 * 1024;

/// A body.
pub(in crate::server) enum AnswerBody {
    /// Whole, in memory.
    Whole(Full<Bytes>),
    /// Piece by piece.
    Pieces {
        /// From a thread that reads.
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        /// Bytes to come.
        left: u64,
    },
}

impl AnswerBody {
    /// Reads `length` bytes on a thread that may block. Ends with an error if there are fewer, so that the client
    /// knows. The thread ends when the body is dropped.
    pub(in crate::server) fn read_from(source: impl Read + Send + 'static, length: u64) -> Self {
        let (sender, pieces) = mpsc::channel(1);
        tokio::task::spawn_blocking(move || {
            let mut source = source.take(length);
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                let read = source.by_ref().take(PIECE as u64).read_to_end(&mut piece);
                let message = match read {
                    Ok(0) => return,
                    Ok(_) => Ok(Bytes::from(piece)),
                    Err(error) => Err(error),
                };
                let failed = message.is_err();
                if sender.blocking_send(message).is_err() || failed {
                    return;
                }
            }
        });
        Self::Pieces { pieces, left: length }
    }
}

impl Default for AnswerBody {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

impl From<Bytes> for AnswerBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Pieces { left: 0, .. } => Poll::Ready(None),
            Self::Pieces { pieces, left } => {
                let piece = ready!(pieces.poll_recv(cx)).unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
                Poll::Ready(Some(piece.map(|piece| {
                    *left = left.saturating_sub(piece.len() as u64);
                    Frame::data(piece)
                })))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Pieces { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Pieces { left, .. } => SizeHint::with_exact(*left),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_file_arrives_whole_in_pieces() {
        let bytes: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let body = AnswerBody::read_from(io::Cursor::new(bytes.clone()), bytes.len() as u64);
        assert_eq!(body.size_hint().exact(), Some(300_000));
        assert!(body.collect().await.unwrap().to_bytes() == bytes);
        let nothing = AnswerBody::read_from(io::empty(), 0);
        assert!(nothing.is_end_stream());
        assert_eq!(nothing.collect().await.unwrap().to_bytes().len(), 0);
    }

    #[tokio::test]
    async fn a_file_that_ends_early_is_an_error_and_not_a_short_answer() {
        let body = AnswerBody::read_from(io::Cursor::new(vec![1; 99]), 100);
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn no_more_is_read_than_the_client_takes() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};

        struct Endless(Arc<AtomicUsize>);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.fetch_add(buffer.len(), Ordering::SeqCst);
                Ok(buffer.len())
            }
        }
        let read = Arc::new(AtomicUsize::new(0));
        let mut body = AnswerBody::read_from(Endless(read.clone()), u64::MAX);
        body.frame().await.unwrap().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(read.load(Ordering::SeqCst) <= 4 * PIECE);
    }
}
