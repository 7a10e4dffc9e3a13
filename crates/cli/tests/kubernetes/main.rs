//! The commands over a cluster, against a real API server with controllers. There are no nodes: tests play kubelet.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod backup;
mod came_back;
mod check;
mod doctor;
mod install;
mod nodes;
mod person;
mod real;
mod restore;
mod sealed;
mod takeover;
mod uninstall;
