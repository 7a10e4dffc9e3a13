//! What can go wrong between a client and a Coordinator, and what to do about it.

use marblerun_api::v3::Problem;

use crate::attest::AttestError;

/// Why there is no answer, as far as it matters for what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nobody could be connected to at this address.
    Unreachable,
    /// Somebody is there, and did not answer in time.
    Silent,
    /// The server's certificate is not the one expected, nor issued by it.
    Untrusted,
    /// The server's certificate is for other names than the one in the address.
    WrongName,
    /// Anything else, such as a server that does not speak TLS.
    Other,
}

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one.
    #[error("{address:?} is not an address of a Coordinator: {reason}")]
    Address {
        /// As given.
        address: String,
        /// Cause.
        reason: String,
    },
    /// No answer: connection, TLS, timeout.
    #[error("{method} {url}: {reason}")]
    Transport {
        /// HTTP method.
        method: &'static str,
        /// URL.
        url: String,
        /// Cause.
        reason: String,
        /// What kind of cause.
        why: NoAnswer,
    },
    /// 401: the client certificate is no user's (or no Marble's).
    #[error("{method} {url}: authorizing user: {message}")]
    Unauthorized {
        /// HTTP method.
        method: &'static str,
        /// URL.
        url: String,
        /// The Coordinator's text.
        message: String,
    },
    /// Any other answer but 200.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// A refusal of API v3, which says more.
    #[error("{method} {url}: {} {}: {}", problem.status, problem.title, problem.detail)]
    Problem {
        /// HTTP method.
        method: &'static str,
        /// URL.
        url: String,
        /// What the Coordinator says.
        problem: Box<Problem>,
    },
    /// The Coordinator has no API v3: it is upstream's, or older.
    #[error("{method} {url}: the Coordinator does not support API v3")]
    NoV3 {
        /// HTTP method.
        method: &'static str,
        /// URL.
        url: String,
    },
    /// The answer cannot be understood.
    #[error("{what}: {reason}")]
    Protocol {
        /// Which answer.
        what: &'static str,
        /// Cause.
        reason: String,
    },
    /// The Coordinator did not prove to be the one that was asked for.
    #[error(transparent)]
    Attestation(Box<AttestError>),
    /// Something that the Coordinator's root must have signed or issued was not.
    #[error("{0}")]
    Trust(String),
    /// Another manifest is in force than was expected, or none.
    #[error("{}", other_manifest(expected, got))]
    OtherManifest {
        /// Hex SHA-256 of the expected one.
        expected: String,
        /// Hex SHA-256 of the one in force; empty without one.
        got: String,
    },
    /// A recovery key or secret is unusable.
    #[error("{0}")]
    Recovery(String),
    /// A certificate or key given to the client is unusable.
    #[error("{0}")]
    Identity(String),
}

/// An answer that is neither 200 nor 401.
#[derive(Debug, thiserror::Error)]
#[error("{method} {url}: {code} {reason}: {status}: {message}")]
pub struct Refusal {
    /// HTTP method.
    pub method: &'static str,
    /// URL.
    pub url: String,
    /// HTTP status code.
    pub code: u16,
    /// HTTP reason phrase.
    pub reason: String,
    /// Envelope status.
    pub status: String,
    /// Envelope message.
    pub message: String,
    /// Envelope data, raw JSON (empty if absent).
    pub data: String,
}

impl ClientError {
    /// The HTTP status code, if the Coordinator answered with one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Unauthorized { .. } => Some(401),
            Self::Refused(refusal) => Some(refusal.code),
            Self::Problem { problem, .. } => Some(problem.status),
            Self::NoV3 { .. } => Some(405),
            _ => None,
        }
    }

    pub(crate) fn protocol(what: &'static str, reason: impl ToString) -> Self {
        Self::Protocol { what, reason: reason.to_string() }
    }
}

impl From<AttestError> for ClientError {
    fn from(error: AttestError) -> Self {
        Self::Attestation(Box::new(error))
    }
}

/// Whether a Coordinator does not know what was asked for: then, and only then, older ways are tried.
pub(crate) fn is_405<T>(result: &Result<T, ClientError>) -> bool {
    matches!(result, Err(error) if error.code() == Some(405))
}

fn other_manifest(expected: &str, got: &str) -> String {
    if got.is_empty() {
        "Coordinator returned no manifest signature. Is the Coordinator in the correct state?".to_owned()
    } else {
        format!("manifest hash does not match local hash: {got:?} != {expected:?}")
    }
}
