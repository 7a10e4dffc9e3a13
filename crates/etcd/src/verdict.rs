//! What an answer means. Pure: from gRPC's status to the words that the store understands.
//!
//! Certain is only what etcd decides before it does anything: a request that is too large, malformed, or not permitted.
//! Everything else is "perhaps".

use marblerun_store::cluster::{PlaceError, WriteFailure};
use tonic::{Code, Status};

use crate::connection::chain;

/// What was done to which key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) verb: &'static str,
    pub(crate) key: &'a str,
}

impl std::fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.key)
    }
}

pub(crate) fn of_read(asked: Asked<'_>, status: &Status) -> PlaceError {
    match of_write(asked, status) {
        WriteFailure::InDoubt { reason, .. } => PlaceError::Unreachable(reason),
        WriteFailure::Forbidden(why) => PlaceError::Forbidden(why),
        WriteFailure::Missing => PlaceError::Unreachable(format!("{asked}: it is gone")),
        WriteFailure::TooLarge(why) | WriteFailure::Refused(why) => PlaceError::Malformed(why),
    }
}

pub(crate) fn of_write(asked: Asked<'_>, status: &Status) -> WriteFailure {
    let told = format!("{asked}: {}", told(status));
    let says = |text: &str| status.message().contains(text);
    match status.code() {
        // The first is etcd's, the second gRPC's, on either side.
        Code::InvalidArgument if says("request is too large") => WriteFailure::TooLarge(told),
        Code::ResourceExhausted | Code::OutOfRange if says("message larger than") || says("too large") => {
            WriteFailure::TooLarge(told)
        }
        Code::ResourceExhausted if says("database space exceeded") => WriteFailure::Refused(format!(
            "{told}; etcd takes no more writes: compact and defragment it, then `etcdctl alarm disarm`"
        )),
        Code::InvalidArgument | Code::Unimplemented => WriteFailure::Refused(told),
        Code::PermissionDenied | Code::Unauthenticated => WriteFailure::Forbidden(format!(
            "{told}; the user of this certificate needs the rights to read and write all keys of this prefix"
        )),
        _ => WriteFailure::InDoubt { reason: told, conflict: false, retry_after: None },
    }
}

/// The same failure for what lies beside the object: there a doubt is answered by trying again.
pub(crate) fn beside(asked: Asked<'_>, status: &Status) -> PlaceError {
    match of_write(asked, status) {
        WriteFailure::TooLarge(why) | WriteFailure::Refused(why) => PlaceError::Refused(why),
        _ => of_read(asked, status),
    }
}

/// How a status reads to people. Foreign text is cut short and loses what could steer a terminal.
fn told(status: &Status) -> String {
    let text = match std::error::Error::source(status) {
        Some(cause) => format!("{}: {}", status.message(), chain(cause)),
        None => status.message().to_owned(),
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    format!("{:?}: {text}", status.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> = Asked { verb: "write", key: "/m/state" };

    #[test]
    fn certain_is_only_what_is_decided_before_anything_is_done() {
        let of = |code, text: &str| of_write(ASKED, &Status::new(code, text));
        assert!(matches!(of(Code::InvalidArgument, "etcdserver: request is too large"), WriteFailure::TooLarge(_)));
        let grpc = "grpc: received message larger than max (2 vs. 1)";
        assert!(matches!(of(Code::ResourceExhausted, grpc), WriteFailure::TooLarge(_)));
        let full = of(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
        assert!(matches!(full, WriteFailure::Refused(why) if why.contains("defragment")));
        let denied = of(Code::PermissionDenied, "etcdserver: permission denied");
        assert!(matches!(denied, WriteFailure::Forbidden(why) if why.contains("write /m/state")));
        let doubts = [
            (Code::ResourceExhausted, "etcdserver: too many requests"),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::DeadlineExceeded, ""),
            (Code::Unknown, ""),
            (Code::Internal, ""),
            (Code::Cancelled, ""),
            (Code::Aborted, ""),
            (Code::FailedPrecondition, ""),
        ];
        for (code, text) in doubts {
            assert!(matches!(of(code, text), WriteFailure::InDoubt { conflict: false, .. }), "{code:?}");
            assert!(matches!(of_read(ASKED, &Status::new(code, text)), PlaceError::Unreachable(_)), "{code:?}");
        }
    }

    #[test]
    fn strangers_texts_are_short_and_steer_no_terminal() {
        let PlaceError::Unreachable(why) = of_read(ASKED, &Status::unknown("\u{1b}[2J\n".repeat(1000))) else {
            panic!()
        };
        assert!(!why.contains('\u{1b}') && !why.contains('\n') && why.len() < 600, "{why}");
    }
}
