//! Who is at the other end? A machine's hardware issues [`Evidence`] of what runs in it, bound to
//! [`ReportData`]; a [`Verifier`] turns evidence into [`Claims`]; a [`Policy`] says whether they will do, for a
//! Marble of a package ([`Policy::accepts_marble`]) or for a Coordinator ([`Policy::accepts_coordinator`]). Coordinators
//! of one deployment judge each other by what they are themselves ([`PeerAttestation`], [`PeerPolicy`]).
//!
//! Which hardware is used is decided once, at start ([`select`]), and never changes to simulation behind
//! the operator's back. Simulation is a backend like any other. What hardware makes is recognised ([`Format`]) and
//! verified ([`AnyTee`]) with what its vendor says about platforms ([`CollateralSource`]). Clients that judge by evidence, not by
//! certificates, have the rest of TLS in [`tls`].
#![forbid(unsafe_code)]

mod any_tee;
mod backend;
mod bundle;
mod claims;
mod collateral;
mod dcap;
mod evidence;
mod format;
mod high_water;
mod issue;
mod peer;
mod policy;
mod roots;
mod simulation;
mod snp;
mod tee;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;
mod vtpm;
mod x509;

pub use any_tee::{AnyTee, Findings, Unverified, Verified};
pub use backend::{Backend, IssueError, Issuer, Verifier, VerifyError};
pub use bundle::{Bundle, BundleError};
pub use claims::{
    Claims, EnclaveClaims, Identity, Pcrs, SgxIdentity, SnpIdentity, SnpProduct, SnpTcbVersion, TcbStatus, TdxIdentity,
};
pub use collateral::{
    CollateralError, CollateralSource, IntelCollateral, IntelParts, IntelPlatform, NoCollateral, PckCa, VcekRequest,
    Window,
};
pub use dcap::IntelFindings;
pub use evidence::{Evidence, EvidenceTooLong, Incarnation, ReportData};
pub use format::{Format, FormatError};
pub use high_water::HighWater;
pub use peer::{MessageError, PeerAttestation, PeerEvidenceError, PeerIdentity, PeerMessage};
pub use policy::{Acceptance, Comparison, CoordinatorRefusal, Judged, PeerPolicy, PeerRefusal, Policy, Refusal};
pub use roots::{AmdRoot, Roots};
pub use simulation::{IdentityError, SimulatedIdentity, Simulation};
pub use snp::{CrlFindings, SnpFindings};
pub use tee::{Build, Devices, Kernel, LibOs, OtherBuild, SelectError, Tee, TeeChoice, UnknownTee, select};
pub use vtpm::HclReport;
