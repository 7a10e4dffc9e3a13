//! The real program: over TLS alone, and behind a real API server.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod certificate;
mod client;
mod process;
mod registration;

mod api_server;
mod limits;
mod page;
mod rotation;
mod webhook;
