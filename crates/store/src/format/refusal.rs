//! Why a sealed file is not opened: a stable code for programs, and cause, object and recommendation for people.

use std::fmt;
use std::io;

/// The outcomes of reading that are not a served state. Each leads to recovery mode, never to an exit.
#[derive(Debug)]
pub enum Refusal {
    /// Bytes that were durable are gone or changed.
    Damaged {
        /// Cause.
        what: String,
        /// Where in the file.
        offset: Option<u64>,
        /// What stands intact before it.
        intact: Option<Intact>,
    },
    /// The file ends before bytes that were durable: an incomplete copy.
    CutShort {
        /// Bytes there are.
        length: u64,
        /// Bytes there must be.
        expected: u64,
        /// What stands intact.
        intact: Option<Intact>,
    },
    /// Written by a newer program.
    NewerFormat {
        /// What is not known here.
        what: String,
    },
    /// A key was found, but it is not this file's.
    WrongKey,
    /// No key was found.
    NoKey {
        /// What was tried.
        reason: String,
    },
    /// `sealed_key` carries no valid witness.
    NoWitness,
    /// This host vouches for a newer state.
    OlderThanWitness {
        /// Last sequence of the file.
        found: u64,
        /// Sequence of the witness.
        expected: u64,
    },
    /// The file is not a continuation of the state this host vouches for.
    Forked {
        /// Sequence of the witness.
        sequence: u64,
    },
    /// The monotonic counter outside of the files says that they are not the newest, or cannot say that they are.
    Counter {
        /// Its device, as `tpm`.
        device: &'static str,
        /// What it says.
        finding: CounterFinding,
    },
    /// The state asked for by sequence is not in the file.
    NoSuchSequence {
        /// Asked for.
        asked: u64,
        /// The first there is.
        first: u64,
        /// The last there is.
        last: u64,
    },
    /// The file could not be read.
    Unreadable(io::Error),
}

/// Why a monotonic counter does not vouch for a pair of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CounterFinding {
    /// It has counted since they were written.
    Older {
        /// How often.
        by: u64,
    },
    /// They name no value of it, but their state has used it.
    Unmarked,
    /// It is not the counter that they name, or never had the value that they name: why.
    Another(String),
    /// It cannot be asked: why.
    Unavailable(String),
}

impl CounterFinding {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Older { .. } | Self::Unmarked => "older_than_counter",
            Self::Another(_) => "wrong_counter",
            Self::Unavailable(_) => "no_counter",
        }
    }

    /// Whether it speaks against the files, rather than not at all.
    #[must_use]
    pub fn is_contradiction(&self) -> bool {
        !matches!(self, Self::Unavailable(_))
    }
}

/// The records before a damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intact {
    /// How many, snapshot included.
    pub records: u64,
    /// Sequence of the last of them: the argument of `--accept-loss-after`.
    pub sequence: u64,
}

impl Refusal {
    /// Stable code for status, logs and programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "damaged",
            Self::CutShort { .. } => "cut_short",
            Self::NewerFormat { .. } => "newer_format",
            Self::WrongKey => "wrong_key",
            Self::NoKey { .. } => "no_key",
            Self::NoWitness => "no_witness",
            Self::OlderThanWitness { .. } => "older_than_witness",
            Self::Forked { .. } => "forked",
            Self::Counter { finding, .. } => finding.code(),
            Self::NoSuchSequence { .. } => "no_such_sequence",
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// As displayed, of a state that has no recovery keys: asking for them would lead nowhere.
    pub(crate) fn without_recovery_keys(&self) -> String {
        /// Cause and object, with another recommendation.
        struct Cause<'a>(&'a Refusal);
        impl fmt::Display for Cause<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.cause(f)
            }
        }
        match self {
            Self::WrongKey | Self::NoKey { .. } => format!(
                "{} The state names no recovery keys: put the key of its own host back (sealed_key, and the sealing key of that \
                 host) and restart, or restore a backup that has recovery keys.",
                Cause(self)
            ),
            Self::Counter { finding: CounterFinding::Unavailable(_), .. } => format!(
                "{} Make it available as before and restart. The state names no recovery keys whose holders could consent.",
                Cause(self)
            ),
            Self::NoWitness | Self::OlderThanWitness { .. } | Self::Forked { .. } | Self::Counter { .. } => format!(
                "{} The state names no recovery keys whose holders could consent: put this host's own files back and restart.",
                Cause(self)
            ),
            _ => self.to_string(),
        }
    }

    /// Damage at a place that is known by its name.
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), offset: None, intact: None }
    }

    /// Cause and object.
    fn cause(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { what, offset, intact } => {
                f.write_str("sealed_data is damaged")?;
                if let Some(intact) = intact {
                    write!(f, " at record {}", intact.records + 1)?;
                }
                if let Some(offset) = offset {
                    write!(f, " at byte {offset}")?;
                }
                write!(f, " ({what}).")
            }
            Self::CutShort { length, expected, .. } => write!(
                f,
                "sealed_data is cut short: it has {length} bytes and must have at least {expected}; it is an incomplete copy."
            ),
            Self::NewerFormat { what } => write!(f, "sealed_data has a newer format ({what})."),
            Self::WrongKey => {
                f.write_str("The key found does not open sealed_data: the file was sealed with another key.")
            }
            Self::NoKey { reason } => write!(f, "No key opens sealed_data on this host: {reason}."),
            Self::NoWitness => f.write_str(
                "sealed_key does not say which state this host vouches for: its witness is missing or not genuine.",
            ),
            Self::OlderThanWitness { found, expected } => write!(
                f,
                "sealed_data ends at sequence {found}, but this host vouches for sequence {expected}: it is an older copy."
            ),
            Self::Forked { sequence } => write!(
                f,
                "sealed_data does not continue the state this host vouches for at sequence {sequence}: it was changed elsewhere."
            ),
            Self::Counter { device, finding: CounterFinding::Older { by } } => write!(
                f,
                "The monotonic counter of {device} has counted on since these files were written (by {by}): sealed_data and \
                 sealed_key are an older copy."
            ),
            Self::Counter { device, finding: CounterFinding::Unmarked } => write!(
                f,
                "sealed_key names no value of the monotonic counter of {device}, but this state has one: these files are an older \
                 copy, from before it was used, or were written while it was not configured or did not answer."
            ),
            Self::Counter { device, finding: CounterFinding::Another(why) } => {
                write!(f, "The monotonic counter of {device} is not the one that sealed_key names: {why}.")
            }
            Self::Counter { device, finding: CounterFinding::Unavailable(why) } => write!(
                f,
                "Whether sealed_data and sealed_key are the newest is told by the monotonic counter of {device}, which cannot be \
                 asked: {why}."
            ),
            Self::NoSuchSequence { asked, first, last } => {
                write!(f, "sealed_data holds no state of sequence {asked}: it goes from {first} to {last}.")
            }
            Self::Unreadable(error) => write!(f, "sealed_data cannot be read: {error}."),
        }
    }

    /// Recommendation.
    fn advice(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { intact: Some(intact), .. } | Self::CutShort { intact: Some(intact), .. } => write!(
                f,
                " The {} intact; start with --accept-loss-after {} to continue from there, or restore a backup.",
                if intact.records == 1 {
                    "one record before it is".into()
                } else {
                    format!("{} records before it are", intact.records)
                },
                intact.sequence
            ),
            Self::Damaged { intact: None, .. } => f.write_str(" Nothing in it can be used; restore a backup."),
            Self::CutShort { intact: None, .. } => f.write_str(" Copy it again, or restore a backup."),
            Self::NewerFormat { .. } => f.write_str(" Start the program version that wrote it, or a newer one."),
            Self::WrongKey => f.write_str(
                " Put the sealed_key of this file beside it, or recover with the recovery keys that were in force when it was written.",
            ),
            Self::NoKey { .. } => f.write_str(" Recover with the recovery keys of the manifest."),
            Self::NoWitness => f.write_str(" Recover with the recovery keys of the manifest, which consents to this state."),
            Self::OlderThanWitness { .. } | Self::Forked { .. } => f.write_str(
                " Recover with the recovery keys of the manifest to accept it, or put this host's own file back.",
            ),
            Self::Counter { finding: CounterFinding::Unavailable(_), .. } => f.write_str(
                " Make it available as before and restart, or recover with the recovery keys of the manifest, which goes on \
                 with this state.",
            ),
            Self::Counter { .. } => f.write_str(
                " Recover with the recovery keys of the manifest to accept this state, or put this host's own newest files back, \
                 both of them.",
            ),
            Self::NoSuchSequence { .. } => f.write_str(" Choose one of these."),
            Self::Unreadable(_) => f.write_str(" Check the volume, and owner and permissions of the file."),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause(f)?;
        self.advice(f)
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_cause_object_and_recommendation() {
        let damaged = Refusal::Damaged {
            what: "authentication failed".into(),
            offset: Some(9000),
            intact: Some(Intact { records: 16, sequence: 42 }),
        };
        assert_eq!(
            damaged.to_string(),
            "sealed_data is damaged at record 17 at byte 9000 (authentication failed). The 16 records before it are \
             intact; start with --accept-loss-after 42 to continue from there, or restore a backup."
        );
        let intact = Some(Intact { records: 1, sequence: 7 });
        let cut = Refusal::CutShort { length: 1, expected: 2, intact };
        assert!(cut.to_string().contains("The one record before it is intact;"), "{cut}");
        let no_key = Refusal::NoKey { reason: "there is no sealed_key".into() };
        assert!(no_key.to_string().ends_with("Recover with the recovery keys of the manifest."));
        assert!(!no_key.without_recovery_keys().contains("Recover with"));
        assert!(no_key.without_recovery_keys().starts_with("No key opens sealed_data on this host: there is no"));
        assert_eq!(damaged.without_recovery_keys(), damaged.to_string());
        let older = Refusal::OlderThanWitness { found: 3, expected: 9 };
        assert!(older.without_recovery_keys().contains("put this host's own files back"));
        assert_eq!(older.code(), "older_than_witness");
        assert!(older.to_string().contains("Recover with the recovery keys"));
    }

    #[test]
    fn what_a_counter_says_names_it_and_what_to_do() {
        let cases = [
            (CounterFinding::Older { by: 3 }, "older_than_counter", "(by 3)"),
            (CounterFinding::Unmarked, "older_than_counter", "names no value"),
            (CounterFinding::Another("it was removed".into()), "wrong_counter", "it was removed."),
            (CounterFinding::Unavailable("no device".into()), "no_counter", "no device."),
        ];
        for (finding, code, text) in cases {
            let refusal = Refusal::Counter { device: "tpm", finding };
            let message = refusal.to_string();
            assert_eq!(refusal.code(), code);
            assert!(message.contains("counter of tpm") && message.contains(text), "{message}");
            assert!(message.to_lowercase().contains("recover with the recovery keys"), "{message}");
            assert!(!refusal.without_recovery_keys().to_lowercase().contains("recover with"));
        }
    }
}
