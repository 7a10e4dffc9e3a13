//! A new `sealed_data`: built under another name, synced, proved, and only then put in place. Everything
//! but an append goes this way: genesis, compaction, rotation, repair, recovery, import.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use marblerun_state::State;

use super::archive::is_unsupported;
use super::footprint::{Footprint, Found};
use super::key::{self, HostKey, remove_if_there};
use super::names::NEW_DATA;
use crate::disk::{DiskFile, FileSystem, Readable, Sink, write_all};
use crate::format::{self, FileSpec, FileWriter, Head, OpenOptions, SEALED_DATA, SealedKey, Tail, WriteError};

/// What is the same for every file of one store.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub(super) writer: String,
    pub(super) recovery_in_header: bool,
}

/// What a new file is to hold.
#[derive(Debug)]
pub(super) struct Content<'a> {
    pub(super) state: &'a State,
    pub(super) sequence: u64,
    pub(super) time_ms: u64,
    /// Head of the file it continues; zeros where there is none.
    pub(super) previous_head: Head,
    pub(super) key: &'a HostKey,
}

/// A complete and synced file that is not in place yet.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) tail: Tail,
}

impl Built {
    /// What the file looks like.
    pub(super) fn footprint(&self) -> Footprint {
        Footprint::of_tail(&self.tail)
    }

    /// Reads it back and opens it, before what it replaces is gone.
    fn prove(self, key: &HostKey) -> Result<Self, String> {
        let source = Readable::new(&*self.file).map_err(|error| error.to_string())?;
        let opened = format::open(&source, &key.dek, OpenOptions::default())
            .map_err(|refusal| format!("the new file does not open: {refusal}"))?;
        let same = opened.tail.sequence == self.tail.sequence && opened.tail.head == self.tail.head;
        if same && !opened.header_altered && opened.torn.is_none() {
            Ok(self)
        } else {
            Err("the new file does not hold what was written to it".to_owned())
        }
    }
}

/// Writes the snapshot of a new file. More records may follow before [`finish`].
pub(super) fn begin(
    fs: &dyn FileSystem,
    style: &Style,
    content: &Content<'_>,
    cancelled: &Arc<AtomicBool>,
) -> Result<FileWriter<Sink>, WriteError> {
    remove_if_there(fs, NEW_DATA)?;
    let sink = Sink::new(fs.create(NEW_DATA)?, Arc::clone(cancelled));
    let spec = FileSpec {
        state: content.state,
        sequence: content.sequence,
        time_ms: content.time_ms,
        previous_head: content.previous_head,
        dek: &content.key.dek,
        dek_id: content.key.dek_id,
        slots: content.key.header_slots.clone(),
        writer: &style.writer,
        recovery_in_header: style.recovery_in_header,
        marks: true,
    };
    FileWriter::create(sink, &spec)
}

/// Completes and syncs a new file.
pub(super) fn finish(writer: FileWriter<Sink>) -> Result<Built, WriteError> {
    let (mut sink, mut tail) = writer.finish()?;
    sink.flush()?;
    let file = sink.into_file();
    if let Some(mark) = tail.mark() {
        write_all(&*file, &mark.bytes, mark.offset)?;
    }
    file.sync_all()?;
    Ok(Built { file, tail })
}

/// A whole new file in one go. On failure nothing is left of it.
pub(super) fn build(fs: &dyn FileSystem, style: &Style, content: &Content<'_>) -> Result<Built, String> {
    let built = begin(fs, style, content, &Arc::default()).and_then(finish).map_err(|error| error.to_string());
    built.and_then(|built| built.prove(content.key)).inspect_err(|_| abandon(fs))
}

/// Removes an unfinished file. Best effort: it is no trace, and the next one replaces it.
pub(super) fn abandon(fs: &dyn FileSystem) {
    let _ = remove_if_there(fs, NEW_DATA);
}

/// What must lie under the name for a new file to replace it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected<'a> {
    /// Nothing: a genesis never buries a file that has appeared meanwhile.
    Nothing,
    /// One of these.
    OneOf(&'a [Footprint]),
    /// One of these, or nothing (somebody removed it).
    OneOfOrNothing(&'a [Footprint]),
}

/// Why a new file is not durably in place.
#[derive(Debug)]
pub(super) enum NotPlaced {
    /// What was there is still there.
    Failed(String),
    /// Somebody else's file is there. It was not touched.
    Superseded,
    /// The new file is there, but a loss of power may undo that.
    Uncertain(String),
}

/// Writes `sealed_key` so that either file opens, then puts the new file in place.
pub(super) fn place(
    fs: &dyn FileSystem,
    built: &Built,
    key: &SealedKey,
    expected: Expected<'_>,
) -> Result<(), NotPlaced> {
    place_after(fs, built, key, expected, &|| Ok(()))
}

/// As [`place`], if `verify` agrees once `sealed_key` is written and before the old file is replaced.
pub(super) fn place_after(
    fs: &dyn FileSystem,
    built: &Built,
    key: &SealedKey,
    expected: Expected<'_>,
    verify: &dyn Fn() -> Result<(), String>,
) -> Result<(), NotPlaced> {
    let result = put(fs, built, key, expected, verify);
    if matches!(result, Err(NotPlaced::Failed(_) | NotPlaced::Superseded)) {
        abandon(fs);
    }
    result
}

fn put(
    fs: &dyn FileSystem,
    built: &Built,
    key: &SealedKey,
    expected: Expected<'_>,
    verify: &dyn Fn() -> Result<(), String>,
) -> Result<(), NotPlaced> {
    // Twice: where somebody else's file is there, `sealed_key` is not written either.
    check(fs, expected)?;
    key::write(fs, key).map_err(|error| NotPlaced::Failed(format!("sealed_key cannot be written: {error}")))?;
    verify().map_err(NotPlaced::Failed)?;
    check(fs, expected)?;
    if let Err(error) = fs.rename(NEW_DATA, SEALED_DATA) {
        // Believe the directory, not the error.
        if !matches!(built.footprint().look(fs), Ok(Found::Same)) {
            return Err(NotPlaced::Failed(format!("the new sealed_data cannot be put in place: {error}")));
        }
    }
    match fs.sync_directory() {
        Ok(()) => Ok(()),
        Err(error) if is_unsupported(&error) => {
            built.file.sync_all().map_err(|error| NotPlaced::Uncertain(error.to_string()))
        }
        Err(error) => Err(NotPlaced::Uncertain(format!("the seal directory cannot be synced: {error}"))),
    }
}

fn check(fs: &dyn FileSystem, expected: Expected<'_>) -> Result<(), NotPlaced> {
    let (footprints, may_be_missing) = match expected {
        Expected::Nothing => (&[][..], true),
        Expected::OneOf(footprints) => (footprints, false),
        Expected::OneOfOrNothing(footprints) => (footprints, true),
    };
    let unreadable = |error| NotPlaced::Failed(format!("sealed_data cannot be looked at: {error}"));
    for footprint in footprints {
        match footprint.look(fs).map_err(unreadable)? {
            Found::Same => return Ok(()),
            Found::Missing if may_be_missing => return Ok(()),
            Found::Missing => return Err(NotPlaced::Failed("sealed_data is missing".to_owned())),
            Found::Other => {}
        }
    }
    if footprints.is_empty() {
        let names = fs.list().map_err(unreadable)?;
        if !names.iter().any(|name| name == SEALED_DATA) {
            return Ok(());
        }
    }
    Err(NotPlaced::Superseded)
}
