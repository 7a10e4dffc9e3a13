//! What goes over the wire, and nothing else: serde types of the client API (v1, v2, v3)
//! and prost types of the Marble API and of what Coordinators tell each other. No behaviour lives here.
#![forbid(unsafe_code)]

pub mod bytes;
pub mod envelope;
pub mod key;
pub mod marble;
pub mod peer;
pub mod v1;
pub mod v2;
pub mod v3;
