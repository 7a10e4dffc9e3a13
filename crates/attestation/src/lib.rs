//! Who is at the other end? A machine's hardware issues [`Evidence`] of what runs in it, bound to
//! [`ReportData`]; a [`Verifier`] turns evidence into [`Claims`]; a [`Policy`] says whether they will do, for a
//! Marble of a package ([`Policy::accepts_marble`]) or for a Coordinator ([`Policy::accepts_coordinator`]). Coordinators
//! of one deployment judge each other by what they are themselves ([`PeerAttestation`], [`PeerPolicy`]).
//!
//! Which hardware is used is decided once, at start ([`select`]), and never changes to simulation behind
//! the operator's back. Simulation is a backend like any other. What hardware makes is
//! recognised ([`Format`]) and refused ([`AnyTee`]).
#![forbid(unsafe_code)]

mod any_tee;
mod backend;
mod bundle;
mod claims;
mod evidence;
mod format;
mod issue;
mod peer;
mod policy;
mod simulation;
mod tee;

pub use any_tee::AnyTee;
pub use backend::{Backend, IssueError, Issuer, Verifier, VerifyError};
pub use bundle::{Bundle, BundleError};
pub use claims::{Claims, EnclaveClaims, TcbStatus};
pub use evidence::{Evidence, EvidenceTooLong, ReportData};
pub use format::{Format, FormatError};
pub use peer::{MessageError, PeerAttestation, PeerEvidenceError, PeerIdentity, PeerMessage};
pub use policy::{Acceptance, CoordinatorRefusal, PeerPolicy, PeerRefusal, Policy, Refusal};
pub use simulation::{IdentityError, SimulatedIdentity, Simulation};
pub use tee::{Devices, Kernel, LibOs, SelectError, Tee, TeeChoice, UnknownTee, select};
