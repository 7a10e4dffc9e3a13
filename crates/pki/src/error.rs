//! Why a key, certificate or secret could not be made or read.

/// Why a certificate or secret could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The definition asks for something that cannot be made (wording follows upstream where clients see it).
    #[error("{0}")]
    Definition(String),
    /// A stored or given object cannot be read.
    #[error("{what}: {reason}")]
    Malformed {
        /// Which object.
        what: &'static str,
        /// Cause.
        reason: String,
    },
    /// The crypto library failed.
    #[error("cryptographic operation failed: {0}")]
    Crypto(&'static str),
}

impl PkiError {
    /// A definition that cannot be made.
    pub(crate) fn definition(text: impl Into<String>) -> Self {
        Self::Definition(text.into())
    }

    /// An object that cannot be read.
    pub(crate) fn malformed(what: &'static str, reason: impl ToString) -> Self {
        Self::Malformed { what, reason: reason.to_string() }
    }

    /// Names the secret in a complaint about its definition.
    pub(crate) fn for_secret(self, name: &str) -> Self {
        match self {
            Self::Definition(text) => Self::Definition(format!("{text} (secret {name})")),
            other => other,
        }
    }
}

/// Something that should always encode did not: a bug or a value of absurd size.
impl From<der::Error> for PkiError {
    fn from(error: der::Error) -> Self {
        Self::malformed("encoding", error)
    }
}
