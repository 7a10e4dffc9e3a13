//! Writing: a new file as a stream, and one more delta behind an existing one.

use std::io::{self, Write};

use marblerun_sealing::SlotKind;
use marblerun_state::{Change, State};

use super::record::{Kind, RecordHeader, RecordWriter};
use super::{Dek, DekId, FileId, FileKeys, Front, Head, Header, MAX_RECORDS, MarkWrite, Marks, SealedRecord, Slot};

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
    /// The state; must have an authority, and a manifest unless it is shared. Its recovery sets become recovery slots.
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
    tail: Tail,
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

impl WriteError {
    /// Compares with a limit of the format.
    pub(super) fn check(what: &'static str, actual: u64, limit: u64) -> Result<(), Self> {
        if actual > limit { Err(Self::TooLarge { what, actual, limit }) } else { Ok(()) }
    }
}

impl FileSpec<'_> {
    fn header(&self) -> Result<Header, WriteError> {
        let manifest_sha256 = match self.state.manifest() {
            Some(manifest) => manifest.fingerprint,
            // One's own state is stored from its manifest on, a shared one from the start.
            None if self.state.home().is_some() => Header::NO_MANIFEST,
            None => return Err(WriteError::State("it has no manifest".into())),
        };
        let mut slots = Vec::new();
        let mut recovery = Vec::new();
        for entry in self.state.recovery() {
            let (root, epoch) = (entry.root.expose(), &entry.set.epoch);
            slots.push(Slot::wrap(SlotKind::Recovery, root, self.dek, self.dek_id, "recovery", epoch)?);
            let mut set = entry.set.clone();
            if !self.recovery_in_header {
                set.parties.iter_mut().for_each(|party| party.encrypted_secret.clear());
            }
            recovery.push(set);
        }
        slots.extend_from_slice(&self.slots);
        Ok(Header {
            lineage: *self.state.lineage(),
            sequence: self.sequence,
            previous_head: self.previous_head,
            dek_id: self.dek_id,
            root_certificate: self.state.authority().root_certificate.clone(),
            manifest_sha256,
            time_ms: i64::try_from(self.time_ms).unwrap_or(i64::MAX),
            writer: self.writer.to_owned(),
            slots,
            recovery,
        })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, WriteError> {
        let key = &self.state.authority().root_key;
        key.sign_sha384(message).map_err(|_| WriteError::Crypto("signature of the header"))
    }
}

impl<W: Write> FileWriter<W> {
    /// Writes prologue, header, empty marks page and the snapshot, streaming.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn create(mut sink: W, spec: &FileSpec<'_>) -> Result<Self, WriteError> {
        let file_id = FileId::generate()?;
        let keys = FileKeys::derive(spec.dek, file_id)?;
        let front = Front::new(spec.header()?, file_id, &keys, spec.marks, |message| spec.sign(message))?;
        sink.write_all(&front.encode())?;
        let header = RecordHeader::new(Kind::Snapshot, spec.sequence, spec.time_ms);
        let mut record = RecordWriter::new(&keys, &mut sink, header, [0; 32])?;
        record.item(&front.header_bytes)?;
        for change in spec.state.to_changes() {
            record.item(&change.encode())?;
        }
        let written = record.finish(&spec.previous_head)?;
        let end = front.records_at + written.length;
        let tail = Tail {
            file_id,
            keys,
            end,
            last: written.last,
            prologue: front.prologue,
            sequence: spec.sequence,
            head: written.head,
            records: 1,
            snapshot_end: end,
            marks: front.marks_page().map(Marks::empty),
        };
        Ok(Self { sink, tail })
    }

    /// Appends a delta (the tail of a compaction): sequence must be the last plus 1.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn append<'c>(
        &mut self,
        sequence: u64,
        time_ms: u64,
        changes: impl IntoIterator<Item = &'c Change>,
    ) -> Result<(), WriteError> {
        if self.tail.sequence.checked_add(1) != Some(sequence) {
            let last = self.tail.sequence;
            return Err(WriteError::State(format!("sequence {sequence} cannot follow sequence {last}")));
        }
        let record = self.tail.seal_delta(time_ms, changes)?;
        self.sink.write_all(&record.bytes)?;
        self.tail.advance(&record);
        Ok(())
    }

    /// Head after the last record written.
    #[must_use]
    pub fn head(&self) -> Head {
        self.tail.head
    }

    /// The sink, to flush and sync what was written so far.
    pub fn sink(&mut self) -> &mut W {
        &mut self.sink
    }

    /// Flushes the sink. The mark still has to be written ([`Tail::mark`]), then the file synced.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn finish(mut self) -> Result<(W, Tail), WriteError> {
        self.sink.flush()?;
        Ok((self.sink, self.tail))
    }
}

impl Tail {
    /// Seals a delta with the next sequence number. Changes nothing: call [`Tail::advance`] once it is durable.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`] above [`super::MAX_DELTA`], [`super::MAX_CHANGE`], [`super::MAX_RECORDS`];
    /// [`WriteError::State`] without any change, or in a file without marks.
    pub fn seal_delta<'c>(
        &self,
        time_ms: u64,
        changes: impl IntoIterator<Item = &'c Change>,
    ) -> Result<SealedRecord, WriteError> {
        WriteError::check("number of records", self.records.saturating_add(1), MAX_RECORDS)?;
        if self.marks.is_none() {
            return Err(WriteError::State("a file without marks holds a snapshot alone".into()));
        }
        let Some(sequence) = self.sequence.checked_add(1) else {
            return Err(WriteError::State("the last sequence number is used up".into()));
        };
        let mut bytes = Vec::new();
        let header = RecordHeader::new(Kind::Delta, sequence, time_ms);
        let mut record = RecordWriter::new(&self.keys, &mut bytes, header, self.head)?;
        for change in changes {
            record.item(&change.encode())?;
        }
        let written = record.finish(&self.head)?;
        Ok(SealedRecord { bytes, sequence, head: written.head })
    }

    /// The record stands at the end of the file.
    pub fn advance(&mut self, record: &SealedRecord) {
        self.end += record.bytes.len() as u64;
        self.sequence = record.sequence;
        self.head = record.head;
        self.records += 1;
        if let Some(last) = record.bytes.last_chunk() {
            self.last = *last;
        }
    }

    /// The write that says "durable up to the end"; `None` in files without marks.
    pub fn mark(&mut self) -> Option<MarkWrite> {
        let end = self.end;
        self.marks.as_mut().map(|marks| marks.advance(end))
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
