//! Request bodies: bounded in size, in time, and all together.
//!
//! Bodies carry secrets, so what they are collected in is wiped. Nothing is reserved on the word of a
//! `Content-Length`; memory is taken as bytes arrive and counted against one budget for all requests of a listener.

use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use super::budget::{BodyBudget, BodyShare, NoRoom};

/// How much of a body a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum BodyRule {
    /// The route has no body; one that is sent is not looked at.
    Ignored,
    /// At most so many bytes; more is refused with 413.
    AtMost(usize),
    /// The first so many bytes are taken, the rest is not looked at.
    First(usize),
}

/// How long a client may take over its body.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct BodyTimes {
    /// Between two pieces.
    pub(in crate::server) stall: Duration,
    /// In all.
    pub(in crate::server) total: Duration,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum BodyError {
    /// Larger than the rule allows.
    TooLarge(usize),
    /// The client stopped sending.
    Aborted,
    /// The client was too slow.
    TimedOut,
    /// Too much is being uploaded by all clients together.
    Busy,
}

/// A body with its share of the budget, which is given back when this is dropped.
pub(in crate::server) struct ReadBody {
    /// The bytes.
    pub(in crate::server) bytes: Zeroizing<Vec<u8>>,
    share: BodyShare,
}

/// How much of a refused body is read and thrown away, so that the client sees the refusal and not a reset connection.
const DRAIN_AFTER_REFUSAL: usize = 256 * 1024;
const DRAIN_TOO_LARGE: usize = 32 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Reads a body under a rule.
///
/// # Errors
/// [`BodyError`].
pub(in crate::server) async fn read<B>(
    mut body: B,
    rule: BodyRule,
    times: BodyTimes,
    budget: &BodyBudget,
) -> Result<ReadBody, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut read = ReadBody { bytes: Zeroizing::default(), share: budget.share() };
    let (limit, refuse) = match rule {
        BodyRule::Ignored => {
            discard(&mut body, DRAIN_AFTER_REFUSAL).await;
            return Ok(read);
        }
        BodyRule::AtMost(limit) => (limit, true),
        BodyRule::First(limit) => (limit, false),
    };
    let too_large = |announced: u64| refuse && usize::try_from(announced).map_or(true, |n| n > limit);
    if too_large(body.size_hint().lower()) {
        discard(&mut body, DRAIN_TOO_LARGE).await;
        return Err(BodyError::TooLarge(limit));
    }
    let deadline = Instant::now() + times.total;
    loop {
        let next = timeout_at(deadline, timeout(times.stall, body.frame())).await;
        let frame = match next {
            Ok(Ok(None)) => return Ok(read),
            Ok(Ok(Some(frame))) => frame.map_err(|_| BodyError::Aborted)?,
            Ok(Err(_)) | Err(_) => return Err(BodyError::TimedOut),
        };
        let Ok(data) = frame.into_data() else { continue };
        let wanted = data.get(..data.len().min(limit - read.bytes.len())).unwrap_or_default();
        let ReadBody { bytes, share } = &mut read;
        append(bytes, wanted, share).map_err(|NoRoom| BodyError::Busy)?;
        if wanted.len() < data.len() {
            discard(&mut body, if refuse { DRAIN_TOO_LARGE } else { DRAIN_AFTER_REFUSAL }).await;
            return if refuse { Err(BodyError::TooLarge(limit)) } else { Ok(read) };
        }
    }
}

/// Appends without leaving a copy behind: growing in place would free the old bytes unwiped. What counts is what is
/// allocated.
fn append(buffer: &mut Zeroizing<Vec<u8>>, data: &[u8], share: &mut BodyShare) -> Result<(), NoRoom> {
    let length = buffer.len() + data.len();
    if length > buffer.capacity() {
        let capacity = length.max(buffer.capacity() * 2);
        share.grow(capacity - buffer.capacity())?;
        let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(data);
    Ok(())
}

/// Throws a body away that a refusal makes useless.
pub(in crate::server) async fn discard_refused<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin,
{
    discard(&mut body, DRAIN_AFTER_REFUSAL).await;
}

async fn discard<B>(body: &mut B, most: usize)
where
    B: Body<Data = Bytes> + Unpin,
{
    let reading = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > most {
                break;
            }
        }
    };
    let _ = timeout(DRAIN_TIME, reading).await;
}

#[cfg(test)]
mod tests;
