//! Answers: the JSend-like envelope of v1 and v2, plain JSON and problem details of v3.
//!
//! The envelope is upstream's to the byte: key order, final line end, Go's escaping of HTML characters,
//! content types (errors are JSON sent as text).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use marblerun_api::v3::Problem;
use serde::Serialize;

use super::answer_body::AnswerBody;
use crate::error::Error;

/// A whole answer.
pub(in crate::server) type Answer = Response<AnswerBody>;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Longest message in characters. Some repeat what was sent.
const LONGEST_MESSAGE: usize = 8_192;

/// `{"status":"success","data":..}`
pub(in crate::server) fn success<T: Serialize>(data: &T) -> Answer {
    envelope(StatusCode::OK, "success", data, "")
}

/// `{"status":"fail","data":..,"message":..}`: a v2 client's mistake.
pub(in crate::server) fn fail<T: Serialize>(status: StatusCode, data: &T, message: &str) -> Answer {
    envelope(status, "fail", data, message)
}

/// `{"status":"error","data":null,"message":..}`, without the message if it is empty.
pub(in crate::server) fn error(status: StatusCode, message: &str) -> Answer {
    let mut answer = envelope(status, "error", &(), message);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Plain JSON (v3).
pub(in crate::server) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => answer(status, JSON, body),
        Err(error) => unencodable(&error),
    }
}

/// A value on a line of its own, as Go's encoder writes it (`/events`).
pub(in crate::server) fn json_line<T: Serialize>(value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => line(StatusCode::OK, body),
        Err(error) => unencodable(&error),
    }
}

/// Problem details (RFC 9457).
pub(in crate::server) fn problem(status: StatusCode, error: &Error, request_id: &str) -> Answer {
    let problem = Problem {
        r#type: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or("Error").to_owned(),
        status: status.as_u16(),
        detail: error.message.clone(),
        code: error.code.to_owned(),
        details: error.details.clone(),
        request_id: request_id.to_owned(),
    };
    let mut answer = json(status, &problem);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    answer
}

/// Text that is not in an envelope.
pub(in crate::server) fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    answer(status, content_type, body.into())
}

fn envelope<T: Serialize>(status: StatusCode, kind: &str, data: &T, message: &str) -> Answer {
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        status: &'a str,
        data: &'a T,
        #[serde(skip_serializing_if = "String::is_empty")]
        message: String,
    }
    let (message, cut) = match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => (message.get(..end).unwrap_or_default(), "…"),
        None => (message, ""),
    };
    match serde_json::to_vec(&Envelope { status: kind, data, message: [message, cut].concat() }) {
        Ok(body) => line(status, body),
        Err(error) => unencodable(&error),
    }
}

fn line(status: StatusCode, json: Vec<u8>) -> Answer {
    let mut body = escape_html(json);
    body.push(b'\n');
    answer(status, JSON, body)
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    with_body(status, content_type, AnswerBody::from(body.into()))
}

/// A body that is too large to be held in memory.
pub(in crate::server) fn stream(content_type: &'static str, body: AnswerBody) -> Answer {
    with_body(StatusCode::OK, content_type, body)
}

fn with_body(status: StatusCode, content_type: &'static str, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn unencodable(error: &serde_json::Error) -> Answer {
    tracing::error!(%error, "an answer could not be encoded");
    answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "internal error\n")
}

/// Escapes `<`, `>`, `&`, U+2028 and U+2029 as Go's encoder does. In JSON they stand inside strings only,
/// so this can be done on the finished text.
fn escape_html(json: Vec<u8>) -> Vec<u8> {
    let needs_escape = |window: &[u8]| matches!(window, [b'<' | b'>' | b'&', ..] | [0xe2, 0x80, 0xa8 | 0xa9]);
    let is_candidate = |byte: &u8| matches!(byte, b'<' | b'>' | b'&' | 0xe2);
    if !json.iter().any(is_candidate) {
        return json;
    }
    let mut escaped = Vec::with_capacity(json.len() + 64);
    let mut rest = json.as_slice();
    while let Some((&byte, tail)) = rest.split_first() {
        let window = rest.get(..3).unwrap_or(rest);
        rest = match (needs_escape(window), byte) {
            (true, 0xe2) => {
                escaped.extend_from_slice(if window.ends_with(&[0xa8]) { b"\\u2028" } else { b"\\u2029" });
                tail.get(2..).unwrap_or_default()
            }
            (true, _) => {
                escaped.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                tail
            }
            (false, _) => {
                escaped.push(byte);
                tail
            }
        };
    }
    escaped
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn body(answer: Answer) -> String {
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn an_error_without_message_is_31_bytes() {
        let body = body(error(StatusCode::METHOD_NOT_ALLOWED, "")).await;
        assert_eq!(body, "{\"status\":\"error\",\"data\":null}\n");
        assert_eq!(body.len(), 31);
    }

    #[tokio::test]
    async fn html_characters_are_escaped_as_go_does() {
        let text = body(fail(StatusCode::BAD_REQUEST, &(), "<nil> & \u{2028}\u{2029} \u{20ac}")).await;
        assert_eq!(
            text,
            "{\"status\":\"fail\",\"data\":null,\"message\":\"\\u003cnil\\u003e \\u0026 \\u2028\\u2029 \u{20ac}\"}\n"
        );
    }

    #[tokio::test]
    async fn escaping_changes_nothing_for_a_json_reader() {
        let text = "a<b>&\u{2028}é€\u{e2}\u{80}\"\\";
        let value: serde_json::Value = serde_json::from_str(&body(success(&text)).await).unwrap();
        assert_eq!(value["data"], text);
    }

    #[tokio::test]
    async fn a_message_is_not_as_long_as_a_stranger_likes() {
        let body = body(error(StatusCode::BAD_REQUEST, &"é".repeat(100_000))).await;
        assert!(body.ends_with("é…\"}\n") && body.chars().count() < 8_300, "{}", body.len());
    }

    #[test]
    fn errors_are_json_sent_as_text() {
        let answer = error(StatusCode::NOT_FOUND, "no update in progress");
        assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let answer = fail(StatusCode::BAD_REQUEST, &(), "EOF");
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert!(!answer.headers().contains_key("x-content-type-options"));
    }
}
