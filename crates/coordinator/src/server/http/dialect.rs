//! How each API version says no.

use http::{HeaderValue, StatusCode, header};

use super::body::BodyError;
use super::envelope::{self, Answer};
use crate::error::{Error, ErrorKind};

/// An API version, as far as refusals differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Dialect {
    /// Upstream's first version. Every refusal is an `error`; the status of refusals by the use case
    /// differs from route to route.
    V1 {
        /// Status of refusals by the use case.
        refused: StatusCode,
        /// Status when the body breaks off.
        aborted: StatusCode,
    },
    /// Upstream's second version. A client's mistake is a `fail`, anything else an `error`, mostly 500.
    V2,
    /// Ours: problem details with the status that fits.
    V3,
}

/// A refusal on its way out.
#[derive(Debug)]
pub(in crate::server) struct Refusal {
    /// What is refused and why.
    pub(in crate::server) error: Error,
    /// `data` of a v2 `fail`; `null` where there is none.
    pub(in crate::server) data: serde_json::Value,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, data: serde_json::Value::Null }
    }
}

impl Dialect {
    /// The answer to a refused request.
    pub(in crate::server) fn refuse(self, refusal: &Refusal, request_id: &str) -> Answer {
        self.answer(self.status(refusal.error.kind), refusal, request_id)
    }

    /// The answer to a request whose body was not read.
    pub(in crate::server) fn refuse_body(self, error: BodyError, request_id: &str) -> Answer {
        let (status, code, message) = match error {
            BodyError::TooLarge(limit) => {
                let message = format!("request body is larger than {limit} bytes");
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
            }
            BodyError::Aborted => (self.aborted(), "body_aborted", "unexpected EOF".to_owned()),
            BodyError::TimedOut => {
                let message = "the request body took too long to arrive".to_owned();
                (StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
            }
            BodyError::Busy => {
                let message = "too much is being uploaded at the same time; try again".to_owned();
                (StatusCode::SERVICE_UNAVAILABLE, "busy", message)
            }
        };
        let error = Error::new(ErrorKind::BadRequest, code, message);
        self.answer(status, &error.into(), request_id)
    }

    fn answer(self, status: StatusCode, refusal: &Refusal, request_id: &str) -> Answer {
        let message = refusal.error.message.as_str();
        let mut answer = match self {
            Self::V2 if matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) => {
                envelope::fail(status, &refusal.data, message)
            }
            Self::V1 { .. } | Self::V2 => envelope::error(status, message),
            Self::V3 => envelope::problem(status, &refusal.error, request_id),
        };
        // Others are being served; whoever comes again soon will be.
        if status == StatusCode::SERVICE_UNAVAILABLE && refusal.error.code == "busy" {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }

    fn aborted(self) -> StatusCode {
        match self {
            Self::V1 { aborted, .. } => aborted,
            Self::V2 | Self::V3 => StatusCode::BAD_REQUEST,
        }
    }

    fn status(self, kind: ErrorKind) -> StatusCode {
        match (kind, self) {
            (ErrorKind::BadRequest, _) => StatusCode::BAD_REQUEST,
            (ErrorKind::Unauthorized, _) => StatusCode::UNAUTHORIZED,
            (ErrorKind::Forbidden, _) => StatusCode::FORBIDDEN,
            (ErrorKind::NotFound, _) => StatusCode::NOT_FOUND,
            (ErrorKind::Conflict, _) => StatusCode::CONFLICT,
            (ErrorKind::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
            (ErrorKind::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
            (ErrorKind::Refused | ErrorKind::Internal, Self::V1 { refused, .. }) => refused,
            (ErrorKind::Refused, Self::V3) => StatusCode::CONFLICT,
            (ErrorKind::Refused | ErrorKind::Internal, Self::V2) | (ErrorKind::Internal, Self::V3) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_everybody_busy_is_told_when_to_come_again() {
        for dialect in [Dialect::V2, Dialect::V3] {
            let refuse = |code| dialect.refuse(&Error::new(ErrorKind::Unavailable, code, "m").into(), "r");
            assert_eq!(refuse("busy").headers()[header::RETRY_AFTER], "1");
            assert!(refuse("not_validated").headers().get(header::RETRY_AFTER).is_none());
        }
    }
}
