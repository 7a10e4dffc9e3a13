//! What do vendors say about a platform? Sources of what evidence is verified with ([`CollateralSource`]): files, a caching
//! service (PCCS) or Intel itself, and AMD's key service. Everything is signed and is checked by whoever verifies, so no
//! source is trusted for more than being there.
//!
//! [`Settings`] say where to look; [`Service`] asks there, each thing once for all who want it, keeps it, and renews it
//! before it ends; [`Files`] reads what somebody else keeps up to date.
#![forbid(unsafe_code)]

mod amd;
mod cache;
mod client;
mod files;
mod intel;
mod qcnl;
mod settings;

pub use cache::{Counts, Service};
pub use files::Files;
pub use marblerun_attestation::CollateralSource;
pub use qcnl::{Qcnl, QcnlError};
pub use settings::{CountedSource, Place, Settings, SettingsError};
