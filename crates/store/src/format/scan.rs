//! Walking over the records of a file, with a key or without: which of them are whole, which of them are
//! genuine, and whether what follows the last one is a torn tail or a loss.

use std::io;

use super::front::Front;
use super::items::{ItemError, ItemReader};
use super::keys::TAG;
use super::record::{
    CHUNK, Kind, LAST_CHUNK, RECORD_END, RECORD_HEADER, RECORD_MAGIC, RecordHeader, associated_data, head_after,
};
use super::refusal::Intact;
use super::window::Window;
use super::{FileKeys, Head, MAX_RECORDS, Marks, OpenOptions, Refusal, Source, Tail, TornTail};

/// Takes the items of opened records.
pub(super) trait Contents {
    /// A record begins; what the one before brought stays unless it was refused.
    fn begin(&mut self, header: &RecordHeader);
    /// One item of it, authentic.
    fn item(&mut self, item: &[u8]) -> Result<(), Fault>;
    /// The record is whole and authentic: what its items brought counts now.
    fn accept(&mut self) -> Result<(), Fault>;
    /// Head of the file this one continues; asked for after the snapshot was accepted.
    fn previous_head(&self) -> Head;
}

/// What is wrong with a record that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does not belong here, or is not authentic, or its content does not fit.
    Damaged(String),
    /// Its content is authentic and not known to this version.
    Newer(String),
}

/// What the walk found.
#[derive(Debug)]
pub(super) struct Walk {
    pub records: u64,
    pub sequence: u64,
    pub time_ms: u64,
    pub head: Head,
    /// Behind the last good record.
    pub end: u64,
    pub snapshot_end: u64,
    /// The last bytes of the last good record.
    pub last: [u8; RECORD_END],
    pub head_at: Option<(u64, Head)>,
    pub stopped: bool,
    pub torn: Option<TornTail>,
}

/// The bytes a walk covers.
pub(super) struct Extent {
    /// Length of the file.
    pub length: u64,
    /// How many bytes of it were durable.
    pub durable: u64,
    /// Its marks; `None` in files without.
    pub marks: Option<Marks>,
}

impl Extent {
    /// Reads the marks, then the length: of a file that is being appended to, in this order the length is never too small.
    pub(super) fn read(source: &(impl Source + ?Sized), front: &Front) -> Result<Self, Refusal> {
        let page = front.marks_page();
        let available = source.length()?;
        if available < front.records_at {
            // The file was complete only with its marks page and a snapshot behind it.
            return Err(Refusal::CutShort { length: available, expected: front.records_at, intact: None });
        }
        let marks = page.map(|page| Marks::read(source, page)).transpose()?;
        let length = source.length()?;
        // Files without marks are values that are always written whole.
        let durable = marks.map_or(length, |marks| marks.durable());
        Ok(Self { length, durable, marks })
    }
}

/// Walks over all records. Without `keys`, tags are not checked and `contents` gets no items.
pub(super) fn walk<S: Source + ?Sized, C: Contents>(
    source: &S,
    front: &Front,
    extent: &Extent,
    keys: Option<&FileKeys>,
    options: OpenOptions,
    contents: &mut C,
) -> Result<Walk, Refusal> {
    let mut reader = RecordReader { window: Window::new(source, extent.length), keys };
    let expected = Expected { kind: Kind::Snapshot, sequence: None, prev: [0; 32] };
    let mut walk = match reader.record(front.records_at, &expected, contents)? {
        Step::Whole(record) => Walk::begin(&record, &contents.previous_head()),
        Step::Faulty(fault) => return Err(refuse(fault, front.records_at, None)),
        Step::End if extent.length < extent.durable => {
            return Err(Refusal::CutShort { length: extent.length, expected: extent.durable, intact: None });
        }
        Step::End => {
            let what = "the snapshot is not whole".into();
            return Err(Refusal::Damaged { what, offset: Some(front.records_at), intact: None });
        }
    };
    let first = walk.sequence;
    walk.further(&mut reader, extent, options, contents)?;
    if walk.stopped {
        return Ok(walk);
    }
    walk.torn = judge_rest(source, extent, &walk)?;
    match options.stop_after {
        Some(asked) => Err(Refusal::NoSuchSequence { asked, first, last: walk.sequence }),
        None => Ok(walk),
    }
}

/// Walks over the deltas behind `from`, the end of what was read before of the same file.
pub(super) fn walk_on<S: Source + ?Sized, C: Contents>(
    source: &S,
    extent: &Extent,
    keys: &FileKeys,
    mut from: Walk,
    contents: &mut C,
) -> Result<Walk, Refusal> {
    let mut reader = RecordReader { window: Window::new(source, extent.length), keys: Some(keys) };
    from.further(&mut reader, extent, OpenOptions::default(), contents)?;
    from.torn = judge_rest(source, extent, &from)?;
    Ok(from)
}

impl Walk {
    fn begin(snapshot: &Record, previous_head: &Head) -> Self {
        Self {
            records: 1,
            sequence: snapshot.header.sequence,
            time_ms: snapshot.header.time_ms,
            head: head_after(previous_head, &snapshot.header.bytes, &snapshot.tags),
            end: snapshot.end,
            snapshot_end: snapshot.end,
            last: snapshot.last,
            head_at: None,
            stopped: false,
            torn: None,
        }
    }

    /// The end of a file as it was opened or written.
    pub(super) fn from_end(tail: &Tail) -> Self {
        Self {
            records: tail.records,
            sequence: tail.sequence,
            time_ms: 0,
            head: tail.head,
            end: tail.end,
            snapshot_end: tail.snapshot_end,
            last: tail.last,
            head_at: None,
            stopped: false,
            torn: None,
        }
    }

    /// Goes on over the deltas behind.
    fn further<S: Source + ?Sized>(
        &mut self,
        reader: &mut RecordReader<'_, S>,
        extent: &Extent,
        options: OpenOptions,
        contents: &mut impl Contents,
    ) -> Result<(), Refusal> {
        loop {
            if options.head_at == Some(self.sequence) {
                self.head_at = Some((self.sequence, self.head));
            }
            if options.stop_after == Some(self.sequence) {
                self.stopped = true;
                return Ok(());
            }
            // Values that are always written whole hold a snapshot alone, so that no shorter one looks whole.
            let (true, Some(next)) = (extent.marks.is_some(), self.sequence.checked_add(1)) else { break };
            let expected = Expected { kind: Kind::Delta, sequence: Some(next), prev: self.head };
            match reader.record(self.end, &expected, contents)? {
                Step::Whole(record) if self.records < MAX_RECORDS => self.go_on(&record),
                Step::Whole(_) => {
                    let fault = Fault::Damaged("the file has more records than the format allows".into());
                    return Err(refuse(fault, self.end, Some(self)));
                }
                Step::Faulty(fault) => return Err(refuse(fault, self.end, Some(self))),
                Step::End => break,
            }
        }
        Ok(())
    }

    fn go_on(&mut self, delta: &Record) {
        self.records += 1;
        self.sequence = delta.header.sequence;
        self.time_ms = delta.header.time_ms;
        self.head = head_after(&self.head, &delta.header.bytes, &delta.tags);
        self.end = delta.end;
        self.last = delta.last;
    }
}

/// What stands behind the last good record: nothing, a torn tail, or a loss.
fn judge_rest<S: Source + ?Sized>(source: &S, extent: &Extent, walk: &Walk) -> Result<Option<TornTail>, Refusal> {
    let intact = Some(Intact { records: walk.records, sequence: walk.sequence });
    if walk.end < extent.durable {
        return Err(if extent.length < extent.durable {
            Refusal::CutShort { length: extent.length, expected: extent.durable, intact }
        } else {
            let what = "a record that was durable is not whole".into();
            Refusal::Damaged { what, offset: Some(walk.end), intact }
        });
    }
    if let Some(offset) = later_record(source, walk, extent.length)? {
        let what = format!("a record is missing: a later one stands at byte {offset}");
        return Err(Refusal::Damaged { what, offset: Some(walk.end), intact });
    }
    let length = extent.length - walk.end;
    Ok((length > 0).then_some(TornTail { offset: walk.end, length }))
}

/// Looks for the header of a record that has at least one other between itself and the last good one.
fn later_record<S: Source + ?Sized>(source: &S, walk: &Walk, length: u64) -> io::Result<Option<u64>> {
    let mut window = Window::new(source, length);
    let mut at = walk.end;
    while let Some(bytes) = window.up_to(at, CHUNK + RECORD_HEADER)? {
        for (i, candidate) in bytes.windows(RECORD_HEADER).enumerate() {
            if !candidate.starts_with(&RECORD_MAGIC) {
                continue;
            }
            let header = RecordHeader::decode(candidate);
            if header.is_some_and(|header| header.sequence > walk.sequence.saturating_add(1)) {
                return Ok(Some(at + i as u64));
            }
        }
        // The last 31 bytes may be the beginning of a header.
        at += bytes.len().saturating_sub(RECORD_HEADER - 1).max(1) as u64;
    }
    Ok(None)
}

fn refuse(fault: Fault, offset: u64, before: Option<&Walk>) -> Refusal {
    let intact = before.map(|walk| Intact { records: walk.records, sequence: walk.sequence });
    match fault {
        Fault::Damaged(what) => Refusal::Damaged { what, offset: Some(offset), intact },
        Fault::Newer(what) => Refusal::NewerFormat { what },
    }
}

/// What must stand at a place.
struct Expected {
    kind: Kind,
    /// `None` for the snapshot: the header inside it says it.
    sequence: Option<u64>,
    prev: Head,
}

/// What stands there.
enum Step {
    /// No whole record.
    End,
    /// A whole record that must not be there, or cannot be used.
    Faulty(Fault),
    /// A good one.
    Whole(Record),
}

struct Record {
    header: RecordHeader,
    end: u64,
    tags: Vec<u8>,
    last: [u8; RECORD_END],
}

struct RecordReader<'a, S: ?Sized> {
    window: Window<'a, S>,
    keys: Option<&'a FileKeys>,
}

impl<S: Source + ?Sized> RecordReader<'_, S> {
    /// Reads one record. A fault counts only once all of the record is known to be whole: what is not whole
    /// was perhaps never acknowledged, and is judged by where it stands.
    fn record(&mut self, start: u64, expected: &Expected, contents: &mut impl Contents) -> io::Result<Step> {
        let Some(bytes) = self.window.get(start, RECORD_HEADER)? else { return Ok(Step::End) };
        let Some(header) = RecordHeader::decode(bytes) else { return Ok(Step::End) };
        let mut fault = expected.fault(&header);
        let mut items = ItemReader::default();
        let mut tags = Vec::new();
        let mut plaintext = 0_u64;
        let mut at = start + RECORD_HEADER as u64;
        contents.begin(&header);
        loop {
            let Some(chunk) = self.window.chunk(at)? else {
                // What was decrypted of this record is no longer what stands in the file.
                self.window.forget();
                return Ok(Step::End);
            };
            let (length, last_chunk, end) = (chunk.length, chunk.is_last(), at + chunk.size() as u64);
            plaintext += u64::from(length & !LAST_CHUNK);
            if plaintext > expected.kind.limit() {
                fault = fault.or_else(|| Some(Fault::Damaged("the record is larger than the format allows".into())));
            }
            let index = u32::try_from(tags.len() / TAG).unwrap_or(u32::MAX);
            tags.extend_from_slice(chunk.tag());
            let last = chunk.end();
            if let (Some(keys), None) = (self.keys, &fault) {
                let aad = associated_data(&expected.prev, &header.bytes, index, length);
                fault = match chunk.open(keys, &aad) {
                    Some(plaintext) => items.feed(plaintext, &mut |item| contents.item(item)).map_err(item_fault).err(),
                    None => Some(Fault::Damaged("authentication failed".into())),
                };
            }
            at = end;
            if !last_chunk {
                continue;
            }
            if let (Some(_), None) = (self.keys, &fault) {
                fault = items.finish().map_err(item_fault).and_then(|()| contents.accept()).err();
            }
            return Ok(match fault {
                Some(fault) => Step::Faulty(fault),
                None => Step::Whole(Record { header, end, tags, last }),
            });
        }
    }
}

impl Expected {
    fn fault(&self, header: &RecordHeader) -> Option<Fault> {
        if header.kind != Some(self.kind) {
            return Some(Fault::Damaged("a record of another kind stands here".into()));
        }
        let (found, wanted) = (header.sequence, self.sequence?);
        (found != wanted).then(|| Fault::Damaged(format!("a record of sequence {found} stands where {wanted} must")))
    }
}

fn item_fault(error: ItemError<Fault>) -> Fault {
    match error {
        ItemError::Malformed => Fault::Damaged("its content is malformed".into()),
        ItemError::Refused(fault) => fault,
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
