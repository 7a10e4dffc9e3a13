//! What does a Coordinator do? Use cases (`core`), the API shells around them (`server`), what several Coordinators tell
//! each other (`cluster`), configuration and start-up.
#![forbid(unsafe_code)]

pub mod cluster;
pub mod config;
pub mod core;
pub mod error;
pub mod logging;
pub mod server;
pub mod start;
mod untrusted;
