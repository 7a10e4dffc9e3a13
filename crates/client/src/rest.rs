//! One request and its envelope. Sizes and times are bounded before anything is believed.

use std::time::Duration;

use http::{Method, StatusCode};
use marblerun_api::v3::Problem;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{NoAnswer, Refusal};
use crate::{ClientError, Endpoint, Identity, Trust, any_case, tls};

mod stream;

/// Largest answer that is read from a Coordinator that is known.
const MAX_ANSWER: usize = 64 << 20;

/// How often an answer may say that it is somewhere else.
const MAX_REDIRECTS: usize = 4;

/// A connection factory to one Coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    endpoint: Endpoint,
    http: reqwest::Client,
    max_answer: usize,
}

/// The `data` of a successful answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    /// Absent or `null`.
    Nothing,
    /// Anything else.
    Json(Value),
}

impl Data {
    /// Decodes an object. Field names match in any case, as for upstream's clients.
    pub(crate) fn object<T: DeserializeOwned>(self, what: &'static str) -> Result<T, ClientError> {
        let Self::Json(value) = self else {
            return Err(ClientError::protocol(what, "the answer holds no data"));
        };
        any_case::from_value(value).map_err(|e| ClientError::protocol(what, e))
    }
}

/// An answer as it came.
struct Answer {
    code: StatusCode,
    body: Vec<u8>,
}

impl Rest {
    pub(crate) fn new(
        endpoint: Endpoint,
        trust: &Trust,
        identity: Option<&Identity>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(trust, identity)?)
            .no_proxy()
            .https_only(true)
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::custom(redirect))
            .build()
            .map_err(|e| ClientError::Identity(chain(&e)))?;
        Ok(Self { endpoint, http, max_answer: MAX_ANSWER })
    }

    /// The same with a smaller limit on answers.
    pub(crate) fn at_most(mut self, max_answer: usize) -> Self {
        self.max_answer = max_answer;
        self
    }

    /// `GET path?query`.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Data, ClientError> {
        self.enveloped("GET", Method::GET, self.url(path, query), None).await
    }

    /// `POST path` with a body (`None`: empty, without content type).
    pub(crate) async fn post(&self, path: &str, body: Option<Vec<u8>>) -> Result<Data, ClientError> {
        self.enveloped("POST", Method::POST, self.endpoint.url(path), body).await
    }

    /// A call of API v3: a body (`POST`) or none (`GET`); the answer is no envelope. Answers with the code `also` are
    /// answers too.
    pub(crate) async fn v3<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<Vec<u8>>,
        also: Option<StatusCode>,
    ) -> Result<T, ClientError> {
        let (method, verb) = if body.is_some() { ("POST", Method::POST) } else { ("GET", Method::GET) };
        let url = self.endpoint.url(path);
        let answer = self.send(method, verb, &url, body).await?;
        if answer.code == StatusCode::OK || also == Some(answer.code) {
            return serde_json::from_slice(&answer.body).map_err(|e| ClientError::protocol("answer of API v3", e));
        }
        Err(refused_by_v3(method, url, &answer))
    }

    /// `GET path?query` of API v3.
    pub(crate) async fn v3_get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let url = self.url(path, query);
        let answer = self.send("GET", Method::GET, &url, None).await?;
        if answer.code == StatusCode::OK {
            return serde_json::from_slice(&answer.body).map_err(|e| ClientError::protocol("answer of API v3", e));
        }
        Err(refused_by_v3("GET", url, &answer))
    }

    /// `DELETE path?query` of API v3.
    pub(crate) async fn v3_delete<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let url = self.url(path, query);
        let answer = self.send("DELETE", Method::DELETE, &url, None).await?;
        if answer.code == StatusCode::OK {
            return serde_json::from_slice(&answer.body).map_err(|e| ClientError::protocol("answer of API v3", e));
        }
        Err(refused_by_v3("DELETE", url, &answer))
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> String {
        let mut url = self.endpoint.url(path);
        for (index, (key, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&form_encode(key));
            url.push('=');
            url.push_str(&form_encode(value));
        }
        url
    }

    /// A call of API v1 or v2.
    async fn enveloped(
        &self,
        method: &'static str,
        verb: Method,
        url: String,
        body: Option<Vec<u8>>,
    ) -> Result<Data, ClientError> {
        let Answer { code, body } = self.send(method, verb, &url, body).await?;
        if code != StatusCode::OK {
            return Err(refused(method, url, code, &body));
        }
        let envelope: Value = serde_json::from_slice(&body).map_err(|_| {
            ClientError::protocol("answer of the Coordinator", format!("{method} {url}: it is not JSON"))
        })?;
        Ok(match field(&envelope, "data") {
            None | Some(Value::Null) => Data::Nothing,
            Some(data) => Data::Json(data.clone()),
        })
    }

    async fn send(
        &self,
        method: &'static str,
        verb: Method,
        url: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, ClientError> {
        let mut request = self.http.request(verb, url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.map_err(|error| no_answer(method, url, &error))?;
        Ok(Answer { code: response.status(), body: self.body(method, url, response).await? })
    }

    async fn body(
        &self,
        method: &'static str,
        url: &str,
        mut response: reqwest::Response,
    ) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(method, url, &error))? {
            if body.len() + chunk.len() > self.max_answer {
                let reason = format!("{method} {url}: it is larger than {} bytes", self.max_answer);
                return Err(ClientError::protocol("answer of the Coordinator", reason));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn no_answer(method: &'static str, url: &str, error: &reqwest::Error) -> ClientError {
    let reason = chain(error);
    let why = why(error, &reason);
    ClientError::Transport { method, url: url.to_owned(), reason: explained(reason), why }
}

/// An answer of API v3 that is no success. Who does not have that version does not answer with a problem.
fn refused_by_v3(method: &'static str, url: String, answer: &Answer) -> ClientError {
    match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(problem) => ClientError::Problem { method, url, problem: Box::new(problem) },
        Err(_) if matches!(answer.code, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND) => {
            ClientError::NoV3 { method, url }
        }
        Err(_) => refused(method, url, answer.code, &answer.body),
    }
}

/// A field of an envelope.
fn field<'v>(envelope: &'v Value, name: &str) -> Option<&'v Value> {
    envelope.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// An answer that is no success, with what its envelope says, if it has one.
fn refused(method: &'static str, url: String, code: StatusCode, body: &[u8]) -> ClientError {
    let envelope: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let text = |name: &str| field(&envelope, name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if code == StatusCode::UNAUTHORIZED {
        return ClientError::Unauthorized { method, url, message: text("message") };
    }
    ClientError::Refused(Box::new(Refusal {
        method,
        url,
        code: code.as_u16(),
        reason: code.canonical_reason().unwrap_or_default().to_owned(),
        status: text("status"),
        message: text("message"),
        data: field(&envelope, "data").filter(|data| !data.is_null()).map(Value::to_string).unwrap_or_default(),
    }))
}

/// Coordinators redirect to a cleaner path. Another host is not followed: it would be sent secrets that were meant for
/// the one whose address was given.
fn redirect(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let place =
        |url: &reqwest::Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    let first = attempt.previous().first().map(place);
    if first != Some(place(attempt.url())) {
        return attempt.error("it redirects to another host, which is not followed");
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error("it redirects without end");
    }
    attempt.follow()
}

/// `application/x-www-form-urlencoded`, as Go writes query strings.
fn form_encode(text: &str) -> String {
    const KEEP: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');
    percent_encoding::utf8_percent_encode(text, &KEEP).to_string().replace(' ', "+")
}

/// What kind of failure that is. Causes of the TLS library come through the HTTP library as text only.
fn why(error: &reqwest::Error, reason: &str) -> NoAnswer {
    if reason.contains("not valid for name") || reason.contains("NotValidForName") {
        NoAnswer::WrongName
    } else if reason.contains("invalid peer certificate") {
        NoAnswer::Untrusted
    } else if error.is_timeout() {
        NoAnswer::Silent
    } else if error.is_connect() && ["tcp connect error", "dns error"].iter().any(|kind| reason.contains(kind)) {
        NoAnswer::Unreachable
    } else {
        NoAnswer::Other
    }
}

/// Adds what a user can make of an answer that is not one of a client API.
fn explained(reason: String) -> String {
    if reason.contains("InvalidContentType") {
        reason + ". The server does not speak TLS: is this the client API of a Coordinator?"
    } else if reason.contains("CertificateRequired") {
        reason + ". The server asks for a Marble's certificate: this is the Marble API, not the client API"
    } else {
        reason
    }
}

/// An error with all its causes in one line; the outermost texts of HTTP libraries say little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut current = Some(error);
    while let Some(error) = current {
        let text = error.to_string();
        // Method and URL stand before this already, and the cause after it.
        let says_nothing = ["error sending request", "client error ("].iter().any(|start| text.starts_with(start));
        if says_nothing && error.source().is_some() {
            current = error.source();
            continue;
        }
        if !parts.iter().any(|seen| seen.contains(&text)) {
            parts.push(text);
        }
        current = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_form_encoded_as_go_does() {
        assert_eq!(form_encode("a b&c"), "a+b%26c");
        assert_eq!(form_encode("-_.~"), "-_.~");
        assert_eq!(form_encode("ü="), "%C3%BC%3D");
    }

    #[tokio::test]
    async fn a_server_without_tls_is_told_as_that() {
        use tokio::io::AsyncWriteExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let server = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            peer
        };
        let rest = Rest::new(endpoint, &Trust::Anyone, None, Duration::from_secs(10)).unwrap();
        let (answer, _peer) = tokio::join!(rest.get("/", &[]), server);
        let text = answer.unwrap_err().to_string();
        assert!(text.contains("does not speak TLS"), "{text}");
        assert!(!text.contains("error sending request") && !text.contains("client error"), "{text}");
    }
}
