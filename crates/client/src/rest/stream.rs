//! Answers of any length, handed on as they come.

use std::time::Duration;

use http::{Method, StatusCode};

use super::{Answer, Rest};
use crate::ClientError;

const WHAT: &str = "backup";
/// No time limit for all of it: it may be large.
const WHOLE: Duration = Duration::from_secs(24 * 3600);

impl Rest {
    /// `GET path` of API v3, answered with bytes of any number. `patience` is how long they may stand still. Answers how
    /// many there were.
    pub(crate) async fn get_bytes(
        &self,
        path: &str,
        patience: Duration,
        mut sink: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<u64, ClientError> {
        let url = self.endpoint.url(path);
        let late = |_| ClientError::protocol(WHAT, "the Coordinator stopped sending");
        let request = self.http.request(Method::GET, &url).timeout(WHOLE).send();
        let begun = tokio::time::timeout(patience, request).await.map_err(late)?;
        let mut response = begun.map_err(|error| super::no_answer("GET", &url, &error))?;
        let code = response.status();
        if code != StatusCode::OK {
            let body = tokio::time::timeout(patience, self.body("GET", &url, response)).await.map_err(late)??;
            return Err(super::refused_by_v3("GET", url, &Answer { code, body }));
        }
        let mut count = 0;
        loop {
            let piece = tokio::time::timeout(patience, response.chunk()).await.map_err(late)?;
            let Some(piece) = piece.map_err(|error| super::no_answer("GET", &url, &error))? else { return Ok(count) };
            count += piece.len() as u64;
            sink(&piece).map_err(|error| ClientError::protocol(WHAT, error))?;
        }
    }
}
