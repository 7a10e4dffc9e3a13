//! One request and its envelope. Sizes and times are bounded before anything is believed.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Refusal;
use crate::{ClientError, Endpoint, Identity, Trust, tls};

/// Largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;

/// A connection factory to one Coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    endpoint: Endpoint,
    http: reqwest::Client,
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
    /// Decodes an object. Field names match case-insensitively, as upstream's clients do.
    pub(crate) fn object<T: DeserializeOwned>(self, what: &'static str, names: &[&str]) -> Result<T, ClientError> {
        let Self::Json(value) = self else {
            return Err(ClientError::protocol(what, "the answer holds no data"));
        };
        serde_json::from_value(canonical_names(value, names)).map_err(|e| ClientError::protocol(what, e))
    }
}

/// Renames top-level fields to the spelling in `names` where they differ in case only.
fn canonical_names(value: Value, names: &[&str]) -> Value {
    let Value::Object(map) = value else { return value };
    Value::Object(
        map.into_iter()
            .map(|(key, value)| {
                let name = names.iter().find(|name| name.eq_ignore_ascii_case(&key));
                (name.map_or(key, |name| (*name).to_owned()), value)
            })
            .collect(),
    )
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
            .redirect(reqwest::redirect::Policy::limited(4))
            .build()
            .map_err(|e| ClientError::Identity(chain(&e)))?;
        Ok(Self { endpoint, http })
    }

    /// `GET path?query`.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Data, ClientError> {
        let mut url = self.endpoint.url(path);
        for (index, (key, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&form_encode(key));
            url.push('=');
            url.push_str(&form_encode(value));
        }
        self.send("GET", Method::GET, url, None).await
    }

    /// `POST path` with a body (`None`: empty, without content type).
    pub(crate) async fn post(&self, path: &str, body: Option<Vec<u8>>) -> Result<Data, ClientError> {
        self.send("POST", Method::POST, self.endpoint.url(path), body).await
    }

    async fn send(
        &self,
        method: &'static str,
        verb: Method,
        url: String,
        body: Option<Vec<u8>>,
    ) -> Result<Data, ClientError> {
        let mut request = self.http.request(verb, &url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let transport = |e: reqwest::Error| {
            let reason = explained(chain(&e));
            let untrusted = reason.contains("certificate");
            ClientError::Transport { method, url: url.clone(), reason, untrusted }
        };
        let mut response = request.send().await.map_err(&transport)?;
        let code = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(&transport)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(ClientError::protocol("answer of the Coordinator", "it is larger than 64 MiB"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let envelope: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let text = |name: &str| envelope.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        // v3 has no envelope.
        let is_plain = url.starts_with(&self.endpoint.url("/api/v3/"));
        let data = if is_plain { envelope.clone() } else { envelope.get("data").cloned().unwrap_or(Value::Null) };
        match code {
            StatusCode::OK => Ok(if data.is_null() { Data::Nothing } else { Data::Json(data) }),
            StatusCode::UNAUTHORIZED => Err(ClientError::Unauthorized { method, url, message: text("message") }),
            _ => Err(ClientError::Refused(Box::new(Refusal {
                method,
                url,
                code: code.as_u16(),
                reason: code.canonical_reason().unwrap_or_default().to_owned(),
                status: text("status"),
                message: text(if is_plain { "detail" } else { "message" }),
                data: if data.is_null() { String::new() } else { data.to_string() },
            }))),
        }
    }
}

/// `application/x-www-form-urlencoded`, as Go writes query strings.
fn form_encode(text: &str) -> String {
    const KEEP: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');
    percent_encoding::utf8_percent_encode(text, &KEEP).to_string().replace(' ', "+")
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

    #[test]
    fn field_names_match_in_any_case() {
        let value = serde_json::json!({"Cert": 1, "other": 2});
        assert_eq!(canonical_names(value, &["cert", "quote"]), serde_json::json!({"cert": 1, "other": 2}));
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
