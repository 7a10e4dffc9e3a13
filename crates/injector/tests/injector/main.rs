//! The real program: over TLS alone, and behind a real API server.
#![allow(missing_docs)]

mod certificate;
mod client;
mod process;

mod limits;
mod rotation;
mod webhook;
