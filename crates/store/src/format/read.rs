//! Reading a whole file: without a key (checksums), and with it (everything).

use marblerun_state::State;

use super::{Dek, Front, Head, Header, Refusal, Signature, Source, Tail};

/// What to do besides reading the newest state.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions {
    /// Report the head after the record with this sequence (the witness's).
    pub head_at: Option<u64>,
    /// Stop after the record with this sequence and ignore all that follows, marks included
    /// (`--accept-loss-after`, point-in-time restore). The result must be written as a new file of a new incarnation.
    pub stop_after: Option<u64>,
}

/// Bytes after the last good record that were never durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornTail {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// An opened file.
#[derive(Debug)]
pub struct Opened {
    /// Prologue and outer header.
    pub front: Front,
    /// The header inside the snapshot: the truth.
    pub header: Header,
    /// The outer header differs from it: write a new file before serving.
    pub header_altered: bool,
    /// The newest state; has passed [`State::validate`] and fits the inner header.
    pub state: State,
    /// When the last record was committed, Unix milliseconds.
    pub time_ms: u64,
    /// Where and how to go on: sequence, head, end, last bytes, counts, marks.
    pub tail: Tail,
    /// Dropped bytes, if any: archive them and write a new file before serving.
    pub torn: Option<TornTail>,
    /// Head after the record with sequence [`OpenOptions::head_at`]; `previous_head` where that is the snapshot's is
    /// not included (see [`super::check_witness`]).
    pub head_at: Option<(u64, Head)>,
    /// Reading was stopped by [`OpenOptions::stop_after`] before the end of the file.
    pub stopped: bool,
}

/// What the records of a file are worth, as far as one can tell without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// Sequence of the last whole record.
    pub sequence: u64,
    /// Its time, Unix milliseconds.
    pub time_ms: u64,
    /// Number of records, snapshot included.
    pub records: u64,
    /// End of the last whole record.
    pub end: u64,
    /// Bytes after it that were never durable.
    pub torn: Option<TornTail>,
}

/// What a file tells without a key.
#[derive(Debug)]
pub struct Inspected {
    /// Prologue and header.
    pub front: Front,
    /// State of the header's signature.
    pub signature: Signature,
    /// Length of the file.
    pub length: u64,
    /// Durable bytes by its marks (0: no marks).
    pub durable: u64,
    /// The records, or why they are refused.
    pub body: Result<Body, Refusal>,
}

/// Checks all that needs no key: prologue, header, checksums, sequence numbers, marks.
///
/// # Errors
/// [`Refusal`] if not even prologue and header can be read, or the file has upstream's layout (`Damaged`; use
/// [`super::read_front`] to tell).
pub fn inspect(_source: &(impl Source + ?Sized)) -> Result<Inspected, Refusal> {
    todo!()
}

/// Opens a file of ours.
///
/// # Errors
/// [`Refusal::WrongKey`] if `dek` is not its key; [`Refusal::Damaged`], [`Refusal::CutShort`],
/// [`Refusal::NewerFormat`], [`Refusal::Unreadable`].
pub fn open(_source: &(impl Source + ?Sized), _dek: &Dek, _options: OpenOptions) -> Result<Opened, Refusal> {
    todo!()
}
