//! How does a program talk to a Coordinator it has verified? The Rust SDK.
//!
//! Two steps, as with every attested service: first learn who answers, then talk to exactly that one.
//!
//! 1. [`attest`] asks an address for its certificate chain and evidence, and checks them against what the vendor of the
//!    Coordinator publishes ([`EraConfig`]). Its root certificate is worth keeping: with it, the next run can go on
//!    with step 2.
//! 2. A [`Client`] whose [`Trust`] pins that root speaks the client API: status, manifest, updates, secrets, recovery,
//!    signed quotes, counters. It works with upstream's Coordinators too, also with those that know API v1 only.
//!
//! The whole story of a deployment:
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use marblerun_client::{AttestOptions, Endpoint, EraConfig, Identity, attest, secrets};
//!
//! # async fn story() -> Result<(), Box<dyn std::error::Error>> {
//! // Who answers? `AttestOptions::insecure()` is for Coordinators in simulation, which prove nothing.
//! let endpoint = Endpoint::parse("localhost:4433")?;
//! let era = EraConfig::from_json(&std::fs::read("coordinator-era.json")?)?;
//! let attested = attest(&endpoint, &AttestOptions::expecting(&era)).await?;
//!
//! // Set the manifest. The recovery secrets are answered once: keep them before anything else.
//! let client = attested.client(endpoint.clone()).build()?;
//! let manifest = std::fs::read("manifest.json")?;
//! let recovery_secrets = client.set_manifest(&manifest).await?;
//! std::fs::write("recovery.json", serde_json::to_vec(&recovery_secrets)?)?;
//!
//! // Act as a user of the manifest.
//! let alice = Identity::from_pem(&std::fs::read("alice.crt")?, &std::fs::read("alice.key")?)?;
//! let client = attested.client(endpoint).identity(alice).build()?;
//! client.set_secrets(BTreeMap::from([("api-token".to_owned(), secrets::value(b"..."))])).await?;
//! let outcome = client.apply_update(&std::fs::read("update.json")?).await?;
//! println!("waiting for {:?}", outcome.missing_users);
//! # Ok(())
//! # }
//! ```
//!
//! What goes wrong is a [`ClientError`]. Proxies are never used: a Coordinator is talked to end to end.
#![forbid(unsafe_code)]

mod any_case;
mod api;
mod attest;
mod audit;
mod chain;
mod deployment;
mod endpoint;
mod era;
mod error;
mod marble;
mod recovery;
mod rest;
pub mod secrets;
mod signed;
mod tls;
mod v3;

pub use api::{Client, ClientBuilder, ExpectedManifest, UpdateResult};
pub use attest::{AttestError, AttestOptions, Attested, attest};
pub use audit::{AuditError, AuditProof, AuditSegment, AuditTrail, verify_audit};
pub use chain::{chain_pem, parse_chain};
pub use deployment::verify_deployment;
pub use endpoint::Endpoint;
pub use era::{EraConfig, EraConfigError};
pub use error::{ClientError, NoAnswer, Refusal};
pub use marble::MarbleCredentials;
/// What goes over the wire: the types of answers and requests.
pub use marblerun_api as wire;
/// Evidence in detail: what is found when it is verified, and compared.
pub use marblerun_attestation as attestation;
pub use marblerun_attestation::{
    AnyTee, Claims, CollateralSource, CoordinatorRefusal, EnclaveClaims, Evidence, Identity as Measured, NoCollateral,
    Policy, ReportData, SgxIdentity, TcbStatus, Verifier, VerifyError,
};
/// Where collateral comes from: [`collateral::Settings`] and what they open.
pub use marblerun_collateral as collateral;
pub use recovery::{RecoveryKey, RecoverySigner, encrypt_recovery_secret};
pub use signed::verify_signed_quote;
pub use tls::{Identity, Trust};
pub use v3::V3;

/// The page about this crate holds examples; they are compiled as those here are.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/reference/sdk.md")]
struct Page;
