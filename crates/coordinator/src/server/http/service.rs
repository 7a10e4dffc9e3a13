//! One request of the client API, from its arrival to its line in the log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt as _;

use super::body::discard_refused;
use super::envelope::{self, Answer};
use super::outgoing;
use super::path::Target;
use super::router::{Incoming, request_size};
use crate::core::PeerCertificate;
use crate::error::{Error, ErrorKind};
use crate::server::App;
use crate::server::metrics::UNKNOWN_PATH;
use crate::untrusted::for_log;

/// Where unknown paths and methods get the status that fits, and not upstream's 405 for everything.
const V3: &str = "/api/v3/";

/// The one route besides those of GET that changes nothing.
const CHECK: &str = "/api/v3/manifest/check";

/// Who sent a request.
#[derive(Debug, Clone)]
pub(in crate::server) struct Sender {
    /// Address of the connection.
    pub(in crate::server) address: SocketAddr,
    /// The leaf certificate of the connection.
    pub(in crate::server) certificate: Option<PeerCertificate>,
}

/// Answers a request.
pub(in crate::server) async fn serve<B>(app: Arc<App>, sender: Sender, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let started = Instant::now();
    let request_id = uuid::Uuid::new_v4().simple().to_string();
    let (head, body) = request.into_parts();
    let target = Target::of(&head.method, &head.uri);
    let found = match &target {
        Target::Path(path) => app.router.find(path),
        _ => None,
    };
    let path = found.map_or(UNKNOWN_PATH, |(path, _)| path);
    let (method, size) = (head.method.clone(), request_size(&head));
    let in_flight = app.metrics.http_started(path);

    let body = body.map_err(Into::into).boxed_unsync();
    let route = found.and_then(|(_, routes)| routes.method(&method));
    let answer = match route {
        Some(route) => {
            let incoming = Incoming { head, body, peer: sender.certificate.clone(), request_id: request_id.clone() };
            route.serve(app.clone(), incoming).await
        }
        None => {
            discard_refused(body).await;
            no_route(&target, &method, found.map(|(_, routes)| routes.methods()), &request_id)
        }
    };

    let answer = if method == Method::HEAD { without_body(answer) } else { answer };
    // What answers a change may be the only copy of something, so it is sent in any case.
    let repeatable = method == Method::GET || path == CHECK;
    let answer = match outgoing::held(answer, &app.answers).await {
        Err(_) if repeatable => no_room(path, &request_id),
        Ok(answer) | Err(answer) => answer,
    };
    drop(in_flight);
    let (status, length) = (answer.status(), answer.body().size_hint().exact().unwrap_or_default());
    app.metrics.http_finished(path, &method, status, started.elapsed(), size, length);
    log(&target, &method, path, status, length, started, &sender, &request_id);
    answer
}

/// Large answers wait for clients that do not read them.
fn no_room(path: &str, request_id: &str) -> Answer {
    let message = "too many large answers are being sent at the same time; try again";
    if path.starts_with(V3) {
        let error = Error::new(ErrorKind::Unavailable, "busy", message);
        return envelope::problem(StatusCode::SERVICE_UNAVAILABLE, &error, request_id);
    }
    envelope::error(StatusCode::SERVICE_UNAVAILABLE, message)
}

/// The headers alone, with the length the body would have. HTTP/1.1 connections would leave the body out by
/// themselves; on HTTP/2 it would be an error.
fn without_body(mut answer: Answer) -> Answer {
    let body = std::mem::take(answer.body_mut());
    if let Some(length) = body.size_hint().exact() {
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    answer
}

/// The answer where no route is: upstream answers 405 to everything it does not know, and its clients build on it.
fn no_route(target: &Target, method: &Method, known: Option<Vec<&Method>>, request_id: &str) -> Answer {
    match target {
        Target::Path(path) if path.starts_with(V3) => no_route_in_v3(known, request_id),
        Target::Path(_) => envelope::error(StatusCode::METHOD_NOT_ALLOWED, ""),
        Target::Redirect(location) => redirect(location, method),
        Target::Server => {
            let mut answer = Answer::default();
            answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            answer
        }
        Target::Malformed => envelope::text(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", "400 Bad Request"),
    }
}

fn no_route_in_v3(known: Option<Vec<&Method>>, request_id: &str) -> Answer {
    let Some(known) = known else {
        let error = Error::new(ErrorKind::NotFound, "no_such_path", "there is nothing here");
        return envelope::problem(StatusCode::NOT_FOUND, &error, request_id);
    };
    let error = Error::new(ErrorKind::BadRequest, "no_such_method", "this method is not possible here");
    let mut answer = envelope::problem(StatusCode::METHOD_NOT_ALLOWED, &error, request_id);
    let allow = known.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}

fn redirect(location: &str, method: &Method) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    if matches!(*method, Method::GET | Method::HEAD) {
        let href = location.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
        let body = format!("<a href=\"{href}\">Temporary Redirect</a>.\n\n");
        answer = envelope::text(StatusCode::TEMPORARY_REDIRECT, "text/html; charset=utf-8", body);
    }
    match HeaderValue::from_str(location) {
        Ok(location) => {
            answer.headers_mut().insert(header::LOCATION, location);
            answer
        }
        Err(_) => envelope::text(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", "400 Bad Request"),
    }
}

/// Longest unknown path that is logged.
const LOGGED_PATH: usize = 200;

#[allow(clippy::too_many_arguments, reason = "the fields of one log line")]
fn log(
    target: &Target,
    method: &Method,
    path: &str,
    status: StatusCode,
    length: u64,
    started: Instant,
    sender: &Sender,
    request_id: &str,
) {
    // What was asked for is a stranger's text: bounded, escaped, and without its query.
    let asked = match target {
        Target::Path(asked) if path == UNKNOWN_PATH => {
            asked.chars().take(LOGGED_PATH).flat_map(char::escape_debug).collect()
        }
        Target::Path(_) => path.to_owned(),
        Target::Redirect(_) => "(redirected)".to_owned(),
        Target::Server => "*".to_owned(),
        Target::Malformed => "(malformed)".to_owned(),
    };
    let method = for_log(method.as_str());
    let (status, ms) = (status.as_u16(), u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
    let peer = sender.address;
    // Probes come every few seconds and tell nothing new.
    if path.ends_with("/healthz") || path.ends_with("/readyz") {
        tracing::debug!(request_id, method, path = asked, status, bytes = length, ms, %peer, "request");
    } else {
        tracing::info!(request_id, method, path = asked, status, bytes = length, ms, %peer, "request");
    }
}
