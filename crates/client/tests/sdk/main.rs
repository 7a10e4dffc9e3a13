//! The SDK against a server that plays Coordinators: old ones that know API v1 only, those of API v2, ours, and
//! such that misbehave. Answers are those that real Coordinators were seen to give.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod attestation;
mod fake;
mod recovery;
mod transport;
mod v1;
mod v2;
mod v3;
