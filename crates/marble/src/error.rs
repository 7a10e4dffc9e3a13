//! Why a service did not become a Marble, and the exit code that says so.

use std::time::Duration;

use crate::config::ConfigError;
use crate::files::FileError;
use crate::program::ProgramError;
use crate::trust::Untrusted;
use crate::uuid_file::UuidFileError;

/// Why a service did not become a Marble.
#[derive(Debug, thiserror::Error)]
pub enum PremainError {
    /// A variable is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No evidence can be made here.
    #[error("{0}")]
    Attestation(String),
    /// Key or certificate could not be made.
    #[error("making the TLS identity: {0}")]
    Identity(String),
    /// The UUID file is no use.
    #[error(transparent)]
    UuidFile(#[from] UuidFileError),
    /// The Coordinator said no, or something that makes no sense. Asking again would not help.
    #[error("the Coordinator refused the activation ({code}): {message}")]
    Refused {
        /// gRPC code by name.
        code: String,
        /// The Coordinator's words.
        message: String,
    },
    /// Something else listens there.
    #[error(
        "what answers at {address} is not the Marble API of a Coordinator (its default port is 2001; 4433 is the \
         client API); set EDG_MARBLE_COORDINATOR_ADDR"
    )]
    NoMarbleApi {
        /// Where it was asked.
        address: String,
    },
    /// The Coordinator did not become ready in time.
    #[error("gave up after {:.0?}: {last}", .after)]
    GaveUp {
        /// How long it was tried.
        after: Duration,
        /// What kept it from succeeding at last.
        last: String,
    },
    /// Whoever answered is not the Coordinator that is expected.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The manifest wants connections wrapped that this premain does not wrap.
    #[error("TTLS configured, but Marble runtime doesn't support TTLS")]
    Ttls,
    /// The files could not be written; none was changed.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The program cannot be started as told.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

impl PremainError {
    /// The exit code; `marblerun-premain --help` lists them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Attestation(_) | Self::Identity(_) | Self::UuidFile(_) => 1,
            Self::Refused { .. } | Self::NoMarbleApi { .. } => 3,
            Self::GaveUp { .. } => 4,
            Self::Untrusted(_) => 5,
            Self::Ttls | Self::Files(_) | Self::Program(ProgramError::Parameters(_)) => 6,
            Self::Program(ProgramError::NotExecutable { .. }) => 126,
            Self::Program(ProgramError::NotFound { .. }) => 127,
        }
    }
}
