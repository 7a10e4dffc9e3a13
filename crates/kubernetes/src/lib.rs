//! How is a Kubernetes API server spoken to? Configuration, the shared state in its Secret, keys of hosts in their
//! ConfigMap, discovery of the other Coordinators.
#![forbid(unsafe_code)]

pub mod config;
