//! Answers without an envelope: those of the client API v3. Refusals are problem details.

use std::time::Duration;

use http::StatusCode;
use marblerun_api::v3::Problem;
use serde::de::DeserializeOwned;

use super::{MAX_ANSWER, Rest, chain, explained, form_encode};
use crate::ClientError;
use crate::error::Refusal;

/// An answer that has begun, whatever its status.
struct Begun {
    url: String,
    response: reqwest::Response,
}

impl Rest {
    /// `GET path?query`, answered with a JSON document.
    pub(crate) async fn get_plain<T: DeserializeOwned>(
        &self,
        what: &'static str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let mut begun = self.begin(path, query, None).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = begun.response.chunk().await.map_err(|error| transport(&begun.url, &error))? {
            if bytes.len() + piece.len() > MAX_ANSWER {
                return Err(ClientError::protocol(what, "it is larger than 64 MiB"));
            }
            bytes.extend_from_slice(&piece);
        }
        serde_json::from_slice(&bytes).map_err(|error| ClientError::protocol(what, error))
    }

    /// `GET path`, answered with bytes of any number, which are handed on as they come. `patience` is how long they may
    /// stand still. Answers how many there were.
    pub(crate) async fn get_bytes(
        &self,
        path: &str,
        patience: Duration,
        mut sink: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<u64, ClientError> {
        const WHAT: &str = "backup";
        /// No time limit for all of it: it may be large.
        const WHOLE: Duration = Duration::from_secs(24 * 3600);
        let begun = tokio::time::timeout(patience, self.begin(path, &[], Some(WHOLE)));
        let late = |_| ClientError::protocol(WHAT, "the Coordinator stopped sending");
        let mut begun = begun.await.map_err(late)??;
        let mut count = 0;
        loop {
            let piece = tokio::time::timeout(patience, begun.response.chunk()).await.map_err(late)?;
            let Some(piece) = piece.map_err(|error| transport(&begun.url, &error))? else { return Ok(count) };
            count += piece.len() as u64;
            sink(&piece).map_err(|error| ClientError::protocol(WHAT, error))?;
        }
    }

    /// Sends, and tells refusals.
    async fn begin(&self, path: &str, query: &[(&str, &str)], timeout: Option<Duration>) -> Result<Begun, ClientError> {
        let mut url = self.endpoint.url(path);
        for (index, (key, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&format!("{}={}", form_encode(key), form_encode(value)));
        }
        let mut request = self.http.get(&url);
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        let mut response = request.send().await.map_err(|error| transport(&url, &error))?;
        let code = response.status();
        if code == StatusCode::OK {
            return Ok(Begun { url, response });
        }
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| transport(&url, &error))? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > MAX_ANSWER {
                break;
            }
        }
        let problem: Option<Problem> = serde_json::from_slice(&bytes).ok();
        let (status, message) = problem.map(|problem| (problem.code, problem.detail)).unwrap_or_default();
        Err(match code {
            StatusCode::UNAUTHORIZED => ClientError::Unauthorized { method: "GET", url, message },
            _ => ClientError::Refused(Box::new(Refusal {
                method: "GET",
                url,
                code: code.as_u16(),
                reason: code.canonical_reason().unwrap_or_default().to_owned(),
                status,
                message,
                data: String::new(),
            })),
        })
    }
}

fn transport(url: &str, error: &reqwest::Error) -> ClientError {
    let reason = explained(chain(error));
    let untrusted = reason.contains("certificate");
    ClientError::Transport { method: "GET", url: url.to_owned(), reason, untrusted }
}
