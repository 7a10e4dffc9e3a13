//! For tests and benchmarks only: starts the real programs on free ports in folders of their own,
//! plays users and Marbles against them, and cleans up.
#![forbid(unsafe_code)]

pub mod chaos;
mod coordinator;
pub mod fixtures;
pub mod kube;
pub mod linearizable;
pub mod load;
mod marble;
mod reaper;
mod soft_token;
mod soft_tpm;
mod user;

pub use coordinator::{Coordinator, CoordinatorBuilder, binary, free_port};
pub use marble::{Activation, FakeMarble, activate_on};
pub use soft_token::{PIN, SoftTokens};
pub use soft_tpm::SoftTpm;
pub use user::{RecoveryKeyPair, TestUser};
