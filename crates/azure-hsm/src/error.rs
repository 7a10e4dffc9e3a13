//! Why no key came.

/// What went wrong between this program, MAA and the vault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// This program has no evidence to show.
    #[error("there is no evidence to show to Azure Attestation: {0}")]
    NoEvidence(String),
    /// No answer before the deadline, or none that could be understood. The service, or the way to it, is at fault.
    #[error("{service}: {reason}")]
    NoAnswer {
        /// Who was asked.
        service: &'static str,
        /// What happened.
        reason: String,
    },
    /// The service answered no. The configuration, or this program's identity, is at fault.
    #[error("{service} refuses: {reason}")]
    Refused {
        /// Who was asked.
        service: &'static str,
        /// What it said.
        reason: String,
    },
    /// The answer is not the vault's answer to this request. Somebody else may have given it.
    #[error("the vault's answer is not believed: {0}")]
    NotBelieved(String),
    /// The crypto library failed.
    #[error("{0} failed")]
    Crypto(&'static str),
}
