use std::convert::Infallible;

use futures_util::stream;
use http_body::Frame;
use http_body_util::{Full, StreamBody};

use super::super::budget::PIECE;
use super::*;

const TIMES: BodyTimes = BodyTimes { stall: Duration::from_secs(1), total: Duration::from_secs(3) };

fn budget() -> BodyBudget {
    BodyBudget::new(1024 * 1024)
}

/// A body of unknown length that arrives in pieces, each after a pause.
fn pieces(count: usize, size: usize, pause: Duration) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
    let stream = stream::unfold(0, move |sent| async move {
        tokio::time::sleep(pause).await;
        (sent < count).then(|| (Ok(Frame::data(Bytes::from(vec![b'x'; size]))), sent + 1))
    });
    StreamBody::new(Box::pin(stream))
}

async fn length<B: Body<Data = Bytes> + Unpin>(body: B, rule: BodyRule) -> Result<usize, BodyError> {
    read(body, rule, TIMES, &budget()).await.map(|read| read.bytes.len())
}

#[tokio::test(start_paused = true)]
async fn a_body_within_its_limit_is_read_whole() {
    assert_eq!(length(Full::new(Bytes::from_static(b"hello")), BodyRule::AtMost(5)).await, Ok(5));
    assert_eq!(length(pieces(10, 100, Duration::ZERO), BodyRule::AtMost(1000)).await, Ok(1000));
    assert_eq!(length(Full::new(Bytes::new()), BodyRule::AtMost(0)).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_body_above_its_limit_is_refused_announced_or_not() {
    let announced = Full::new(Bytes::from_static(b"hello!"));
    assert_eq!(length(announced, BodyRule::AtMost(5)).await, Err(BodyError::TooLarge(5)));
    assert_eq!(length(pieces(11, 100, Duration::ZERO), BodyRule::AtMost(1000)).await, Err(BodyError::TooLarge(1000)));
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_first_bytes_cuts_and_does_not_refuse() {
    assert_eq!(length(Full::new(Bytes::from_static(b"hello!")), BodyRule::First(5)).await, Ok(5));
    assert_eq!(length(pieces(11, 100, Duration::ZERO), BodyRule::First(250)).await, Ok(250));
    assert_eq!(length(pieces(2, 100, Duration::ZERO), BodyRule::First(250)).await, Ok(200));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stalls_or_dawdles_is_cut_off() {
    let stalled = pieces(2, 10, Duration::from_secs(2));
    assert_eq!(length(stalled, BodyRule::AtMost(1000)).await, Err(BodyError::TimedOut));
    let dawdling = pieces(100, 1, Duration::from_millis(900));
    assert_eq!(length(dawdling, BodyRule::AtMost(1000)).await, Err(BodyError::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_off_is_told_from_one_that_ends() {
    let broken = stream::iter([Ok(Frame::data(Bytes::from_static(b"{"))), Err("reset")]);
    assert_eq!(length(StreamBody::new(broken), BodyRule::AtMost(1000)).await, Err(BodyError::Aborted));
}

#[tokio::test(start_paused = true)]
async fn all_bodies_together_stay_within_the_budget_and_give_it_back() {
    let budget = BodyBudget::new(16 * PIECE);
    let body = || pieces(10, PIECE, Duration::ZERO);
    let rule = BodyRule::AtMost(100 * PIECE);
    let first = read(body(), rule, TIMES, &budget).await.unwrap();
    assert_eq!(read(body(), rule, TIMES, &budget).await.err(), Some(BodyError::Busy));
    drop(first);
    assert!(read(body(), rule, TIMES, &budget).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn large_uploads_leave_room_for_small_requests() {
    let budget = BodyBudget::new(80 * PIECE);
    let large = || pieces(28, PIECE, Duration::ZERO);
    let rule = BodyRule::AtMost(100 * PIECE);
    let _first = read(large(), rule, TIMES, &budget).await.unwrap();
    let _second = read(large(), rule, TIMES, &budget).await.unwrap();
    assert_eq!(read(large(), rule, TIMES, &budget).await.err(), Some(BodyError::Busy));
    assert!(read(pieces(2, PIECE, Duration::ZERO), rule, TIMES, &budget).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_is_refused_in_bounded_memory_and_time() {
    let endless = pieces(usize::MAX, 1024 * 1024, Duration::from_millis(1));
    let started = Instant::now();
    assert_eq!(length(endless, BodyRule::AtMost(1024)).await, Err(BodyError::TooLarge(1024)));
    assert!(started.elapsed() < Duration::from_secs(10));
}
