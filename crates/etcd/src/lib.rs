//! How is an etcd cluster spoken to? The shared state in its keys, keys of hosts, the other Coordinators.
//!
//! [`Etcd::connect`] makes a client; [`Etcd::place`] is the store's view of it, [`Etcd::announce`], [`Etcd::addresses`]
//! and [`Etcd::watch`] are for the peers. Nothing here repeats a request by itself: what an answer means for the state is
//! decided by who asked.
#![forbid(unsafe_code)]

mod about;
mod archives;
mod config;
mod connection;
mod etcd;
mod keys;
mod peers;
mod place;
mod requests;
mod state_object;
mod verdict;
mod watch;
mod wire;

pub use marblerun_store::cluster::Changed;

pub use config::{ConfigError, EtcdConfig};
pub use connection::ConnectError;
pub use etcd::Etcd;
pub use place::EtcdPlace;
