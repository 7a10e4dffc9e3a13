//! How does a program talk to a Coordinator it has verified? The Rust SDK.
//!
//! Two steps, as with every attested service: first learn who answers, then talk to exactly that one.
//!
//! 1. [`attest`] asks an address for its certificate chain and evidence, and checks them.
//! 2. A [`Client`] whose [`Trust`] pins the attested root speaks the client API.
//!
//! ```no_run
//! # async fn example() -> Result<(), marblerun_client::ClientError> {
//! use marblerun_client::{attest, AttestOptions, Client, Endpoint, Trust};
//!
//! let endpoint = Endpoint::parse("localhost:4433")?;
//! let attested = attest(&endpoint, &AttestOptions { insecure: true, ..AttestOptions::default() }).await?;
//! let client = Client::builder(endpoint).trust(Trust::Pinned(attested.root.clone())).build()?;
//! println!("{}", client.status().await?.message);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod api;
mod attest;
mod endpoint;
mod error;
mod rest;
mod tls;
mod v3;

pub use api::{Client, ClientBuilder, UpdateResult};
pub use attest::{AttestOptions, Attested, EraConfig, attest, chain_pem, parse_chain};
pub use endpoint::Endpoint;
pub use error::{ClientError, Refusal};
pub use tls::{Identity, Trust};
