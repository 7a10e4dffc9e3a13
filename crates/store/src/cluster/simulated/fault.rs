//! What can go wrong between an instance and the place, and the log of what was asked.

use std::time::Duration;

/// A method of [`SharedPlace`](crate::cluster::SharedPlace).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `read`
    Read,
    /// `version`
    Version,
    /// `create`
    Create,
    /// `replace`
    Replace,
    /// `read_part`
    ReadPart,
    /// `write_part`
    WritePart,
    /// `archives`
    Archives,
    /// `archive`
    Archive,
    /// `entries`
    Entries,
    /// `change_entries`
    ChangeEntries,
    /// `report`
    Report,
}

impl Call {
    /// Whether it may change something.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Replace | Self::WritePart | Self::Archive | Self::ChangeEntries)
    }
}

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives; no answer.
    LostRequest,
    /// It is carried out; no answer.
    LostAnswer,
    /// No answer; it arrives when the test lets it ([`SimulatedStore::land`](super::SimulatedStore::land)).
    Late,
    /// Carried out, then repeated by something in between: the caller hears the answer to the repetition, which is a
    /// conflict with itself.
    Repeated,
    /// 504 after it was carried out.
    GatewayTimeout,
    /// 500 before anything was done.
    ServerError,
    /// 429, with the time after which to come again.
    TooManyRequests(Option<Duration>),
    /// It is carried out; the answer makes no sense.
    Garbled,
}

impl Fault {
    /// Whether the call takes effect all the same, and at once.
    pub(super) fn carried_out(&self) -> bool {
        matches!(self, Self::LostAnswer | Self::Repeated | Self::GatewayTimeout | Self::Garbled)
    }

    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::LostRequest | Self::LostAnswer | Self::Late => "no answer in time",
            Self::Repeated => "409: the object has been modified",
            Self::GatewayTimeout => "504: the request did not complete in time",
            Self::ServerError => "500: internal error",
            Self::TooManyRequests(_) => "429: too many requests",
            Self::Garbled => "the answer is not what was sent",
        }
    }
}

/// How a call ended, as its caller saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Done,
    /// It was answered by a conflict.
    Conflict,
    /// It was refused, or there is nothing.
    Refused(String),
    /// It is not known.
    Unknown(String),
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Whose.
    pub instance: String,
    /// What.
    pub call: Call,
    /// How it ended.
    pub outcome: Outcome,
}
