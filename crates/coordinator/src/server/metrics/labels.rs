//! Label sets, in alphabetical order as Prometheus' Go client writes them. Nothing here is a stranger's choice:
//! paths are those of routes, methods and codes those of the standards.

use http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use tonic::Code;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Version {
    pub(super) commit: String,
    pub(super) version: String,
}

/// What protects the process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Protection {
    pub(super) tee: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Requests {
    pub(super) code: u16,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Durations {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Path {
    pub(super) path: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Call {
    pub(super) grpc_method: &'static str,
    pub(super) grpc_service: &'static str,
    pub(super) grpc_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Handled {
    pub(super) grpc_code: &'static str,
    pub(super) grpc_method: &'static str,
    pub(super) grpc_service: &'static str,
    pub(super) grpc_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Cause {
    pub(super) cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Scrape {
    pub(super) code: u16,
}

/// The one gRPC method there is.
pub(super) const ACTIVATE: Call = Call { grpc_method: "Activate", grpc_service: "rpc.Marble", grpc_type: "unary" };

/// Go's names of the gRPC codes, in the order of their numbers.
pub(super) const GRPC_CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

impl Handled {
    pub(super) fn activate(grpc_code: &'static str) -> Self {
        let Call { grpc_method, grpc_service, grpc_type } = ACTIVATE;
        Self { grpc_code, grpc_method, grpc_service, grpc_type }
    }
}

pub(super) fn grpc_code(code: Code) -> &'static str {
    usize::try_from(code as i32).ok().and_then(|code| GRPC_CODES.get(code)).unwrap_or(&"Unknown")
}

/// Lower-case name of a standard method.
pub(super) fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::HEAD => "head",
        Method::PUT => "put",
        Method::DELETE => "delete",
        Method::CONNECT => "connect",
        Method::OPTIONS => "options",
        Method::TRACE => "trace",
        Method::PATCH => "patch",
        _ => "unknown",
    }
}
