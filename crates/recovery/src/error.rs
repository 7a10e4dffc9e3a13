//! Why recovery data could not be made, or a secret was refused.

/// Why recovery data could not be made, or a secret was refused. Nothing is changed by a refusal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecoveryError {
    /// A key of the manifest is not usable.
    #[error("recovery key {name:?}: {reason}")]
    BadKey {
        /// Party.
        name: String,
        /// Cause.
        reason: String,
    },
    /// Threshold and number of keys do not fit.
    #[error("{0}")]
    BadPolicy(String),
    /// The secret was refused.
    #[error("{0}")]
    Refused(String),
    /// The crypto library failed; nobody is to blame for it.
    #[error("cryptographic operation failed: {0}")]
    Crypto(&'static str),
}
