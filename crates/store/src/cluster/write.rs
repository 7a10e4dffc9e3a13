//! Writing: one attempt after the other, each sealed anew, and every answer but "done" resolved by reading back
//! before anything else is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marblerun_state::{BootId, Change, CommitId, Home, State, WriterMark};

use super::backend::ClusterBackend;
use super::keys::KeySet;
use super::opened::{OpenedObject, Unopened, open_object};
use super::parts::{PartIndex, PartList, Split, Whole};
use super::spread::split_off;
use super::{Content, Notes, Object, Version, WriteFailure};
use crate::digest::sha256;
use crate::format::{FileSpec, FileWriter, Head, Tail, random_name};

/// Longest pause of somebody who lets others go first.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// First and longest wait between two looks at a write in doubt.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// One sealing of one state: its bytes are sent, and never others under its name.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// What it replaces; `None`: it makes the object.
    pub(super) base: Option<Version>,
    pub(super) content: Content,
    pub(super) state: Arc<State>,
    pub(super) keys: KeySet,
    pub(super) boot: BootId,
    pub(super) commit: CommitId,
    pub(super) sequence: u64,
    pub(super) head: Head,
    /// The snapshot lies in parts, and must be there before.
    pub(super) split: Option<Arc<Split>>,
    /// It is not there yet.
    pub(super) spread: bool,
    pub(super) begun: Instant,
}

impl Attempt {
    /// The first write of a deployment under new keys.
    fn is_founding(&self) -> bool {
        self.sequence == 1
    }
}

/// A write that is in force.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) attempt: Attempt,
    /// Of the object now.
    pub(super) version: Version,
    /// Others have written on top of it by now.
    pub(super) newer: Option<(Box<OpenedObject>, usize)>,
}

/// Why a write is not known to be in force.
#[derive(Debug)]
pub(super) enum NotSent {
    /// Somebody else was first. Certainly not in force, now or ever.
    Lost,
    /// Certainly not in force: what was sent is refused for what it is.
    Refused(String),
    /// Certainly not in force: not possible now.
    Unavailable(String),
    /// The object is gone.
    Missing,
    /// Its outcome is not known; it still has to be resolved.
    Unknown(Box<Attempt>, String),
}

/// What reading back told of an attempt.
pub(super) enum Resolved {
    Applied {
        version: Version,
        newer: Option<(Box<OpenedObject>, usize)>,
    },
    Lost,
    /// Not there, and still possible: send the same bytes.
    Pending,
    Missing,
    Unknown(String),
}

impl ClusterBackend {
    /// Seals a state as the next commit of this process. `sequence` and `previous` are those of what it goes on from.
    pub(super) fn attempt(
        &self,
        mut state: State,
        keys: KeySet,
        base: Option<Version>,
        sequence: u64,
        previous: Head,
    ) -> Result<Attempt, String> {
        let sequence = sequence.checked_add(1).ok_or("the last sequence number is used up")?;
        let (commit, _) = self.sign(&mut state, base.as_ref(), sequence)?;
        let mut spec = FileSpec {
            state: &state,
            sequence,
            time_ms: Self::now_ms(),
            previous_head: previous,
            dek: &keys.dek,
            dek_id: keys.dek_id,
            slots: keys.portable.clone(),
            writer: &self.config.writer,
            recovery_in_header: self.config.recovery_in_header,
            marks: false,
        };
        let sealed_key = keys.sealed_key().map_err(|error| error.to_string())?;
        let (mut sealed_data, mut tail) = seal(&spec)?;
        let spread =
            self.place.limits().part_bytes.is_some() && self.excess(sealed_data.len() + sealed_key.len()).is_some();
        let mut split = None;
        if spread {
            // With marks, so that what is appended later is known to be whole.
            spec.marks = true;
            (sealed_data, tail) = seal(&spec)?;
            let list = PartList::default();
            let snapshot = Arc::new(split_off(&mut sealed_data, &mut tail)?);
            split = Some(Arc::new(Split { list, snapshot, object: sealed_data.clone(), tail: tail.clone() }));
        }
        let content =
            Content { sealed_data, sealed_key: Some(sealed_key), parts: None, notes: notes(&state, sequence) };
        let (state, head, begun) = (Arc::new(state), tail.head, Instant::now());
        Ok(Attempt { base, content, state, keys, boot: self.boot, commit, sequence, head, split, spread, begun })
    }

    /// Notes in a state which commit this is and where it lies. Answers the commit, and what was noted.
    pub(super) fn sign(
        &self,
        state: &mut State,
        base: Option<&Version>,
        sequence: u64,
    ) -> Result<(CommitId, Vec<Change>), String> {
        let (boot, commit) = (self.boot, CommitId(random_name()?));
        let home = Home {
            backend: self.config.backend.to_owned(),
            place: self.place.name(),
            uid: base.map(|version| version.uid.clone()).unwrap_or_default(),
        };
        let moved = (state.home() != Some(&home)).then_some(Change::Home(home));
        let noted: Vec<_> =
            moved.into_iter().chain([Change::Writers(vec![WriterMark { boot, sequence, commit }])]).collect();
        for change in &noted {
            state.apply(change).map_err(|error| error.to_string())?;
        }
        Ok((commit, noted))
    }

    /// Sends an attempt until its outcome is known, or its callers have waited long enough.
    pub(super) fn send(&mut self, attempt: Attempt) -> Result<Sent, NotSent> {
        let attempt = if attempt.spread { self.spread(attempt)? } else { attempt };
        self.require_room(&attempt.content)?;
        self.let_others_go_first();
        let mut contested = false;
        let mut wait = LOOKS.0;
        loop {
            let begun = Instant::now();
            let answer = match &attempt.base {
                None => self.place.create(&attempt.content),
                Some(base) => self.place.replace(base, &attempt.content),
            };
            let pause = match answer {
                Ok(version) => {
                    self.pace.write = (self.pace.write * 7 + begun.elapsed()) / 8;
                    self.pace.won = !contested;
                    self.validated = Some(begun);
                    self.index = attempt.content.parts.as_deref().map(PartIndex::read).unwrap_or_default();
                    return Ok(Sent { attempt, version, newer: None });
                }
                Err(WriteFailure::TooLarge(why) | WriteFailure::Refused(why)) => return Err(NotSent::Refused(why)),
                Err(WriteFailure::Forbidden(why)) => return Err(NotSent::Unavailable(why)),
                Err(WriteFailure::Missing) => return Err(NotSent::Missing),
                Err(WriteFailure::InDoubt { conflict, retry_after, .. }) => {
                    self.doubts += u64::from(!conflict);
                    self.conflicts += u64::from(conflict);
                    contested |= conflict;
                    retry_after.filter(|_| !conflict)
                }
            };
            loop {
                match self.resolve(&attempt) {
                    Resolved::Applied { version, newer } => return Ok(Sent { attempt, version, newer }),
                    Resolved::Lost => {
                        self.pace.won = false;
                        self.remember_lost(attempt.commit);
                        return Err(NotSent::Lost);
                    }
                    Resolved::Missing => return Err(NotSent::Missing),
                    Resolved::Pending if attempt.begun.elapsed() < self.tuning.doubt => break,
                    Resolved::Pending => {
                        // It was not in force when that was read, and yet a late landing cannot be excluded.
                        let why = "the place where the state lies does not take it".to_owned();
                        return Err(NotSent::Unknown(Box::new(attempt), why));
                    }
                    Resolved::Unknown(why) if attempt.begun.elapsed() >= self.tuning.doubt => {
                        return Err(NotSent::Unknown(Box::new(attempt), why));
                    }
                    Resolved::Unknown(_) => std::thread::sleep(wait),
                }
                wait = (wait * 2).min(LOOKS.1);
            }
            std::thread::sleep(pause.map_or(wait, |pause| pause.min(Duration::from_secs(2))).min(self.tuning.doubt));
            wait = (wait * 2).min(LOOKS.1);
        }
    }

    /// What became of an attempt, by reading.
    pub(super) fn resolve(&mut self, attempt: &Attempt) -> Resolved {
        let found = match self.read_whole() {
            Ok(found) => found,
            Err(error) => return Resolved::Unknown(error.to_string()),
        };
        match (&attempt.base, found) {
            (None, None | Some((_, None))) => Resolved::Pending,
            (Some(_), None) => Resolved::Missing,
            (Some(base), Some((object, _))) if object.version == *base => Resolved::Pending,
            (Some(_), Some((_, None))) => Resolved::Missing,
            (_, Some((object, Some(whole)))) => self.resolve_by(attempt, &object, &whole),
        }
    }

    fn resolve_by(&mut self, attempt: &Attempt, object: &Object, whole: &Whole) -> Resolved {
        if whole.object == attempt.content.sealed_data {
            return Resolved::Applied { version: object.version.clone(), newer: None };
        }
        match open_object(whole, object, Some((&attempt.keys.dek, attempt.keys.dek_id)), &self.keks) {
            Ok(opened) => {
                let mine = opened.state.writers().last(attempt.boot);
                if mine == Some((attempt.sequence, attempt.commit)) {
                    let size = size(object);
                    return Resolved::Applied {
                        version: object.version.clone(),
                        newer: Some((Box::new(opened), size)),
                    };
                }
                Resolved::Lost
            }
            // Nobody else has the key of a state that is being founded yet, so nobody can have gone on from it.
            Err(Unopened::NoKey { .. }) if attempt.is_founding() => Resolved::Lost,
            // Only who has the key can tell; the others are asked for it.
            Err(Unopened::NoKey { wanted, reason, .. }) => {
                self.became_strange(wanted);
                Resolved::Unknown(reason)
            }
            // Whatever was put there is not what this attempt wrote, and nothing that compares with its base.
            Err(Unopened::Refused(_) | Unopened::Upstream(_)) => Resolved::Lost,
        }
    }

    fn require_room(&self, content: &Content) -> Result<(), NotSent> {
        let length = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        match self.excess(content.sealed_data.len() + length(&content.sealed_key) + length(&content.parts)) {
            None => Ok(()),
            Some((bytes, limit)) => Err(NotSent::Refused(format!(
                "the state would have {bytes} bytes, and {} holds at most {limit}: remove secrets or other content first",
                self.place.name()
            ))),
        }
    }

    /// How many bytes the object would have with that many of ours, and how many it may have, if these are fewer.
    pub(super) fn excess(&self, ours: usize) -> Option<(usize, usize)> {
        let bytes = ours + self.foreign_bytes;
        let limit = self.config.inline_max.min(self.place.limits().object_bytes);
        (bytes > limit).then_some((bytes, limit))
    }

    /// Who has just been first, while others write too, lets them go first now.
    fn let_others_go_first(&mut self) {
        let recent = Duration::from_secs(1);
        self.pace.others.retain(|_, seen| seen.elapsed() < recent);
        let others = u32::try_from(self.pace.others.len()).unwrap_or(u32::MAX);
        if others == 0 || !std::mem::take(&mut self.pace.won) {
            return;
        }
        let most = self.pace.write.saturating_mul(2).saturating_mul(others.saturating_add(1)).min(LONGEST_PAUSE);
        let Ok(draw) = random_name::<4>() else { return };
        let part = f64::from(u32::from_le_bytes(draw)) / f64::from(u32::MAX);
        std::thread::sleep(most.mul_f64(part));
    }

    fn remember_lost(&mut self, commit: CommitId) {
        const MOST: usize = 1024;
        if self.lost.len() >= MOST {
            self.lost.remove(0);
        }
        self.lost.push(commit);
    }
}

/// A whole file, and where it ends.
fn seal(spec: &FileSpec<'_>) -> Result<(Vec<u8>, Tail), String> {
    FileWriter::create(Vec::new(), spec).and_then(FileWriter::finish).map_err(|error| error.to_string())
}

/// Notes for people about a state.
pub(super) fn notes(state: &State, sequence: u64) -> Notes {
    let lineage = state.lineage();
    Notes {
        deployment: hex::encode(lineage.deployment_id),
        incarnation: lineage.incarnation,
        sequence,
        manifest: state.manifest().map(|manifest| hex::encode(manifest.fingerprint)).unwrap_or_default(),
        root: hex::encode(sha256(&[&state.authority().root_certificate])),
        format: super::FORMAT,
    }
}

/// Bytes of the values of an object, foreign ones too.
pub(super) fn size(object: &Object) -> usize {
    let length = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
    length(&object.sealed_data) + length(&object.sealed_key) + length(&object.parts) + object.foreign_bytes
}
