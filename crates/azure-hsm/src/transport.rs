//! One request to a service of Azure: bounded in size and time, tried again while that can help.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{ReleaseError, Roots};

/// Larger than any answer.
const MAX_ANSWER: usize = 1 << 20;
/// One attempt.
const ATTEMPT: Duration = Duration::from_secs(20);
/// Pause before the second attempt; doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// A client for all of them, with one deadline.
pub(crate) struct Transport {
    client: Client,
    deadline: Instant,
}

/// What is sent.
pub(crate) struct Call<'a> {
    /// Name of the service, for errors.
    pub service: &'static str,
    pub url: String,
    pub content_type: &'static str,
    pub body: Zeroizing<String>,
    pub bearer: Option<&'a str>,
}

impl Transport {
    pub(crate) fn new(roots: &Roots, within: Duration) -> Result<Self, ReleaseError> {
        let failed = |reason: String| ReleaseError::NoAnswer { service: "the HTTP client", reason };
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?
            .with_root_certificates(roots.0.clone())
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .build()
            .map_err(|error| failed(chain(&error)))?;
        Ok(Self { client, deadline: Instant::now() + within })
    }

    /// Sends until there is an answer that another attempt would not change, or the deadline has come.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Value, ReleaseError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let (reason, wanted) = match self.attempt(call).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Refusal { retry: None, reason })) => {
                    return Err(ReleaseError::Refused { service: call.service, reason });
                }
                Ok(Err(Refusal { retry: Some(wanted), reason })) => (reason, wanted),
                Err(reason) => (reason, Duration::ZERO),
            };
            let next = Instant::now() + pause.max(wanted);
            if next >= self.deadline {
                return Err(ReleaseError::NoAnswer { service: call.service, reason });
            }
            tracing::warn!(service = call.service, %reason, "no answer that counts; trying again");
            tokio::time::sleep_until(next).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// `Err`: no answer at all.
    async fn attempt(&self, call: &Call<'_>) -> Result<Result<Value, Refusal>, String> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = ATTEMPT.min(left);
        let exchange = async {
            let mut request = self.client.request(Method::POST, &call.url);
            request = request.header(CONTENT_TYPE, HeaderValue::from_static(call.content_type));
            if let Some(token) = call.bearer {
                request = request.bearer_auth(token);
            }
            let response = request.body(call.body.as_bytes().to_vec()).send().await.map_err(|error| chain(&error))?;
            let (status, retry_after) = (response.status(), retry_after(&response));
            Ok::<_, String>((status, retry_after, read(response).await?))
        };
        let timeout = || format!("no answer within {:.1} s", limit.as_secs_f32());
        let (status, retry_after, body) = tokio::time::timeout(limit, exchange).await.map_err(|_| timeout())??;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map(Ok).map_err(|_| "the answer is not JSON".to_owned());
        }
        let again =
            status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        let reason = format!("{status}{}", explanation(&body));
        Ok(Err(Refusal { retry: again.then_some(retry_after.unwrap_or_default()), reason }))
    }
}

struct Refusal {
    /// When another attempt may help: not before this time.
    retry: Option<Duration>,
    reason: String,
}

async fn read(mut response: Response) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(part) = response.chunk().await.map_err(|error| chain(&error))? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err("the answer is too long".to_owned());
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

fn retry_after(response: &Response) -> Option<Duration> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// What Azure says about an error: `{"error":{"code","message"}}`, or of the login service
/// `{"error","error_description"}`. Printable, and short.
fn explanation(body: &[u8]) -> String {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return String::new() };
    let error = body.get("error");
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let code = error.and_then(|error| error.get("code")).or(error);
    let message = error.and_then(|error| error.get("message")).or_else(|| body.get("error_description"));
    let words = [text(code), text(message)].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(": ");
    let printable: String =
        words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(400).collect();
    if printable.is_empty() { printable } else { format!(": {printable}") }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_are_short_and_printable() {
        let vault = br#"{"error":{"code":"Forbidden","message":"Target environment attestation\nfailed"}}"#;
        assert_eq!(explanation(vault), ": Forbidden: Target environment attestation failed");
        let login = br#"{"error":"invalid_client","error_description":"AADSTS7000215"}"#;
        assert_eq!(explanation(login), ": invalid_client: AADSTS7000215");
        for other in [&b"<html>"[..], b"{}", b"[]", br#"{"error":7}"#] {
            assert_eq!(explanation(other), "");
        }
        let long = format!(r#"{{"error":"{}"}}"#, "x".repeat(1000));
        assert_eq!(explanation(long.as_bytes()).len(), 402);
    }
}
