//! How do key holders bring a state back? Splitting the recovery root among the parties of the
//! manifest, wrapping each secret to its party's RSA key, collecting secrets again, and checking
//! signatures. Pure: no files, no sockets, no clock.
//!
//! What the parties' secrets combine to is the *recovery root*. It wraps the data encryption key
//! in the state's recovery slot; it is not that key itself (except in states imported from upstream).
//!
//! The way of a secret: [`establish`] makes it when a manifest comes into force; the party decrypts it with
//! [`rsa_keys::PrivateKey`], signs it, uploads it; [`Ceremony`] collects; [`verify_quorum`] decides, with the
//! manifest inside the opened state, whether those who signed are the recovery keys. Several Coordinators collect
//! together: [`SharedUploads`].
#![forbid(unsafe_code)]

mod ceremony;
mod error;
mod establish;
pub mod pem;
mod quorum;
pub mod rsa_keys;
mod set;
pub mod shamir;
mod shared;

#[cfg(test)]
mod testing;

pub use ceremony::{Ceremony, Outcome, Upload, is_plain_secret};
pub use error::RecoveryError;
pub use establish::{Established, establish};
pub use quorum::verify_quorum;
pub use set::{Party, RecoveryRoot, RecoverySet, Scheme, commitment};
pub use shared::{Place, SessionKeys, SharedSessions, SharedUploads, Stamp, Stamped, replay};
