//! The Marble API (gRPC, package `rpc`, service `Marble`), generated from `proto/marble.proto`.
#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used)]

tonic::include_proto!("rpc");
