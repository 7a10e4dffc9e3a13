//! What can go wrong between a program and a token, told to the operator.

use std::path::PathBuf;

use cryptoki::error::{Error, Rv, RvError};

/// A failed use of a token.
#[derive(Debug, thiserror::Error)]
pub enum Pkcs11Error {
    /// The operator's configuration file is missing or unreadable.
    #[error("could not open config file: {path}: open {path}: {reason}", path = .path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// Cause.
        reason: String,
    },
    /// The operator's configuration file is not what it should be.
    #[error("could not decode config file: {path}: {reason}", path = .path.display())]
    ConfigFormat {
        /// The file.
        path: PathBuf,
        /// Cause.
        reason: String,
    },
    /// The operator's configuration names no token, or names it twice.
    #[error("config must specify exactly one way to select a token: {0}")]
    TokenChoice(String),
    /// Another value of the operator's configuration cannot be used.
    #[error("{0}")]
    ConfigValue(String),
    /// The vendor's module cannot be used.
    #[error("failed to create module context: failed to open module {path}: {reason}", path = .path.display())]
    Module {
        /// The module.
        path: PathBuf,
        /// Cause.
        reason: String,
    },
    /// No slot holds the token wanted.
    #[error("could not find PKCS#11 token with {wanted}. {present}")]
    NoToken {
        /// As configured.
        wanted: String,
        /// Which tokens there are.
        present: String,
    },
    /// The token refuses the PIN.
    #[error("failed to log into long term session: {code}{advice}")]
    Login {
        /// Its answer.
        code: Code,
        /// What to know before the next try.
        advice: &'static str,
    },
    /// There is no PIN, or it cannot be read.
    #[error("{0}")]
    Pin(String),
    /// An id or label given by the user is malformed.
    #[error("{0}")]
    Selector(String),
    /// No private key with the id and label wanted.
    #[error("key pair with id={id} and label={label} was not found or is empty. {present}")]
    NoKey {
        /// Hex.
        id: String,
        /// Hex.
        label: String,
        /// Which keys there are.
        present: String,
    },
    /// No certificate with the id and label wanted.
    #[error("no certificate found for id {id:?} and label {label:?}. {present}")]
    NoCertificate {
        /// As text.
        id: String,
        /// As text.
        label: String,
        /// Which certificates there are.
        present: String,
    },
    /// The key on the token is of another kind than its use needs.
    #[error("{0}")]
    KeyKind(String),
    /// The ciphertext was made for another key or is damaged. The text is upstream's.
    #[error("crypto/rsa: decryption error")]
    Decryption,
    /// All sessions are in use, and stay so.
    #[error("no session of the token became free within {0:?}; raise MaxSessions or PoolWaitTimeout")]
    Busy(std::time::Duration),
    /// A call of the module failed.
    #[error("{doing}: {code}{advice}")]
    Call {
        /// What was tried.
        doing: &'static str,
        /// The module's answer.
        code: Code,
        /// What it means here, if that is known.
        advice: &'static str,
    },
    /// The module's answer makes no sense, or an answer of this process to it cannot be encoded.
    #[error("{doing}: {reason}")]
    Answer {
        /// What was tried.
        doing: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Pkcs11Error {
    /// What a call that failed means for the one who asked for it.
    pub(crate) fn call(doing: &'static str) -> impl FnOnce(Error) -> Self {
        move |error| match error {
            Error::Pkcs11(code, _) => {
                let code = Code(code);
                Self::Call { doing, advice: code.advice(), code }
            }
            other => Self::Answer { doing, reason: other.to_string() },
        }
    }

    pub(crate) fn answer(doing: &'static str, reason: impl ToString) -> Self {
        Self::Answer { doing, reason: reason.to_string() }
    }

    /// The module's answer, if it gave one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Login { code, .. } | Self::Call { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// A return value other than `CKR_OK`, shown as `pkcs11: 0xA0: CKR_PIN_INCORRECT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub(crate) RvError);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The library keeps names and numbers to itself, but turns numbers into its names.
        if let Some(number) = (1..0x400).find(|number| Rv::from(*number) == Rv::Error(self.0)) {
            write!(f, "pkcs11: {number:#X}: ")?;
        } else {
            write!(f, "pkcs11: ")?;
        }
        write!(f, "CKR")?;
        for letter in format!("{:?}", self.0).chars() {
            if letter.is_ascii_uppercase() {
                write!(f, "_")?;
            }
            write!(f, "{}", letter.to_ascii_uppercase())?;
        }
        Ok(())
    }
}

impl Code {
    fn advice(self) -> &'static str {
        match self.0 {
            RvError::MechanismInvalid | RvError::MechanismParamInvalid => {
                ". The token, or this key on it, cannot do the operation asked for"
            }
            RvError::KeyFunctionNotPermitted => ". The key's attributes on the token forbid this use of it",
            RvError::UserNotLoggedIn => {
                ". The token wants a login for this; if the key demands the PIN for each use (CKA_ALWAYS_AUTHENTICATE), it cannot be used here"
            }
            RvError::DeviceRemoved | RvError::TokenNotPresent => ". Was the token taken out?",
            RvError::SessionCount => ". The token has no session left; lower MaxSessions",
            _ => "",
        }
    }

    /// The token does not know the mechanism, or not with these parameters.
    pub(crate) fn is_unsupported(self) -> bool {
        matches!(
            self.0,
            RvError::ArgumentsBad
                | RvError::MechanismInvalid
                | RvError::MechanismParamInvalid
                | RvError::FunctionNotSupported
        )
    }

    /// The ciphertext is not one of this key.
    pub(crate) fn is_bad_ciphertext(self) -> bool {
        matches!(
            self.0,
            RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::DataInvalid
                | RvError::DataLenRange
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_value_is_shown_by_number_and_name() {
        assert_eq!(Code(RvError::PinIncorrect).to_string(), "pkcs11: 0xA0: CKR_PIN_INCORRECT");
        assert_eq!(Code(RvError::ArgumentsBad).to_string(), "pkcs11: 0x7: CKR_ARGUMENTS_BAD");
        assert_eq!(Code(RvError::UserNotLoggedIn).to_string(), "pkcs11: 0x101: CKR_USER_NOT_LOGGED_IN");
    }
}
