//! What was asked of the API server, as its audit log tells it.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::Value;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiRequest {
    /// Who sent it: `system:serviceaccount:<namespace>:<name>`.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, ...
    pub verb: String,
    /// Resource with its subresource, if any: `secrets`, `pods/log`. Empty for paths such as `/readyz`.
    pub resource: String,
    /// Empty for what is in no namespace.
    pub namespace: String,
    /// Empty for lists and watches of all.
    pub name: String,
    /// HTTP status of the answer; none if there was no answer.
    pub code: Option<u16>,
    /// Path and query.
    pub uri: String,
    /// When it came in.
    pub received: Timestamp,
}

/// The audit log of a control plane, or the end of it.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
    from: u64,
}

impl AuditLog {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, from: 0 }
    }

    /// Leaves out what is in it now.
    ///
    /// # Errors
    /// If there is no log.
    pub fn from_now(mut self) -> Result<Self> {
        self.from = std::fs::metadata(&self.path).context(NO_LOG)?.len();
        Ok(self)
    }

    /// All requests, in the order of their answers; watches, in the order of their first.
    ///
    /// # Errors
    /// If there is no log.
    pub fn requests(&self) -> Result<Vec<ApiRequest>> {
        let mut file = File::open(&self.path).context(NO_LOG)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut lines = String::new();
        file.read_to_string(&mut lines)?;
        parse(&lines)
    }

    /// The requests of one user.
    ///
    /// # Errors
    /// If there is no log.
    pub fn requests_of(&self, user: &str) -> Result<Vec<ApiRequest>> {
        Ok(self.requests()?.into_iter().filter(|request| request.user == user).collect())
    }
}

const NO_LOG: &str = "the control plane has no audit log; start it with `audit()`";

fn parse(lines: &str) -> Result<Vec<ApiRequest>> {
    let mut seen = std::collections::HashSet::new();
    let mut requests = Vec::new();
    // What follows the last end of line is still being written.
    let complete = lines.rsplit_once('\n').map_or("", |(complete, _)| complete);
    for line in complete.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| format!("audit log: {line}"))?;
        // A watch has an event for its first answer, and another one for its end.
        if seen.insert(text(&event, "/auditID")) {
            requests.push(request(&event)?);
        }
    }
    Ok(requests)
}

fn request(event: &Value) -> Result<ApiRequest> {
    let (resource, sub) = (text(event, "/objectRef/resource"), text(event, "/objectRef/subresource"));
    let code = event.pointer("/responseStatus/code").and_then(Value::as_u64);
    Ok(ApiRequest {
        user: text(event, "/user/username"),
        verb: text(event, "/verb"),
        resource: if sub.is_empty() { resource } else { format!("{resource}/{sub}") },
        namespace: text(event, "/objectRef/namespace"),
        name: text(event, "/objectRef/name"),
        code: code.map(u16::try_from).transpose()?,
        uri: text(event, "/requestURI"),
        received: text(event, "/requestReceivedTimestamp").parse()?,
    })
}

fn text(event: &Value, pointer: &str) -> String {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCH: &str = r#"{"auditID":"1","stage":"ResponseStarted","requestURI":"/api/v1/namespaces/n/secrets?watch=1","verb":"watch","user":{"username":"u"},"objectRef":{"resource":"secrets","namespace":"n"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z"}"#;
    const END: &str = r#"{"auditID":"1","stage":"ResponseComplete","verb":"watch","user":{"username":"u"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z"}"#;
    const TOKEN: &str = r#"{"auditID":"2","verb":"create","user":{"username":"admin"},"objectRef":{"resource":"serviceaccounts","namespace":"n","name":"a","subresource":"token"},"responseStatus":{"code":201},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z"}"#;

    #[test]
    fn a_watch_is_one_request_and_a_line_that_is_being_written_is_none_yet() {
        let requests = parse(&format!("{WATCH}\n{TOKEN}\n{END}\n{{\"auditID\":\"3\",")).unwrap();
        let told: Vec<(&str, &str, &str, Option<u16>)> =
            requests.iter().map(|r| (r.verb.as_str(), r.resource.as_str(), r.name.as_str(), r.code)).collect();
        assert_eq!(told, [("watch", "secrets", "", Some(200)), ("create", "serviceaccounts/token", "a", Some(201))]);
    }
}
