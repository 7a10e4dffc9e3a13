//! What did the operator declare? The manifest: its types, Go-JSON-tolerant decoding, validation
//! with every finding at once, YAML as the command line reads it, templates, and the difference of two manifests.
#![forbid(unsafe_code)]

pub mod access;
pub mod check;
mod decode;
pub mod diff;
pub mod effective;
pub mod gojson;
pub mod model;
mod path;
pub mod pem;
mod suggest;
pub mod template;
pub mod vm;
pub mod yaml;

pub use check::{CheckEnv, Finding, Report, Stage, check, review};
pub use decode::DecodeError;
pub use diff::{Change, diff};
pub use model::Manifest;
