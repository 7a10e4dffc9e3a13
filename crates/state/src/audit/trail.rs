//! A bounded trail of entries, each chained to the one before. Persistent, as all of a state is: a clone is O(1).
//!
//! Invariants: sequences have no gaps; what is kept chains to the base, the hash of the last entry that is not kept
//! any more (of a text with the deployment's name where all are). So segments that were exported while they
//! were kept chain to what is kept now.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use sha2::{Digest as _, Sha256};

use super::entry::AuditEntry;
use crate::ChangeError;

/// Most memory that the entries of a trail take, about; the oldest go first.
const MAX_BYTES: usize = 48 << 20;

/// Which trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum AuditKind {
    /// What happened.
    Changes = 1,
    /// What was attempted and refused.
    Refusals = 2,
}

impl AuditKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Changes, Self::Refusals];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Refusals => "refusals",
        }
    }

    /// How many entries are kept; the oldest go first.
    #[must_use]
    pub fn limit(self) -> usize {
        match self {
            Self::Changes => 100_000,
            Self::Refusals => 1_000,
        }
    }

    /// Bytes of entries, about, that are kept in a state that several Coordinators share.
    #[must_use]
    pub fn shared_bytes(self) -> usize {
        match self {
            Self::Changes => 64 << 10,
            Self::Refusals => 16 << 10,
        }
    }

    /// From its number in the sealed format.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }

    /// What the first entry of a deployment chains to.
    #[must_use]
    pub fn origin(self, deployment_id: &[u8; 16]) -> [u8; 32] {
        sha256(format!("marblerun audit v1 {} {}", self.as_str(), hex::encode(deployment_id)).as_bytes())
    }
}

/// A place in a trail: a sequence number, and the hash of the entry there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditBase {
    /// 0 before the first entry.
    pub sequence: u64,
    /// SHA-256 of the entry's line.
    pub hash: [u8; 32],
}

/// One trail.
#[derive(Debug, Clone)]
pub struct AuditTrail {
    base: AuditBase,
    /// By sequence.
    entries: RedBlackTreeMapSync<u64, Arc<Linked>>,
    bytes: usize,
}

/// An entry with the hash of its line, so that any page can be written from its place on.
#[derive(Debug)]
struct Linked {
    entry: AuditEntry,
    hash: [u8; 32],
}

impl AuditTrail {
    /// An empty trail of a deployment.
    pub(crate) fn new(kind: AuditKind, deployment_id: &[u8; 16]) -> Self {
        Self::from_base(AuditBase { sequence: 0, hash: kind.origin(deployment_id) })
    }

    /// A trail whose entries up to there are not kept.
    pub(crate) fn from_base(base: AuditBase) -> Self {
        Self { base, entries: RedBlackTreeMapSync::new_sync(), bytes: 0 }
    }

    /// What the oldest kept entry chains to.
    #[must_use]
    pub fn base(&self) -> AuditBase {
        self.base
    }

    /// The newest entry; the base if none is kept.
    #[must_use]
    pub fn head(&self) -> AuditBase {
        self.entries.last().map_or(self.base, |(sequence, last)| AuditBase { sequence: *sequence, hash: last.hash })
    }

    /// How many entries are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.size()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The kept entries after a sequence number, oldest first.
    pub fn after(&self, sequence: u64) -> impl Iterator<Item = &AuditEntry> {
        self.entries.range(sequence.saturating_add(1)..).map(|(_, linked)| &linked.entry)
    }

    /// The lines of the kept entries after a sequence number, oldest first, and what the first of them chains to.
    pub fn lines(&self, after: u64) -> (AuditBase, impl Iterator<Item = String> + '_) {
        let start = match self.entries.get(&after) {
            Some(linked) => AuditBase { sequence: after, hash: linked.hash },
            None if after > self.base.sequence => self.head(),
            None => self.base,
        };
        let mut previous = start.hash;
        let lines = self.entries.range(start.sequence.saturating_add(1)..).map(move |(_, linked)| {
            let line = linked.entry.line(&previous);
            previous = linked.hash;
            line
        });
        (start, lines)
    }

    /// The number an entry that is appended now has to have.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.head().sequence.saturating_add(1)
    }

    /// Whether these entries could be appended, in this order.
    pub(crate) fn check(&self, entries: &[AuditEntry]) -> Result<(), ChangeError> {
        let mut expected = self.next_sequence();
        for entry in entries {
            entry.check()?;
            if entry.sequence != expected {
                return Err(ChangeError(format!(
                    "audit entry {} does not follow entry {}",
                    entry.sequence,
                    expected.saturating_sub(1)
                )));
            }
            expected = expected
                .checked_add(1)
                .ok_or_else(|| ChangeError("the audit trail has run out of numbers".to_owned()))?;
        }
        Ok(())
    }

    /// Appends what was checked. The oldest entries go where there are too many.
    pub(crate) fn append(&mut self, kind: AuditKind, entries: &[AuditEntry]) {
        let mut previous = self.head().hash;
        for entry in entries {
            let hash = sha256(entry.line(&previous).as_bytes());
            self.bytes += entry.weight();
            self.entries.insert_mut(entry.sequence, Arc::new(Linked { entry: entry.clone(), hash }));
            previous = hash;
        }
        self.drop_oldest_while(|trail| trail.entries.size() > kind.limit() || trail.bytes > MAX_BYTES);
    }

    /// Keeps the newest entries that take about so many bytes.
    pub(crate) fn shorten(&mut self, bytes: usize) {
        self.drop_oldest_while(|trail| trail.bytes > bytes);
    }

    fn drop_oldest_while(&mut self, too_long: impl Fn(&Self) -> bool) {
        while too_long(self) {
            let Some((sequence, oldest)) =
                self.entries.first().map(|(sequence, linked)| (*sequence, Arc::clone(linked)))
            else {
                return;
            };
            self.bytes -= oldest.entry.weight();
            self.base = AuditBase { sequence, hash: oldest.hash };
            self.entries.remove_mut(&sequence);
        }
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
