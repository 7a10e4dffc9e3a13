//! One request, and what happens to it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::memory::Answer;
use super::proxy::Shared;
use super::upstream::{Outgoing, strip};
use super::{Call, Fault, Link, Verb, watch};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// What the client sees, and what really happened.
pub struct Outcome {
    /// Nothing: its connection breaks.
    pub response: Option<Response<Body>>,
    pub fault: Fault,
}

/// Does one request.
pub async fn perform(shared: &Arc<Shared>, call: &Call, fault: Fault, request: Request<Incoming>) -> Outcome {
    let broken = |fault| Outcome { response: None, fault };
    if fault == Fault::LoseRequest || silence(shared).await {
        return broken(fault);
    }
    let (mut head, body) = request.into_parts();
    if head.headers.contains_key(header::UPGRADE) {
        return Outcome { response: Some(refusal(501, None)), fault: Fault::Pass };
    }
    strip(&mut head.headers);
    let Ok(body) = body.collect().await else { return broken(Fault::Pass) };
    let outgoing = Outgoing {
        method: head.method,
        path_and_query: call.uri.clone(),
        headers: head.headers,
        body: body.to_bytes(),
    };
    let (response, fault) = answer(shared, call, fault, outgoing).await;
    // What comes while nothing gets through is lost.
    if silence(shared).await { broken(fault) } else { Outcome { response, fault } }
}

/// The answer, if any, and what really happened.
async fn answer(
    shared: &Arc<Shared>,
    call: &Call,
    fault: Fault,
    outgoing: Outgoing,
) -> (Option<Response<Body>>, Fault) {
    match fault {
        Fault::LoseRequest => return (None, fault),
        Fault::Delay(time) => sleep(time).await,
        Fault::Refuse { status, retry_after } => return (Some(refusal(status, retry_after)), fault),
        Fault::LandLate { after, answer } => {
            let (late, call) = (shared.clone(), call.clone());
            let landing = shared.landing();
            tokio::spawn(async move {
                sleep(after).await;
                // Nobody waits for the answer.
                let _ = ask(&late, &call, outgoing).await;
                drop(landing);
            });
            return (answer.map(|status| refusal(status, None)), fault);
        }
        Fault::Stale { back } => {
            let answer = shared.memory().stale(call, accept(&outgoing), back);
            return match answer {
                Some(answer) => (Some(response(answer)), fault),
                None => (ask(shared, call, outgoing).await.map(response), Fault::Pass),
            };
        }
        Fault::RollBack { back } => {
            let fault = if roll_back(shared, call, back, &outgoing).await.is_some() { fault } else { Fault::Pass };
            return (pass_on(shared, call, Fault::Pass, outgoing).await, fault);
        }
        Fault::Pass
        | Fault::LoseAnswer
        | Fault::Hide { .. }
        | Fault::Repeat
        | Fault::EndWatch { .. }
        | Fault::StallWatch { .. }
        | Fault::ExpireWatch { .. } => {}
    }
    (pass_on(shared, call, fault, outgoing).await, fault)
}

async fn pass_on(shared: &Shared, call: &Call, fault: Fault, outgoing: Outgoing) -> Option<Response<Body>> {
    if call.verb == Verb::Watch {
        let opened = shared.upstream.open(outgoing).await.ok()?;
        return Some(opened.map(|events| watch::with_fault(events, fault, shared.link())));
    }
    let again = (fault == Fault::Repeat).then(|| outgoing.clone());
    let answer = ask(shared, call, outgoing).await?;
    match (fault, again) {
        (Fault::LoseAnswer, _) => None,
        (Fault::Hide { status }, _) => Some(refusal(status, None)),
        (_, Some(again)) => ask(shared, call, again).await.map(response),
        _ => Some(response(answer)),
    }
}

async fn ask(shared: &Shared, call: &Call, outgoing: Outgoing) -> Option<Answer> {
    let accept = accept(&outgoing).to_owned();
    let answer = shared.upstream.ask(outgoing).await.ok()?;
    shared.memory().keep(call, &accept, &answer);
    Some(answer)
}

/// Writes an older version over the present one, as somebody with access to the store does.
async fn roll_back(shared: &Shared, call: &Call, back: usize, outgoing: &Outgoing) -> Option<()> {
    let (path, older) = shared.memory().version(call, back)?;
    let mut request = outgoing.clone();
    request.headers.retain_only(header::AUTHORIZATION);
    request.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.path_and_query = path;
    let get = Outgoing { method: http::Method::GET, body: Bytes::new(), ..request.clone() };
    let present: Value = serde_json::from_slice(&shared.upstream.ask(get).await.ok()?.body).ok()?;
    let mut object: Value = serde_json::from_slice(&older).ok()?;
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    for field in ["resourceVersion", "uid"] {
        metadata.insert(field.to_owned(), present.pointer(&format!("/metadata/{field}"))?.clone());
    }
    let put = Outgoing { method: http::Method::PUT, body: object.to_string().into(), ..request };
    shared.upstream.ask(put).await.ok()?.status.is_success().then_some(())
}

trait RetainOnly {
    fn retain_only(&mut self, name: header::HeaderName);
}

impl RetainOnly for http::HeaderMap {
    fn retain_only(&mut self, name: header::HeaderName) {
        let value = self.remove(&name);
        self.clear();
        self.extend(value.map(|value| (name, value)));
    }
}

/// Waits for the end of silence, if there is one.
async fn silence(shared: &Shared) -> bool {
    let mut link = shared.link();
    let is_silent = *link.borrow() == Link::Silent;
    if is_silent {
        let _ = link.wait_for(|link| *link != Link::Silent).await;
    }
    is_silent
}

fn accept(outgoing: &Outgoing) -> &str {
    outgoing.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn response(answer: Answer) -> Response<Body> {
    let mut response = Response::new(whole(answer.body));
    (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
    response
}

fn refusal(status: u16, retry_after: Option<u32>) -> Response<Body> {
    let mut response = Response::new(whole(failure(status, retry_after).to_string().into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A `Status` as the API server words it.
pub fn failure(status: u16, retry_after: Option<u32>) -> Value {
    let reason = match status {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let mut object = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{status} on purpose"), "reason": reason, "code": status,
    });
    if let (Some(seconds), Some(fields)) = (retry_after, object.as_object_mut()) {
        fields.insert("details".to_owned(), json!({"retryAfterSeconds": seconds}));
    }
    object
}
