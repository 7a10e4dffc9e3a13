//! How is a state kept? Snapshot reads, group commit over a backend, the sealed format, backups.
#![forbid(unsafe_code)]

pub mod backup;
pub mod format;
mod store;

pub use store::{
    CommitError, RecoverError, RecoveryMaterial, RollbackPolicy, Store, StoreConfig, StoreMode, StoreStatus,
};
