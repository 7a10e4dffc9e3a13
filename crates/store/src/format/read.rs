//! Reading a whole file: without a key (checksums), and with it (everything).

use std::fmt::Display;

use marblerun_state::{Change, Loader, State};

use super::record::{Kind, RECORD_HEADER, RecordHeader};
use super::scan::{Contents, Extent, Fault, Walk, walk, walk_on};
use super::{Dek, Front, Head, Header, Layout, Refusal, Signature, Source, Tail, read_front};

/// What to do besides reading the newest state.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions {
    /// Report the head after the record with this sequence (the witness's).
    pub head_at: Option<u64>,
    /// Stop after the record with this sequence and ignore all that follows, marks included
    /// (`--accept-loss-after`, point-in-time restore). The result must be written as a new file of a new incarnation.
    /// Against damage, to be used only after a plain open was refused: a file that opens loses nothing.
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
    /// The sequence of [`OpenOptions::head_at`] and the head after the record that has it, if there is one.
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
    /// Head after the last whole record, as far as the outer header tells the truth.
    pub head: Head,
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
pub fn inspect(source: &(impl Source + ?Sized)) -> Result<Inspected, Refusal> {
    let front = sealed_front(source)?;
    let extent = Extent::read(source, &front);
    let (length, durable) = match &extent {
        Ok(extent) => (extent.length, extent.marks.map_or(0, |marks| marks.durable())),
        Err(_) => (source.length()?, 0),
    };
    let mut contents = Unopened { previous_head: front.header.previous_head };
    let walk = extent.and_then(|extent| walk(source, &front, &extent, None, OpenOptions::default(), &mut contents));
    let body = walk.map(|walk| Body {
        sequence: walk.sequence,
        time_ms: walk.time_ms,
        records: walk.records,
        end: walk.end,
        head: walk.head,
        torn: walk.torn,
    });
    Ok(Inspected { signature: front.check_signature(), front, length, durable, body })
}

/// Opens a file of ours.
///
/// # Errors
/// [`Refusal::WrongKey`] if `dek` is not its key; [`Refusal::Damaged`], [`Refusal::CutShort`],
/// [`Refusal::NewerFormat`], [`Refusal::NoSuchSequence`], [`Refusal::Unreadable`].
pub fn open(source: &(impl Source + ?Sized), dek: &Dek, options: OpenOptions) -> Result<Opened, Refusal> {
    let front = sealed_front(source)?;
    let Some(keys) = front.keys(dek) else { return Err(Refusal::WrongKey) };
    let extent = Extent::read(source, &front)?;
    let mut contents = StateContents::default();
    let walk = walk(source, &front, &extent, Some(&keys), options, &mut contents)?;
    let (header, header_bytes, state) = contents.finish()?;
    Ok(Opened {
        header_altered: header_bytes != front.header_bytes,
        header,
        state,
        time_ms: walk.time_ms,
        tail: Tail {
            file_id: front.file_id,
            keys,
            end: walk.end,
            last: walk.last,
            prologue: front.prologue,
            sequence: walk.sequence,
            head: walk.head,
            records: walk.records,
            snapshot_end: walk.snapshot_end,
            marks: extent.marks,
        },
        front,
        torn: walk.torn,
        head_at: walk.head_at,
        stopped: walk.stopped,
    })
}

/// Reads on where an opened file ended: the deltas that were appended since. `None`: it is not that file any more, or
/// not that far.
///
/// # Errors
/// As [`open`].
pub(crate) fn read_on(
    source: &(impl Source + ?Sized),
    from: &Tail,
    state: &State,
) -> Result<Option<(State, Tail)>, Refusal> {
    let front = sealed_front(source)?;
    let extent = Extent::read(source, &front)?;
    let mut last = from.last;
    if front.prologue != from.prologue || extent.length < from.end {
        return Ok(None);
    }
    source.read_exact_at(&mut last, from.end.saturating_sub(from.last.len() as u64))?;
    if last != from.last {
        return Ok(None);
    }
    let header = (front.header.clone(), front.header_bytes.clone());
    let mut contents =
        StateContents { header: Some(header), accepted: Some(state.clone()), ..StateContents::default() };
    let walk = walk_on(source, &extent, &from.keys, Walk::from_end(from), &mut contents)?;
    let (_, _, state) = contents.finish()?;
    let tail = Tail {
        end: walk.end,
        last: walk.last,
        sequence: walk.sequence,
        head: walk.head,
        records: walk.records,
        marks: extent.marks,
        ..from.clone()
    };
    Ok(Some((state, tail)))
}

/// Whether these are a prologue and a header of ours without the snapshot that belongs behind them: it lies in parts.
#[must_use]
pub fn lacks_snapshot(bytes: &[u8]) -> bool {
    let Ok(front) = sealed_front(bytes) else { return false };
    let behind = usize::try_from(front.records_at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    let record = behind.get(..RECORD_HEADER).and_then(RecordHeader::decode);
    behind.is_empty() || record.is_some_and(|record| record.kind == Some(Kind::Delta))
}

fn sealed_front(source: &(impl Source + ?Sized)) -> Result<Front, Refusal> {
    match read_front(source)? {
        Layout::Sealed(front) => Ok(*front),
        Layout::Upstream(_) => Err(Refusal::damaged("it is a state of the Go Coordinator, which must be imported")),
    }
}

/// Records that are walked over without a key.
struct Unopened {
    previous_head: Head,
}

impl Contents for Unopened {
    fn begin(&mut self, _header: &RecordHeader) {}

    fn item(&mut self, _item: &[u8]) -> Result<(), Fault> {
        Ok(())
    }

    fn accept(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn previous_head(&self) -> Head {
        self.previous_head
    }
}

/// Builds the state from the changes in the records. The changes of a delta count only once all of it is accepted.
#[derive(Default)]
struct StateContents {
    /// Header inside the snapshot and its bytes.
    header: Option<(Header, Vec<u8>)>,
    /// Takes the changes of the snapshot.
    loader: Loader,
    /// After the snapshot.
    accepted: Option<State>,
    /// Takes the changes of a delta.
    draft: Option<State>,
    /// Sequence of the record being read, and items of it so far.
    sequence: u64,
    items: u64,
}

impl StateContents {
    /// Proof before anything is served.
    fn finish(self) -> Result<(Header, Vec<u8>, State), Refusal> {
        let (Some((header, bytes)), Some(state)) = (self.header, self.accepted) else {
            return Err(Refusal::damaged("it holds no state"));
        };
        state.validate().map_err(|error| Refusal::damaged(format!("the state does not fit together: {error}")))?;
        if state.authority().root_certificate != header.root_certificate {
            return Err(Refusal::damaged("the root certificate is not that of the header inside"));
        }
        Ok((header, bytes, state))
    }

    fn change(&mut self, item: &[u8]) -> Result<(), Fault> {
        let writer = self.header.as_ref().map_or("", |(header, _)| &header.writer);
        let (items, sequence) = (self.items, self.sequence);
        let place = |what: &str, error: &dyn Display| {
            format!("change {items} of sequence {sequence} {what}: {error}; written by {writer:?}")
        };
        // Genuine bytes that do not decode are those of a program that knows more than this one.
        let change = Change::decode(item).map_err(|error| Fault::Newer(place("is not known here", &error)))?;
        let applied = match &mut self.draft {
            Some(draft) => draft.apply(&change),
            None => self.loader.apply(&change),
        };
        applied.map_err(|error| Fault::Damaged(place("does not fit", &error)))
    }

    /// What the header inside says of the snapshot must be so.
    fn accept_snapshot(&mut self) -> Result<State, Fault> {
        let loaded = std::mem::take(&mut self.loader).finish();
        let state = loaded.map_err(|error| Fault::Damaged(format!("the state does not fit together: {error}")))?;
        let fault = |what: &str| Err(Fault::Damaged(format!("the snapshot and the header inside it differ: {what}")));
        let Some((header, _)) = &self.header else { return fault("no header") };
        if header.sequence != self.sequence {
            return fault("sequence");
        }
        if *state.lineage() != header.lineage {
            return fault("deployment or incarnation");
        }
        if state.manifest().map_or(Header::NO_MANIFEST, |manifest| manifest.fingerprint) != header.manifest_sha256 {
            return fault("manifest");
        }
        Ok(state)
    }
}

impl Contents for StateContents {
    fn begin(&mut self, header: &RecordHeader) {
        self.draft.clone_from(&self.accepted);
        self.sequence = header.sequence;
        self.items = 0;
    }

    fn item(&mut self, item: &[u8]) -> Result<(), Fault> {
        if self.header.is_some() {
            self.change(item)?;
        } else {
            let header = Header::decode(item).map_err(|error| match error {
                Refusal::Damaged { what, .. } => Fault::Damaged(what),
                other => Fault::Damaged(other.to_string()),
            })?;
            self.header = Some((header, item.to_vec()));
        }
        self.items += 1;
        Ok(())
    }

    fn accept(&mut self) -> Result<(), Fault> {
        self.accepted = match self.draft.take() {
            Some(draft) => Some(draft),
            None => Some(self.accept_snapshot()?),
        };
        Ok(())
    }

    fn previous_head(&self) -> Head {
        self.header.as_ref().map(|(header, _)| header.previous_head).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
