//! States that do not fit into the shared object: their snapshot is put into parts, and what changes is appended in the
//! object (cluster protocol, section 8). Only who has reserved a bank writes it, over just what lay there before the
//! reservation; so of two who try, one is refused, and nobody overwrites what a state needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marblerun_state::{Change, State};

use super::backend::{ClusterBackend, Live};
use super::keys::KeySet;
use super::opened::{OpenedObject, Unopened, open_further, open_object};
use super::parts::{MOST_DELTAS, PartIndex, PartList, Split, Whole, elsewhere, next_bank};
use super::write::{Attempt, NotSent, notes};
use super::{Content, Object, PlaceError, WriteFailure};
use crate::backend::Failure;
use crate::format::Tail;

/// How long others wait for a snapshot that somebody is about to write, so that it is not in vain.
const RESERVED: Duration = Duration::from_secs(5);

impl ClusterBackend {
    /// The object, and the file in it put together; that is `None` where the object holds none.
    pub(super) fn read_whole(&mut self) -> Result<Option<(Object, Option<Whole>)>, PlaceError> {
        /// How often somebody may be faster with another snapshot.
        const TRIES: usize = 3;
        let mut tries = 0;
        let mut before = None;
        loop {
            let Some(object) = self.place.read()? else { return Ok(None) };
            self.foreign_bytes = object.foreign_bytes;
            self.index = object.parts.as_deref().map(PartIndex::read).unwrap_or_default();
            let Some(data) = object.sealed_data.clone() else { return Ok(Some((object, None))) };
            let Some(list) = elsewhere(&object) else { return Ok(Some((object, Some(Whole::inline(data))))) };
            match self.gather(&list)? {
                Ok(snapshot) => return Ok(Some((object, Some(Whole::in_parts(data, snapshot, list))))),
                // While it was read, another snapshot may have taken its place.
                Err(_) if tries < TRIES && before.as_ref() != Some(&object.version) => {
                    tries += 1;
                    before = Some(object.version);
                }
                Err(why) => return Ok(Some((object, Some(Whole::lacking(data, why))))),
            }
        }
    }

    /// The snapshot in parts, or why it is not there.
    pub(super) fn gather(&mut self, list: &PartList) -> Result<Result<Arc<Vec<u8>>, String>, PlaceError> {
        if let Some((known, snapshot)) = &self.gathered
            && known == list
        {
            return Ok(Ok(Arc::clone(snapshot)));
        }
        let mut snapshot = Vec::new();
        for (part, piece) in list.names() {
            let name = format!("part {}{}", char::from(b'a'.saturating_add(part.bank)), part.number);
            match self.place.read_part(part)? {
                Some(bytes) if piece.fits(&bytes) => snapshot.extend(bytes),
                Some(_) => return Ok(Err(format!("{name} of the snapshot is not the one that belongs to it"))),
                None => return Ok(Err(format!("{name} of the snapshot is missing"))),
            }
        }
        let snapshot = Arc::new(snapshot);
        self.gathered = Some((list.clone(), Arc::clone(&snapshot)));
        Ok(Ok(snapshot))
    }

    /// Opens what lies there, knowing an open state that it may go on from.
    pub(super) fn open_from(&self, live: &Live, whole: &Whole, object: &Object) -> Result<OpenedObject, Unopened> {
        match open_further(whole, object, live, &self.state) {
            Some(opened) => Ok(opened),
            None => open_object(whole, object, Some((&live.keys.dek, live.keys.dek_id)), &self.keks),
        }
    }

    /// The next commit as a record behind a snapshot that lies in parts. `None`: it takes a snapshot.
    pub(super) fn append(&self, next: &State, keys: &KeySet, live: &Live, changes: &[Change]) -> Option<Attempt> {
        let split = live.split.as_ref().filter(|split| split.deltas() < MOST_DELTAS)?;
        let same_key = keys.dek_id == live.keys.dek_id && keys.slots == live.keys.slots;
        if live.next_life.is_some() || !same_key || changes.iter().any(stands_in_header) {
            return None;
        }
        let sequence = live.sequence.checked_add(1)?;
        let mut state = next.clone();
        let (commit, own) = self.sign(&mut state, Some(&live.version), sequence).ok()?;
        let record = split.tail.seal_delta(Self::now_ms(), changes.iter().chain(&own)).ok()?;
        let mut tail = split.tail.clone();
        let mut object = split.object.clone();
        object.extend_from_slice(&record.bytes);
        tail.advance(&record);
        mark(&mut object, &mut tail)?;
        let sealed_key = keys.sealed_key().ok()?;
        let parts = PartIndex { snapshot: Some(split.list.clone()), reserved: None }.bytes();
        self.excess(object.len() + sealed_key.len() + parts.as_ref().map_or(0, Vec::len)).is_none().then_some(())?;
        let notes = notes(&state, sequence);
        let head = tail.head;
        let (list, snapshot) = (split.list.clone(), Arc::clone(&split.snapshot));
        let content = Content { sealed_data: object.clone(), sealed_key: Some(sealed_key), parts, notes };
        Some(Attempt {
            base: Some(live.version.clone()),
            content,
            state: Arc::new(state),
            keys: keys.clone(),
            boot: self.boot,
            commit,
            sequence,
            head,
            split: Some(Arc::new(Split { list, snapshot, object, tail })),
            spread: false,
            begun: Instant::now(),
        })
    }

    /// Puts the snapshot of an attempt into a bank of parts that nobody needs.
    pub(super) fn spread(&mut self, mut attempt: Attempt) -> Result<Attempt, NotSent> {
        let refused = |why: &str| Err(NotSent::Refused(why.to_owned()));
        let (Some(split), Some(most)) = (attempt.split.clone(), self.place.limits().part_bytes) else {
            return refused("the state is too large for one object");
        };
        let Some(base) = attempt.base.clone() else {
            return refused(
                "the state is too large to be written as one new object: restore a backup of the object and its parts",
            );
        };
        let archives = self.place.archives().map_err(|error| NotSent::Unavailable(error.to_string()))?;
        let pinned: Vec<u8> = archives.iter().filter_map(|archive| archive.bank).collect();
        let in_use = self.index.snapshot.as_ref().map(|list| list.bank);
        let Some(bank) = next_bank(in_use, &pinned) else {
            return refused("archives need all other banks of parts: delete an archive that nobody needs any more");
        };
        let Some(list) = PartList::of(bank, &split.snapshot, most) else {
            return Err(NotSent::Refused(format!(
                "the state would have {} bytes, and the parts beside {} hold fewer: remove secrets or other content first",
                split.snapshot.len(),
                self.place.name()
            )));
        };
        // Before the reservation: who reserves later and writes first is not overwritten.
        let mut versions = Vec::new();
        for (part, _) in list.names() {
            versions.push(self.place.part_version(part).map_err(beside)?);
        }
        let reservation = self.index.reserve(bank, self.boot);
        let bytes = reservation.bytes().unwrap_or_default();
        let reserved = self.place.set_parts(&base, &bytes).map_err(|failure| match failure {
            WriteFailure::InDoubt { conflict: true, .. } => NotSent::Lost,
            WriteFailure::InDoubt { reason, .. } | WriteFailure::Forbidden(reason) => NotSent::Unavailable(reason),
            WriteFailure::Missing => NotSent::Missing,
            WriteFailure::TooLarge(why) | WriteFailure::Refused(why) => NotSent::Refused(why),
        })?;
        self.index = reservation;
        let pieces = split.snapshot.chunks(most.max(1));
        for (((part, _), version), bytes) in list.names().zip(&versions).zip(pieces) {
            if let Err(error) = self.place.write_part(part, version.as_ref(), bytes) {
                // Somebody else's reservation or commit voids this one.
                let voided = self.place.version().is_ok_and(|version| version.as_ref() != Some(&reserved));
                return Err(if voided { NotSent::Lost } else { beside(error) });
            }
        }
        tracing::info!(bank, parts = list.parts.len(), bytes = split.snapshot.len(), "a snapshot was put into parts");
        attempt.content.parts = PartIndex { snapshot: Some(list.clone()), reserved: None }.bytes();
        self.gathered = Some((list.clone(), Arc::clone(&split.snapshot)));
        attempt.split = Some(Arc::new(Split { list, ..Split::clone(&split) }));
        attempt.base = Some(reserved);
        attempt.spread = false;
        attempt.begun = Instant::now();
        Ok(attempt)
    }

    /// Who is about to write a snapshot is let do so: a commit in between would make it void.
    pub(super) fn let_a_snapshot_be_written(&mut self) -> Result<(), Failure> {
        let before = Arc::clone(&self.state);
        while self.index.is_reserved_by_another(self.boot) {
            let since = match &self.reserved_since {
                Some((index, since)) if *index == self.index => *since,
                _ => {
                    let now = Instant::now();
                    self.reserved_since = Some((self.index.clone(), now));
                    now
                }
            };
            if since.elapsed() >= RESERVED.min(self.tuning.doubt) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            self.catch_up().map_err(Failure::Unavailable)?;
        }
        if Arc::ptr_eq(&before, &self.state) { Ok(()) } else { Err(Failure::Stale(Arc::clone(&self.state))) }
    }
}

/// Takes the snapshot out of a file with marks, and marks what is left as whole.
pub(super) fn split_off(file: &mut Vec<u8>, tail: &mut Tail) -> Result<Vec<u8>, String> {
    let at = super::parts::records_at(file).filter(|at| *at <= file.len()).ok_or("the state has no header")?;
    let snapshot = file.split_off(at);
    mark(file, tail).ok_or("the state has no marks")?;
    Ok(snapshot)
}

/// Says in the object that the file is whole.
fn mark(object: &mut [u8], tail: &mut Tail) -> Option<()> {
    let mark = tail.mark()?;
    let at = usize::try_from(mark.offset).ok()?;
    object.get_mut(at..at.checked_add(mark.bytes.len())?)?.copy_from_slice(&mark.bytes);
    Some(())
}

/// Whether the readable header tells of it, which only a new file does.
fn stands_in_header(change: &Change) -> bool {
    matches!(
        change,
        Change::Recovery(_)
            | Change::Manifest { .. }
            | Change::Lineage(_)
            | Change::Authority(_)
            | Change::Incarnations(_)
    )
}

/// What became of the parts.
fn beside(error: PlaceError) -> NotSent {
    match error {
        PlaceError::Forbidden(why) => NotSent::Refused(format!(
            "the state does not fit into one object, and writing parts beside it is not permitted: {why}. Permit it \
             (coordinator.stateParts.enabled in the chart), or remove secrets or other content"
        )),
        PlaceError::Refused(why) => NotSent::Refused(why),
        PlaceError::Unreachable(why) | PlaceError::Malformed(why) => NotSent::Unavailable(why),
    }
}
