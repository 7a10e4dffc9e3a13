//! Why a sealed file is not opened: a stable code for programs, and cause, object and recommendation for people.

use std::io;

/// The outcomes of reading that are not a served state. Each leads to recovery mode, never to an exit.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Bytes that were durable are gone or changed.
    #[error("sealed_data is damaged{}: {what}. {advice}", place(.offset))]
    Damaged {
        /// Cause.
        what: String,
        /// Where in the file.
        offset: Option<u64>,
        /// Sequence of the last good record, if any (a possible argument of `--accept-loss-after`).
        intact: Option<u64>,
        /// Recommendation.
        advice: String,
    },
    /// The file ends before bytes that were durable: an incomplete copy.
    #[error("sealed_data is cut short: it has {length} bytes and must have at least {expected}. {advice}")]
    CutShort {
        /// Bytes there are.
        length: u64,
        /// Bytes there must be.
        expected: u64,
        /// Sequence of the last good record, if any.
        intact: Option<u64>,
        /// Recommendation.
        advice: String,
    },
    /// Written by a newer program.
    #[error("sealed_data has a newer format ({what}). Start the program version that wrote it, or a newer one.")]
    NewerFormat {
        /// What is not known here.
        what: String,
    },
    /// A key was found, but it is not this file's.
    #[error("the key found does not open sealed_data: the file belongs to another key. {advice}")]
    WrongKey {
        /// Recommendation.
        advice: String,
    },
    /// No key was found.
    #[error("no key opens sealed_data on this host: {reason}. Recover with the recovery keys of the manifest.")]
    NoKey {
        /// What was tried.
        reason: String,
    },
    /// `sealed_key` carries no valid witness.
    #[error("sealed_key does not vouch for a state: its witness is missing or forged. Recover with the recovery keys.")]
    NoWitness,
    /// This host vouches for a newer state.
    #[error(
        "sealed_data ends at sequence {found}, but this host vouches for {expected}: an older copy was put in place. \
         Recover with the recovery keys to accept it, or put the newer file back."
    )]
    OlderThanWitness {
        /// Last sequence of the file.
        found: u64,
        /// Sequence of the witness.
        expected: u64,
    },
    /// The file is not a continuation of the state this host vouches for.
    #[error(
        "sealed_data is not a continuation of the state this host vouches for at sequence {sequence}: it was continued \
         elsewhere. Recover with the recovery keys to accept it, or put this host's file back."
    )]
    Forked {
        /// Sequence of the witness.
        sequence: u64,
    },
    /// The file could not be read.
    #[error("sealed_data cannot be read: {0}. Check the volume and its permissions.")]
    Unreadable(#[from] io::Error),
}

impl Refusal {
    /// Stable code for status, logs and programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "damaged",
            Self::CutShort { .. } => "cut_short",
            Self::NewerFormat { .. } => "newer_format",
            Self::WrongKey { .. } => "wrong_key",
            Self::NoKey { .. } => "no_key",
            Self::NoWitness => "no_witness",
            Self::OlderThanWitness { .. } => "older_than_witness",
            Self::Forked { .. } => "forked",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

fn place(offset: &Option<u64>) -> String {
    offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default()
}
