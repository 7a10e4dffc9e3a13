//! How does an Azure Managed HSM release a key to attested programs alone?
//!
//! [`AzureHsm`] asks for a key by *secure key release*: it makes an RSA key, has this program's evidence over it judged by
//! Microsoft Azure Attestation (MAA), and shows the resulting token to the vault, which releases the HSM's key encrypted
//! to that RSA key if the token satisfies the key's release policy. Slot secrets are derived from the released key.
//!
//! | module | what |
//! |---|---|
//! | `config` | the variables, the original's names |
//! | `wrapping_key` | the RSA key, its JWKS, the unwrapping |
//! | `jws`, `release` | pure: is the answer the vault's, and to this very question? |
//! | `transport`, `service` | the requests, with a deadline and retries |
//! | `sealer`, `params` | slots |
//!
//! The answer is believed only if its certificate chain ends in one of the roots pinned here and names the vault's host, its
//! signature is of an allowed algorithm, and it repeats this request's random nonce and the key's name. The host's file
//! system is asked for no certificate.
#![forbid(unsafe_code)]

mod config;
mod error;
mod jws;
mod params;
mod release;
mod roots;
mod sealer;
mod service;
mod transport;
mod wrapping_key;

pub use config::{Config, ConfigError, Credential, KeyName, VaultUrl};
pub use error::ReleaseError;
pub use jws::{Jws, JwsError};
pub use params::Params;
pub use release::{Asked, ReleasedKey};
pub use roots::Roots;
pub use sealer::AzureHsm;
pub use service::Attest;
