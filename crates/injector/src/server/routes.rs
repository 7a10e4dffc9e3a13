//! Requests and what is answered to them. Status codes and texts are upstream's.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;

use crate::admission::{self, Answer, Decision, ReviewError, Rules};

use super::body::BodyBudget;

/// What requests are answered with.
#[derive(Debug)]
pub(super) struct App {
    pub(super) rules: Rules,
    pub(super) bodies: BodyBudget,
}

impl App {
    /// Answers any request.
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        match request.uri().path() {
            "/mutate" => self.mutate(request).await.unwrap_or_else(|refused| {
                tracing::warn!(status = refused.status.as_u16(), "request refused: {}", refused.text);
                refused.response()
            }),
            // The kubelet asks every few seconds; that is not worth a line in the log.
            "/healthz" => Response::new(Full::default()),
            _ => Refused::new(StatusCode::NOT_FOUND, "not found: this server has /mutate and /healthz").response(),
        }
    }

    async fn mutate<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, Refused>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        if request.method() != Method::POST {
            return Err(Refused::new(StatusCode::BAD_REQUEST, "unable to handle requests other than POST"));
        }
        if !request.headers().get(CONTENT_TYPE).is_some_and(is_json) {
            return Err(Refused::new(StatusCode::BAD_REQUEST, "wrong application type"));
        }
        let body = self.bodies.read(request.into_body()).await;
        let body = body.map_err(|error| Refused::new(error.status(), error.to_string()))?;
        let answer = admission::answer(&body.bytes, &self.rules)?;
        log(&answer);
        let mut response = Response::new(Full::new(Bytes::from(answer.body)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

/// Parameters do not change what JSON is.
fn is_json(content_type: &HeaderValue) -> bool {
    let media_type = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

fn log(answer: &Answer) {
    let Answer { uid, namespace, pod, decision, .. } = answer;
    match decision {
        Decision::Denied(refusal) => tracing::warn!(uid, namespace, pod, "pod refused: {refusal}"),
        Decision::Injected { marble_type, patch, warnings } => {
            tracing::info!(uid, namespace, pod, marble_type, additions = patch.0.len(), ?warnings, "pod is a Marble");
        }
    }
}

/// An answer without a decision.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    text: String,
}

impl Refused {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// In the form of Go's `http.Error`.
    fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.text + "\n")));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

impl From<ReviewError> for Refused {
    fn from(error: ReviewError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("unable to mutate request: {error}"))
    }
}

#[cfg(test)]
mod tests;
