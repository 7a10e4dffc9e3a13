//! The place that several Coordinators share, as the store sees it: one object that is replaced by compare-and-swap,
//! named values beside it that each host keeps for itself, archives, parts. Kubernetes, etcd, or memory in tests.
//!
//! The place is not trusted: it can delay, drop, roll back and fork, but not forge. What it says of a write counts only
//! where it says "done"; everything else is in doubt and is resolved by reading (cluster protocol, section 2).

use std::collections::BTreeMap;
use std::time::Duration;

use super::parts::PartIndex;
use crate::digest::sha256;

/// Which write of the object this is. Opaque; compared for equality only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    /// The object: another one after it was deleted and made again.
    pub uid: String,
    /// Its revision.
    pub revision: String,
}

/// What one commit writes, all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// `sealed_data`: a whole file of the sealed format without marks; where there are parts, without its snapshot.
    pub sealed_data: Vec<u8>,
    /// `sealed_key`; absent only in what others wrote.
    pub sealed_key: Option<Vec<u8>>,
    /// `parts`: names the parts that hold the snapshot.
    pub parts: Option<Vec<u8>>,
    /// For people; never read back.
    pub notes: Notes,
}

/// Annotations for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// `marblerun/deployment`: hex.
    pub deployment: String,
    /// `marblerun/incarnation`.
    pub incarnation: u64,
    /// `marblerun/sequence`.
    pub sequence: u64,
    /// `marblerun/manifest`: hex fingerprint; empty without one.
    pub manifest: String,
    /// `marblerun/root`: hex SHA-256 of the root certificate.
    pub root: String,
    /// `marblerun/format`.
    pub format: u32,
}

/// The object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Which write.
    pub version: Version,
    /// `sealed_data`; `None` if the object is there without it (counts as absent).
    pub sealed_data: Option<Vec<u8>>,
    /// `sealed_key`.
    pub sealed_key: Option<Vec<u8>>,
    /// `parts`.
    pub parts: Option<Vec<u8>>,
    /// Bytes of values that are not ours; they count for the size limit and survive every write.
    pub foreign_bytes: usize,
    /// Whether the object refuses every change (`immutable: true`).
    pub immutable: bool,
    /// Who wrote last, as the place tells it, for people.
    pub last_writer: String,
}

impl Object {
    /// The bank of parts that hold its snapshot, as [`Content::parts`] tells it.
    #[must_use]
    pub fn bank(&self) -> Option<u8> {
        PartIndex::read(self.parts.as_deref()?).snapshot.map(|snapshot| snapshot.bank)
    }
}

/// A named piece of a snapshot that does not fit into the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// 0, 1, 2: `a`, `b`, `c`.
    pub bank: u8,
    /// 1 ..= 15.
    pub number: u8,
}

/// What fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all values of the object together.
    pub object_bytes: usize,
    /// Bytes of one part; `None` if there may be none.
    pub part_bytes: Option<usize>,
    /// Bytes of all named values of the hosts together.
    pub entries_bytes: usize,
}

/// Why something is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveReason {
    /// Taken over from upstream's form.
    Imported,
    /// Replaced by a new manifest over a state that could not be opened, or by a new deployment.
    Reset,
    /// Replaced by what an operator accepted or rejected.
    Restored,
    /// Damaged.
    Damaged,
}

/// An archive that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Its place, 0 ..= 4.
    pub place: u8,
    /// How long ago it was made, by the clock of the place; `None` if unknown.
    pub age: Option<Duration>,
    /// Digest of what it holds (SHA-256 of `sealed_data`), to know again what was archived before a crash.
    pub digest: [u8; 32],
    /// The bank of parts that it needs besides.
    pub bank: Option<u8>,
}

impl Archive {
    /// What [`Archive::digest`] is of an object with this `sealed_data`.
    #[must_use]
    pub fn digest_of(sealed_data: Option<&[u8]>) -> [u8; 32] {
        sha256(&[sealed_data.unwrap_or_default()])
    }
}

/// How grave an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// To know.
    Normal,
    /// To act upon.
    Warning,
}

/// Why nothing was read, or a side object not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No answer, or one that may be better next time.
    #[error("{0}")]
    Unreachable(String),
    /// Not permitted: which verb on what is missing.
    #[error("{0}")]
    Forbidden(String),
    /// The answer cannot be used.
    #[error("{0}")]
    Malformed(String),
    /// Certainly refused for what it is (too large, immutable).
    #[error("{0}")]
    Refused(String),
}

/// Why a write was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteFailure {
    /// Maybe written: no answer, a 5xx, a 429, or a conflict (something below us may have repeated a success).
    InDoubt {
        /// What was answered.
        reason: String,
        /// It was a conflict: somebody else, or this very write before.
        conflict: bool,
        /// Ask again no sooner.
        retry_after: Option<Duration>,
    },
    /// The object is gone.
    Missing,
    /// Certainly not written: too large.
    TooLarge(String),
    /// Certainly not written: not permitted.
    Forbidden(String),
    /// Certainly not written: refused for another reason (invalid, immutable).
    Refused(String),
}

/// The place. Used by one thread at a time; every call may block, each has its own time-out (connecting 3 s, reading
/// 5 s, writing 10 s), and none repeats anything by itself.
pub trait SharedPlace: Send {
    /// What it is called in messages, such as `Secret marblerun/marblerun-state`.
    fn name(&self) -> String;

    /// What fits.
    fn limits(&self) -> Limits;

    /// The object, by a consistent read.
    ///
    /// # Errors
    /// [`PlaceError`].
    fn read(&mut self) -> Result<Option<Object>, PlaceError>;

    /// Its version alone, by a consistent read that began after the call did; its cost does not depend on the size.
    ///
    /// # Errors
    /// [`PlaceError`].
    fn version(&mut self) -> Result<Option<Version>, PlaceError>;

    /// Makes the object; a second creator gets a conflict.
    ///
    /// # Errors
    /// [`WriteFailure`].
    fn create(&mut self, content: &Content) -> Result<Version, WriteFailure>;

    /// Replaces the object that was read or written last, if it is still of that version. What is not ours in it
    /// survives. The same content sent twice is the same bytes.
    ///
    /// # Errors
    /// [`WriteFailure`].
    fn replace(&mut self, base: &Version, content: &Content) -> Result<Version, WriteFailure>;

    /// Reads a part. `None`: not there.
    ///
    /// # Errors
    /// [`PlaceError`].
    fn read_part(&mut self, part: Part) -> Result<Option<Vec<u8>>, PlaceError>;

    /// Which write a part is of. `None`: not there.
    ///
    /// # Errors
    /// [`PlaceError`].
    fn part_version(&mut self, part: Part) -> Result<Option<Version>, PlaceError>;

    /// Writes a part, if it is still of that version, or still not there. A part that somebody else wrote since is
    /// [`PlaceError::Unreachable`], and left as it is.
    ///
    /// # Errors
    /// [`PlaceError`].
    fn write_part(&mut self, part: Part, base: Option<&Version>, bytes: &[u8]) -> Result<(), PlaceError>;

    /// Replaces [`Content::parts`] alone in the object that was read or written last, if it is still of that version.
    ///
    /// # Errors
    /// [`WriteFailure`].
    fn set_parts(&mut self, base: &Version, parts: &[u8]) -> Result<Version, WriteFailure>;

    /// The archives there are.
    ///
    /// # Errors
    /// [`PlaceError`].
    fn archives(&mut self) -> Result<Vec<Archive>, PlaceError>;

    /// Keeps an object as it is at that place of the archive, replacing what is there.
    ///
    /// # Errors
    /// [`PlaceError`].
    fn archive(&mut self, place: u8, object: &Object, reason: ArchiveReason) -> Result<(), PlaceError>;

    /// The named values of all hosts; empty if there are none yet.
    ///
    /// # Errors
    /// [`PlaceError`].
    fn entries(&mut self) -> Result<BTreeMap<String, Vec<u8>>, PlaceError>;

    /// Sets some named values and removes others, touching no other, and reads back what it set.
    ///
    /// # Errors
    /// [`PlaceError`].
    fn change_entries(&mut self, set: &BTreeMap<String, Vec<u8>>, remove: &[String]) -> Result<(), PlaceError>;

    /// Tells an operator something, as far as the place can. Best effort.
    fn report(&mut self, severity: Severity, reason: &'static str, message: &str);
}
