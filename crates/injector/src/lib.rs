//! Which pods become Marbles? The admission webhook that gives them their environment.
//!
//! [`admission`] decides, and does no I/O: bytes of a review in, bytes of an answer out. [`server`] brings it
//! to the API server over TLS. A pod that cannot be decided on is refused: a Marble that starts without
//! its environment would run unattested.
#![forbid(unsafe_code)]

pub mod admission;
pub mod logging;
pub mod server;
pub mod settings;
