//! Which state goes on from which: several Coordinators write one state, and whoever may write to the place where it
//! lies can put an older one, or another history, in its stead. Sequence numbers alone do not tell a history that
//! grew longer, so a state carries the last commit of each of its writers (cluster protocol, section 4).

use std::collections::BTreeMap;

use crate::Lineage;

/// A process that writes, from its start to its end: 16 random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub [u8; 16]);

/// One attempt to write: 16 random bytes, drawn for each sealing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitId(pub [u8; 16]);

/// The last commit of one writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterMark {
    /// Who.
    pub boot: BootId,
    /// Sequence number of its last commit.
    pub sequence: u64,
    /// Name of that commit.
    pub commit: CommitId,
}

/// The last commits of the writers of a state, at most [`Writers::MOST`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writers {
    marks: BTreeMap<BootId, (u64, CommitId)>,
}

/// Why a life of a deployment began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Cause {
    /// The first one.
    Genesis = 1,
    /// Key holders opened it.
    Recovery = 2,
    /// An older state was put in place.
    Restore = 3,
    /// Taken over from another program's form.
    Import = 4,
}

/// One life of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incarnation {
    /// 1 at genesis.
    pub number: u64,
    /// Random.
    pub id: [u8; 16],
    /// Why it began.
    pub cause: Cause,
    /// Who confirmed that what it cuts off may go; empty if nobody did.
    pub confirmed_by: String,
    /// Sequence and head of what it cut off, as far as known.
    pub cut_off: Option<(u64, [u8; 32])>,
}

/// What one needs of a state to tell whether another goes on from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Deployment and life.
    pub lineage: Lineage,
    /// Sequence of the newest commit.
    pub sequence: u64,
    /// Head of the newest commit.
    pub head: [u8; 32],
    /// Who wrote it.
    pub writers: Writers,
    /// The newest lives, oldest first.
    pub incarnations: Vec<Incarnation>,
    /// Whether a manifest is in force.
    pub has_manifest: bool,
}

/// How another state relates to mine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The same commit.
    Equal,
    /// It goes on from mine.
    Successor,
    /// An operator decided that it replaces mine.
    ConfirmedRestore,
    /// Mine goes on from it.
    Older,
    /// Neither goes on from the other.
    Fork,
    /// Of another deployment.
    Foreign,
}

impl Writers {
    /// More writers are not told apart; the one with the oldest commit goes first.
    pub const MOST: usize = 64;

    /// The last commit of a writer.
    #[must_use]
    pub fn last(&self, boot: BootId) -> Option<(u64, CommitId)> {
        self.marks.get(&boot).copied()
    }

    /// All, in the order of their boot ids.
    pub fn iter(&self) -> impl Iterator<Item = WriterMark> + '_ {
        self.marks.iter().map(|(boot, (sequence, commit))| WriterMark {
            boot: *boot,
            sequence: *sequence,
            commit: *commit,
        })
    }

    /// The number of writers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether nobody wrote yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Notes a commit.
    pub fn note(&mut self, mark: WriterMark) {
        self.marks.insert(mark.boot, (mark.sequence, mark.commit));
        while self.marks.len() > Self::MOST {
            let oldest =
                self.marks.iter().min_by_key(|(boot, (sequence, _))| (*sequence, **boot)).map(|(boot, _)| *boot);
            let Some(oldest) = oldest else { break };
            self.marks.remove(&oldest);
        }
    }

    /// Whether all commits of `other` are among these, or before them. One that is missing because it was pruned is no
    /// contradiction.
    #[must_use]
    pub fn dominates(&self, other: &Self) -> bool {
        let oldest_kept = self.marks.values().map(|(sequence, _)| *sequence).min().unwrap_or(0);
        let is_full = self.marks.len() >= Self::MOST;
        other.marks.iter().all(|(boot, (sequence, commit))| match self.marks.get(boot) {
            Some((mine, my_commit)) => mine > sequence || (mine == sequence && my_commit == commit),
            None => is_full && *sequence < oldest_kept,
        })
    }
}

impl FromIterator<WriterMark> for Writers {
    fn from_iter<T: IntoIterator<Item = WriterMark>>(marks: T) -> Self {
        let mut writers = Self::default();
        marks.into_iter().for_each(|mark| writers.note(mark));
        writers
    }
}

impl Standing {
    /// How `other` relates to this one.
    #[must_use]
    pub fn relation(&self, other: &Self) -> Relation {
        if self.lineage.deployment_id != other.lineage.deployment_id {
            return Relation::Foreign;
        }
        match (other.writers.dominates(&self.writers), self.writers.dominates(&other.writers)) {
            (true, true) if self.head == other.head => Relation::Equal,
            // The same commits and yet not the same: somebody has a key, or a writer was pruned on both sides.
            (true, true) if other.sequence > self.sequence => Relation::Successor,
            (true, true) if other.sequence < self.sequence => Relation::Older,
            (true, true) => Relation::Fork,
            (true, false) => Relation::Successor,
            (false, _) if self.is_replaced_by(other) => Relation::ConfirmedRestore,
            (false, true) => Relation::Older,
            (false, false) => Relation::Fork,
        }
    }

    /// Whether `other` has a life, younger than mine, that an operator let begin with a restore.
    fn is_replaced_by(&self, other: &Self) -> bool {
        other.incarnations.iter().any(|life| {
            life.cause == Cause::Restore && !life.confirmed_by.is_empty() && life.number > self.lineage.incarnation
        })
    }
}

#[cfg(test)]
mod tests;
