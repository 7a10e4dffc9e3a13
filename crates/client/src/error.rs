//! What can go wrong between a client and a Coordinator, and what to do about it.

/// Why there is no answer, as far as it matters for what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
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
        problem: Problem,
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
    /// The answer cannot be understood.
    #[error("{what}: {reason}")]
    Protocol {
        /// Which answer.
        what: &'static str,
        /// Cause.
        reason: String,
    },
    /// The Coordinator is not who it should be.
    #[error("{0}")]
    Trust(String),
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
            _ => None,
        }
    }

    pub(crate) fn protocol(what: &'static str, reason: impl ToString) -> Self {
        Self::Protocol { what, reason: reason.to_string() }
    }
}
