//! How is a state kept? Snapshot reads, group commit over a backend, the sealed format, backups.
//!
//! A request's transaction goes [`Store::commit`] -> engine (one committer, many transactions a group) ->
//! backend (a directory, or memory) -> sealed bytes. Readers take [`Store::snapshot`] and never wait.
#![forbid(unsafe_code)]

mod backend;
pub mod backup;
pub mod cluster;
mod config;
#[cfg(test)]
mod device;
mod digest;
mod disk;
mod engine;
mod error;
mod facts;
mod file;
pub mod format;
mod keyring;
mod lives;
mod memory;
pub mod slots;
mod status;
mod store;
#[cfg(test)]
mod testing;
mod upstream;

pub use config::{RollbackPolicy, StoreConfig, StoreTuning};
pub use error::{CommitError, NotCurrent, RecoverError, RecoveryCheck};
pub use keyring::Keyring;
pub use status::{RecoveryMaterial, StoreCounters, StoreMode, StoreStatus};
pub use store::Store;
