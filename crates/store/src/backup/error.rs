//! Why a backup verb did not do what was asked: a stable code, and cause, object and recommendation.

use std::io;
use std::path::{Path, PathBuf};

use crate::format::Refusal;

/// Why a backup verb failed. Nothing is replaced by a failure; what was written halfway is removed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There is no state in the directory.
    #[error(
        "{} holds no sealed_data. A Coordinator writes one when a manifest is set; check the path \
         (EDG_COORDINATOR_SEAL_DIR) and that the manifest does not disable sealing",
        path.display()
    )]
    NoState {
        /// The directory.
        path: PathBuf,
    },
    /// The destination exists.
    #[error("{} exists and is not overwritten. Choose another name, or a folder", path.display())]
    Exists {
        /// The destination.
        path: PathBuf,
    },
    /// The file is not whole.
    #[error("{}: {refusal}", path.display())]
    NotWhole {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// Restoring would replace a state that is newer, or that cannot be compared.
    #[error("{reason}. Restore with --force to replace it all the same; what is replaced is kept beside it")]
    WouldReplace {
        /// `newer_state`, `other_deployment` or `unknown_state`.
        code: &'static str,
        /// What stands there.
        reason: String,
    },
    /// The file kept changing.
    #[error("{} was replaced again while it was being restored. Stop the Coordinator and restore again", path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// A key or secret given for verification is of no use.
    #[error("{0}")]
    BadKey(String),
    /// The keys given do not open the backup.
    #[error("the keys given do not open the backup: {0}")]
    NotOpened(String),
    /// The key of this host does not open it.
    #[error("{0}")]
    HostKey(Refusal),
    /// It opens, but its recovery keys would not be accepted.
    #[error("the backup opens, but a Coordinator would refuse the recovery: {0}")]
    QuorumRefused(String),
    /// The state has no form that the Go Coordinator would open.
    #[error("the state cannot be exported: {0}")]
    NotExportable(String),
    /// It opens, but is not what it should be.
    #[error("{0}")]
    NotAsExpected(String),
}

impl BackupError {
    /// Stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::NoState { .. } => "no_state",
            Self::Exists { .. } => "exists",
            Self::NotWhole { refusal, .. } | Self::HostKey(refusal) => refusal.code(),
            Self::WouldReplace { code, .. } => code,
            Self::Replaced { .. } => "replaced",
            Self::BadKey(_) => "bad_key",
            Self::NotOpened(_) => "not_opened",
            Self::QuorumRefused(_) => "quorum_refused",
            Self::NotExportable(_) => "not_exportable",
            Self::NotAsExpected(_) => "not_as_expected",
        }
    }

    /// For `map_err` on calls of the operating system.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err` on reading a sealed file.
    pub(super) fn not_whole(path: &Path) -> impl FnOnce(Refusal) -> Self {
        let path = path.to_path_buf();
        move |refusal| Self::NotWhole { path, refusal }
    }
}
