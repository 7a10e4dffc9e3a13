//! Writing: a new file as a stream, and one more delta behind an existing one.

use std::io::{self, Write};

use marblerun_state::{Change, State};

use super::{Dek, DekId, FileId, FileKeys, Head, MarkWrite, Marks, SealedRecord, Slot};

/// Why something could not be encoded, sealed or written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The sink failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A limit of the format is passed.
    #[error("{what} is too large for the sealed format: {actual}, at most {limit}")]
    TooLarge {
        /// Which.
        what: &'static str,
        /// How large it is.
        actual: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The crypto library failed.
    #[error("cryptographic operation failed: {0}")]
    Crypto(&'static str),
    /// The state cannot be sealed.
    #[error("the state cannot be sealed: {0}")]
    State(String),
}

/// What a new file is to hold.
#[derive(Debug)]
pub struct FileSpec<'a> {
    /// The state; must have an authority and a manifest. Its recovery sets become recovery slots.
    pub state: &'a State,
    /// Sequence number of the state.
    pub sequence: u64,
    /// Time of the commit that made it, Unix milliseconds.
    pub time_ms: u64,
    /// Head of the file this one continues; zeros at genesis.
    pub previous_head: Head,
    /// Data encryption key.
    pub dek: &'a Dek,
    /// Its name.
    pub dek_id: DekId,
    /// Further portable slots (PKCS#11, KMS, passphrase), wrapped under `dek` already.
    pub slots: Vec<Slot>,
    /// Program and version.
    pub writer: &'a str,
    /// Keep the parties' encrypted secrets in the header.
    pub recovery_in_header: bool,
    /// With a marks page (files on disk), or without (whole values in a Secret).
    pub marks: bool,
}

/// Writes a new file from front to back.
pub struct FileWriter<W> {
    sink: W,
}

/// Where a file ends, and all that is needed to append to it.
#[derive(Clone)]
pub struct Tail {
    /// Name of the file.
    pub file_id: FileId,
    /// What it is sealed with.
    pub keys: FileKeys,
    /// Offset behind the last record.
    pub end: u64,
    /// The last 20 bytes before `end` (own-file check).
    pub last: [u8; 20],
    /// The first 256 bytes of the file (own-file check).
    pub prologue: [u8; 256],
    /// Sequence of the last record.
    pub sequence: u64,
    /// Head after the last record.
    pub head: Head,
    /// Records in the file, snapshot included.
    pub records: u64,
    /// Bytes from the start of the file to the end of the snapshot record.
    pub snapshot_end: u64,
    /// The marks; `None` in files without.
    pub marks: Option<Marks>,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("sequence", &self.sequence).field("end", &self.end).finish_non_exhaustive()
    }
}

impl<W: Write> FileWriter<W> {
    /// Writes prologue, header, empty marks page and the snapshot, streaming.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn create(_sink: W, _spec: &FileSpec<'_>) -> Result<Self, WriteError> {
        todo!()
    }

    /// Appends a delta (the tail of a compaction): sequence must be the last plus 1.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn append<'c>(
        &mut self,
        _sequence: u64,
        _time_ms: u64,
        _changes: impl IntoIterator<Item = &'c Change>,
    ) -> Result<(), WriteError> {
        let _ = &self.sink;
        todo!()
    }

    /// Head after the last record written.
    #[must_use]
    pub fn head(&self) -> Head {
        todo!()
    }

    /// Flushes the sink. The mark still has to be written ([`Tail::mark`]), then the file synced.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn finish(self) -> Result<(W, Tail), WriteError> {
        todo!()
    }
}

impl Tail {
    /// Seals a delta with the next sequence number. Changes nothing: call [`Tail::advance`] once it is durable.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`] above [`super::MAX_DELTA`], [`super::MAX_CHANGE`], [`super::MAX_RECORDS`].
    pub fn seal_delta<'c>(
        &self,
        _time_ms: u64,
        _changes: impl IntoIterator<Item = &'c Change>,
    ) -> Result<SealedRecord, WriteError> {
        todo!()
    }

    /// The record stands at the end of the file.
    pub fn advance(&mut self, _record: &SealedRecord) {
        todo!()
    }

    /// The write that says "durable up to the end"; `None` in files without marks.
    pub fn mark(&mut self) -> Option<MarkWrite> {
        let end = self.end;
        self.marks.as_mut().map(|marks| marks.advance(end))
    }
}
