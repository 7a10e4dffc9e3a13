//! The servers from outside: real sockets, real TLS, every route.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod audit;
mod authorisation;
mod golden;
mod http;
mod log;
mod marble_api;
mod matrix;
mod metrics;
mod recovery;
mod support;
mod tls;
mod v3;
