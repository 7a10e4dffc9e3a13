//! The one error type of the use cases. Shells translate it to their wire.

use std::fmt;

/// What kind of refusal this is; shells choose status codes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request itself is malformed: v1 400 `error`, v2 400 `fail`.
    BadRequest,
    /// No or unknown client certificate: v1 401 `error`, v2 401 `fail`.
    Unauthorized,
    /// A feature is switched off: 403 `error`.
    Forbidden,
    /// Nothing there (no pending update): 404 `error`.
    NotFound,
    /// Would do harm as things are, and can be forced: 409 `error`.
    Conflict,
    /// The body is too large: 413.
    TooLarge,
    /// Any other refusal (state, permission, validation): the route's error status, v1 400 or 500, v2 500.
    Refused,
    /// The Coordinator failed: as [`ErrorKind::Refused`] on v1 and v2, 500 on v3.
    Internal,
    /// Cannot be done right now (queue full, superseded, read-only): 503.
    Unavailable,
}

/// A refusal with a stable code and a text for people.
#[derive(Debug, Clone)]
pub struct Error {
    /// Kind.
    pub kind: ErrorKind,
    /// Stable machine-readable code (`snake_case`), used by v3 and the docs.
    pub code: &'static str,
    /// Text; upstream's where clients see it.
    pub message: String,
    /// Everything that was found, one text each, where the message can only name the first (v3 and the log).
    pub details: Vec<String>,
}

impl Error {
    /// A new error.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), details: Vec::new() }
    }

    /// With everything that was found.
    #[must_use]
    pub fn with_details(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }

    /// The text every route answers in a wrong state.
    #[must_use]
    pub fn wrong_state() -> Self {
        Self::new(ErrorKind::Refused, "wrong_state", "server is not in expected state")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
