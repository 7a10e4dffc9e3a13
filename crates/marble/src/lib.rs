//! How does a service become a Marble? It shows the Coordinator a key, a certification request and evidence
//! of itself ([`activate`]), gets its [`Parameters`], applies all of them or none ([`files`], [`program`]),
//! and becomes the program. `marblerun-premain` is this library with a command line.
#![forbid(unsafe_code)]

mod activation;
mod address;
mod config;
mod connection;
mod error;
mod expected;
pub mod files;
mod identity;
pub mod log;
mod parameters;
pub mod program;
mod retry;
mod trust;
mod uuid_file;

pub use activation::activate;
pub use address::{BadAddress, CoordinatorAddress};
pub use config::{Config, ConfigError, VARIABLES, Variable};
pub use error::PremainError;
pub use expected::Expected;
pub use identity::{Identity, Names};
pub use parameters::Parameters;
pub use retry::Backoff;
pub use trust::{Trust, Untrusted};
