//! The servers from outside: real sockets, real TLS, every route.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod audit;
mod authorisation;
mod golden;
mod http;
mod log;
mod marble_api;
mod matrix;
mod metrics;
mod quotes;
mod recovery;
mod recovery_secrets;
mod support;
mod tls;
mod update_vectors;
mod v3;
