//! One request, one answer or none. Deadlines, the size of answers and `Retry-After` are kept here, for all requests.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use http::header::{DATE, HeaderMap, RETRY_AFTER};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use tokio::runtime::Handle;

/// Cluster protocol, section 10.
pub(crate) const READING: Duration = Duration::from_secs(5);
pub(crate) const WRITING: Duration = Duration::from_secs(10);
/// A Secret of 1 MiB in base64 and everything an API server allows beside it are a fifth of this.
const LONGEST_ANSWER: usize = 16 << 20;
/// Nobody makes us wait longer than this before we ask again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The runtime may be late by this much before a caller stops to wait for it.
const SLACK: Duration = Duration::from_secs(2);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    /// The clock of the API server.
    pub(crate) date: Option<Timestamp>,
    pub(crate) body: Vec<u8>,
}

/// Why nothing came back. Whether the request arrived is not known, unless it was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The API server asked to be left alone for that long.
    HeldOff(Duration),
    Lost(String),
}

/// Sends requests.
#[derive(Clone)]
pub(crate) struct Exchange {
    client: Client,
    runtime: Handle,
    not_before: Arc<Mutex<Option<Instant>>>,
}

impl Exchange {
    pub(crate) fn new(client: Client, runtime: Handle) -> Self {
        Self { client, runtime, not_before: Arc::default() }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Sends a request and waits, on a thread that is none of the runtime's.
    pub(crate) fn wait_for(&self, request: Request<Vec<u8>>, deadline: Duration) -> Result<Answer, NoAnswer> {
        let (sender, answer) = mpsc::sync_channel(1);
        let this = self.clone();
        let task = self.runtime.spawn(async move {
            // Whoever asked may have stopped to wait.
            let _ = sender.send(this.send(request, deadline).await);
        });
        answer.recv_timeout(deadline + SLACK).unwrap_or_else(|_| {
            task.abort();
            Err(NoAnswer::Lost("this process is too busy, or ending".to_owned()))
        })
    }

    /// Sends a request.
    pub(crate) async fn send(&self, request: Request<Vec<u8>>, deadline: Duration) -> Result<Answer, NoAnswer> {
        if let Some(wait) = self.hold_off() {
            return Err(NoAnswer::HeldOff(wait));
        }
        let answer = tokio::time::timeout(deadline, self.exchange(request))
            .await
            .unwrap_or_else(|_| Err(NoAnswer::Lost(format!("no answer within {} s", deadline.as_secs()))))?;
        if let Some(wait) = answer.retry_after.filter(|_| is_overload(answer.status)) {
            *self.not_before.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + wait);
        }
        Ok(answer)
    }

    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Answer, NoAnswer> {
        let lost = |error: &dyn std::error::Error| NoAnswer::Lost(chain(error));
        let response = self.client.send(request.map(Body::from)).await.map_err(|error| lost(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(|error| lost(error.as_ref()))?;
        Ok(Answer {
            status: parts.status,
            retry_after: retry_after(&parts.headers),
            date: date(&parts.headers),
            body: body.to_bytes().to_vec(),
        })
    }

    fn hold_off(&self) -> Option<Duration> {
        let not_before = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        not_before.and_then(|at| at.checked_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }
}

fn is_overload(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// API servers send seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::parse(date).ok().map(|zoned| zoned.timestamp())
}

/// What went wrong, with all its causes; the outermost say little.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn nobody_makes_us_wait_for_long() {
        assert_eq!(retry_after(&headers(RETRY_AFTER, "3")), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(&headers(RETRY_AFTER, "18446744073709551615")), Some(LONGEST_WAIT));
        for other in ["", "-1", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(retry_after(&headers(RETRY_AFTER, other)), None);
        }
    }

    #[test]
    fn the_clock_of_the_server_is_read_from_its_answer() {
        let at = date(&headers(DATE, "Wed, 21 Oct 2026 07:28:00 GMT")).unwrap();
        assert_eq!(at.to_string(), "2026-10-21T07:28:00Z");
        assert_eq!(date(&headers(DATE, "today")), None);
    }
}
