//! The Coordinator's use cases, driven as the shells drive them, over a store in memory or in a directory.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod activations;
mod audit;
mod collateral;
mod counters;
mod evidence;
mod recovery;
mod scenarios;
mod seal_mode;
mod secrets;
mod start;
mod update_secrets;
mod updates;
mod vectors;
mod verification;
mod world;
