//! How is a Kubernetes API server spoken to? Configuration, the shared state in its Secret, keys of hosts in their
//! ConfigMap, discovery of the other Coordinators.
//!
//! [`Kubernetes::connect`] makes one client; [`Kubernetes::place`] is the store's view of it, [`Kubernetes::discovery`]
//! and [`Kubernetes::watch`] are for the peers. Nothing here repeats a request by itself: what an answer means for the
//! state is decided by who asked.
#![forbid(unsafe_code)]

mod access;
mod archives;
mod beside;
mod caller;
pub mod config;
mod connection;
mod discovery;
mod entries;
mod events;
mod exchange;
mod kubernetes;
mod names;
mod parts;
mod place;
mod refusals;
mod sealed_secret;
mod state_object;
mod verdict;
mod watch;

pub use marblerun_store::cluster::Changed;

pub use access::{Access, AccessError, SERVICE_ACCOUNT};
pub use connection::ConnectError;
pub use discovery::Discovery;
pub use kubernetes::{Kubernetes, KubernetesConfig, PodReference};
pub use names::{NameError, Names};
pub use place::KubernetesPlace;
pub use refusals::{Refusal, Refusals};
