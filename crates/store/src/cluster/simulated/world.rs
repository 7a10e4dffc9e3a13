//! What the simulated place holds, and how it answers a request that reaches it. Pure: no instance, no fault, no lock.
//! The answers are those of a Kubernetes API server (cluster protocol, "seen"): 404, 409 for a version or uid that is
//! not the newest, 422 for what is too large or immutable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{
    Archive, ArchiveReason, Content, Limits, Object, Part, PlaceError, Severity, Version, WriteFailure,
};

/// A request that may change something.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Create { over: Option<Version>, content: Content },
    Replace { base: Version, content: Content },
    Part { part: Part, base: Option<Version>, bytes: Vec<u8> },
    Parts { base: Version, parts: Vec<u8> },
    Archive { place: u8, object: Object, reason: ArchiveReason },
    Entries { set: BTreeMap<String, Vec<u8>>, remove: Vec<String> },
}

/// One write of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its version.
    pub version: Version,
    /// What it holds; `None` if the object is there without `sealed_data`.
    pub content: Option<Content>,
    /// Who wrote it.
    pub writer: String,
}

/// What is archived at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The object as it was.
    pub object: Object,
    /// Why.
    pub reason: ArchiveReason,
    /// When, by the clock of the place.
    pub(super) made: Option<Duration>,
}

/// What an operator was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who told it.
    pub instance: String,
    /// How grave.
    pub severity: Severity,
    /// Its reason.
    pub reason: &'static str,
    /// Its text.
    pub message: String,
}

/// Everything in the place.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) object: Option<Arc<Written>>,
    /// Every write there was, oldest first.
    pub(super) history: Vec<Arc<Written>>,
    pub(super) foreign_bytes: usize,
    pub(super) immutable: bool,
    pub(super) entries: BTreeMap<String, Vec<u8>>,
    pub(super) parts: BTreeMap<Part, (Version, Vec<u8>)>,
    pub(super) archives: BTreeMap<u8, Archived>,
    pub(super) limits: Limits,
    pub(super) now: Duration,
    revision: u64,
    objects: u64,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            object: None,
            history: Vec::new(),
            foreign_bytes: 0,
            immutable: false,
            entries: BTreeMap::new(),
            parts: BTreeMap::new(),
            archives: BTreeMap::new(),
            limits: Limits { object_bytes: 1 << 20, part_bytes: None, entries_bytes: 700_000 },
            now: Duration::ZERO,
            revision: 0,
            objects: 0,
        }
    }

    pub(super) fn version(&self) -> Option<Version> {
        self.object.as_ref().map(|written| written.version.clone())
    }

    pub(super) fn read(&self) -> Option<Object> {
        let written = self.object.as_ref()?;
        let content = written.content.as_ref();
        Some(Object {
            version: written.version.clone(),
            sealed_data: content.map(|content| content.sealed_data.clone()),
            sealed_key: content.and_then(|content| content.sealed_key.clone()),
            parts: content.and_then(|content| content.parts.clone()),
            foreign_bytes: self.foreign_bytes,
            immutable: self.immutable,
            last_writer: written.writer.clone(),
        })
    }

    pub(super) fn create(
        &mut self,
        writer: &str,
        over: Option<&Version>,
        content: &Content,
    ) -> Result<Version, WriteFailure> {
        match &self.object {
            None if over.is_some() => Err(WriteFailure::Missing),
            None => {
                self.fits(content)?;
                self.objects += 1;
                Ok(self.write(self.objects, writer, Some(content.clone())))
            }
            Some(there) if there.content.is_some() || over != Some(&there.version) => Err(conflict("it exists")),
            Some(_) => self.update(writer, content),
        }
    }

    pub(super) fn replace(&mut self, writer: &str, base: &Version, content: &Content) -> Result<Version, WriteFailure> {
        let there = self.object.as_ref().ok_or(WriteFailure::Missing)?;
        if there.version != *base {
            return Err(conflict("the object has been modified"));
        }
        self.update(writer, content)
    }

    fn update(&mut self, writer: &str, content: &Content) -> Result<Version, WriteFailure> {
        if self.immutable {
            return Err(WriteFailure::Refused("422: field is immutable when `immutable` is set".to_owned()));
        }
        self.fits(content)?;
        Ok(self.write(self.objects, writer, Some(content.clone())))
    }

    fn fits(&self, content: &Content) -> Result<(), WriteFailure> {
        let size = content.sealed_data.len()
            + content.sealed_key.as_ref().map_or(0, Vec::len)
            + content.parts.as_ref().map_or(0, Vec::len)
            + self.foreign_bytes;
        if size > self.limits.object_bytes {
            let most = self.limits.object_bytes;
            return Err(WriteFailure::TooLarge(format!("422: {size} bytes, at most {most} fit")));
        }
        Ok(())
    }

    /// Writes without asking, as someone with every right does.
    pub(super) fn force(&mut self, writer: &str, content: Option<Content>, same_object: bool) -> Version {
        if self.object.is_none() || !same_object {
            self.objects += 1;
        }
        self.write(self.objects, writer, content)
    }

    fn write(&mut self, object: u64, writer: &str, content: Option<Content>) -> Version {
        self.revision += 1;
        let version = Version { uid: format!("uid-{object}"), revision: self.revision.to_string() };
        let written = Arc::new(Written { version: version.clone(), content, writer: writer.to_owned() });
        self.history.push(Arc::clone(&written));
        self.object = Some(written);
        version
    }

    /// The place itself goes back, and counts again what it counted before: an etcd restored from a snapshot.
    pub(super) fn turn_back(&mut self, to: &Arc<Written>) {
        self.revision = to.version.revision.parse().unwrap_or(self.revision);
        self.object = Some(Arc::clone(to));
    }

    /// Replaces the value `parts` alone.
    pub(super) fn set_parts(&mut self, writer: &str, base: &Version, parts: &[u8]) -> Result<Version, WriteFailure> {
        let content = self.object.as_ref().ok_or(WriteFailure::Missing)?.content.clone().unwrap_or_default();
        self.replace(writer, base, &Content { parts: Some(parts.to_vec()), ..content })
    }

    pub(super) fn part_version(&self, part: Part) -> Option<Version> {
        self.parts.get(&part).map(|(version, _)| version.clone())
    }

    pub(super) fn write_part(&mut self, part: Part, base: Option<&Version>, bytes: &[u8]) -> Result<(), PlaceError> {
        if part.bank > 2 || !(1..=15).contains(&part.number) {
            return Err(PlaceError::Refused(format!("there is no part {part:?}")));
        }
        match self.limits.part_bytes {
            None => Err(PlaceError::Forbidden("writing parts is not permitted here".to_owned())),
            Some(most) if bytes.len() > most => {
                Err(PlaceError::Refused(format!("422: a part has at most {most} bytes")))
            }
            Some(_) if self.part_version(part).as_ref() != base => {
                Err(PlaceError::Unreachable("409: the part has been modified".to_owned()))
            }
            Some(_) => {
                self.put_part(part, bytes);
                Ok(())
            }
        }
    }

    /// Writes a part without asking.
    pub(super) fn put_part(&mut self, part: Part, bytes: &[u8]) {
        self.revision += 1;
        let version = Version { uid: format!("{part:?}"), revision: self.revision.to_string() };
        self.parts.insert(part, (version, bytes.to_vec()));
    }

    pub(super) fn archives(&self) -> Vec<Archive> {
        let age_of = |archived: &Archived| archived.made.map(|made| self.now.saturating_sub(made));
        self.archives
            .iter()
            .map(|(place, archived)| Archive {
                place: *place,
                age: age_of(archived),
                digest: Archive::digest_of(archived.object.sealed_data.as_deref()),
                bank: archived.object.bank(),
            })
            .collect()
    }

    pub(super) fn archive(&mut self, place: u8, object: &Object, reason: ArchiveReason) -> Result<(), PlaceError> {
        if place > 4 {
            return Err(PlaceError::Refused(format!("there is no place {place} in the archive")));
        }
        let archived = Archived { object: object.clone(), reason, made: Some(self.now) };
        self.archives.insert(place, archived);
        Ok(())
    }

    pub(super) fn change_entries(
        &mut self,
        set: &BTreeMap<String, Vec<u8>>,
        remove: &[String],
    ) -> Result<(), PlaceError> {
        let mut entries = self.entries.clone();
        entries.retain(|name, _| !remove.contains(name));
        entries.extend(set.clone());
        if entries.values().map(Vec::len).sum::<usize>() > self.limits.entries_bytes {
            return Err(PlaceError::Refused("422: the values of all hosts are too large together".to_owned()));
        }
        self.entries = entries;
        Ok(())
    }

    /// A request that arrives long after its caller gave up.
    pub(super) fn land(&mut self, writer: &str, request: &Request) -> Result<Option<Version>, String> {
        let written =
            |answer: Result<Version, WriteFailure>| answer.map(Some).map_err(|failure| format!("{failure:?}"));
        let done = |answer: Result<(), PlaceError>| answer.map(|()| None).map_err(|error| error.to_string());
        match request {
            Request::Create { over, content } => written(self.create(writer, over.as_ref(), content)),
            Request::Replace { base, content } => written(self.replace(writer, base, content)),
            Request::Part { part, base, bytes } => done(self.write_part(*part, base.as_ref(), bytes)),
            Request::Parts { base, parts } => written(self.set_parts(writer, base, parts)),
            Request::Archive { place, object, reason } => done(self.archive(*place, object, *reason)),
            Request::Entries { set, remove } => done(self.change_entries(set, remove)),
        }
    }
}

pub(super) fn conflict(what: &str) -> WriteFailure {
    WriteFailure::InDoubt { reason: format!("409: {what}"), conflict: true, retry_after: None }
}
