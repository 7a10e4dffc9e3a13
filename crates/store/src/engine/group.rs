//! Gathering one group: which transactions are in it, what they did, and what each of them has seen.

use std::sync::Arc;

use marblerun_state::{Change, Draft, State};

use super::job::{Fate, Job, Run};
use super::queue::Queue;
use crate::backend::Backend;
use crate::format::MAX_DELTA;

/// Most transactions of a group.
pub(super) const MAX_TRANSACTIONS: usize = 1024;
/// Bytes of changes after which a group takes no more transactions.
pub(super) const MAX_BYTES: u64 = 4 << 20;

/// A transaction that was run.
struct Member {
    job: Box<dyn Job>,
    /// It ran on top of changes of this group, or made some: its answer depends on the group.
    involved: bool,
}

/// Transactions that were run one after the other.
pub(super) struct Gathered {
    members: Vec<Member>,
    state: Arc<State>,
    changes: Vec<Change>,
    bytes: u64,
    writers: u64,
}

impl Gathered {
    /// Runs `first` and then whatever waits, up to the bounds of a group.
    pub(super) fn gather(base: &Arc<State>, first: Box<dyn Job>, queue: &Queue, backend: &dyn Backend) -> Self {
        let (members, changes) = (Vec::new(), Vec::new());
        let mut gathered = Self { members, state: Arc::clone(base), changes, bytes: 0, writers: 0 };
        let mut next = Some(first);
        while let Some(job) = next {
            if gathered.run(job, queue, backend) == Room::Full {
                break;
            }
            next = queue.next_job();
        }
        gathered
    }

    /// Whether there is nothing to store.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The state after the group, and its changes.
    pub(super) fn outcome(&mut self) -> (Arc<State>, Arc<[Change]>) {
        (Arc::clone(&self.state), std::mem::take(&mut self.changes).into())
    }

    /// Answers all, also who changed nothing: where others write too, all was decided on a state that had to be proved.
    pub(super) fn answer_all(self, fate: &Fate) {
        self.members.into_iter().for_each(|member| member.job.answer(fate.clone()));
    }

    /// Answers all. `fate` is what became of the group; who has not seen it is answered as decided.
    pub(super) fn answer(self, fate: &Fate) {
        for member in self.members {
            member.job.answer(if member.involved { fate.clone() } else { Fate::Decided });
        }
    }

    /// How many transactions made the changes.
    pub(super) fn writers(&self) -> u64 {
        self.writers
    }

    /// The transactions, in order, to be run again.
    pub(super) fn into_jobs(self) -> impl DoubleEndedIterator<Item = Box<dyn Job>> {
        self.members.into_iter().map(|member| member.job)
    }

    fn run(&mut self, mut job: Box<dyn Job>, queue: &Queue, backend: &dyn Backend) -> Room {
        let mut draft = Draft::new(&self.state);
        let run = job.run(&mut draft);
        let (state, changes) = draft.into_parts();
        if run != Run::Accepted || changes.is_empty() {
            self.members.push(Member { job, involved: !self.changes.is_empty() });
            return self.room();
        }
        let bytes = match stored_size(&changes) {
            Ok(bytes) => bytes,
            Err(why) => {
                job.answer(Fate::NotStored(why));
                return self.room();
            }
        };
        if !self.changes.is_empty() && self.bytes + bytes > MAX_DELTA {
            queue.put_back(std::iter::once(job));
            return Room::Full;
        }
        let last = backend.ends_group(&self.state, &state, &changes);
        self.members.push(Member { job, involved: true });
        self.state = Arc::new(state);
        self.changes.extend(changes);
        self.bytes += bytes;
        self.writers += 1;
        if last { Room::Full } else { self.room() }
    }

    fn room(&self) -> Room {
        if self.members.len() >= MAX_TRANSACTIONS || self.bytes >= MAX_BYTES { Room::Full } else { Room::Left }
    }
}

#[derive(PartialEq, Eq)]
enum Room {
    Left,
    Full,
}

/// At least the size of the changes as they will be stored; refuses what one record cannot hold.
fn stored_size(changes: &[Change]) -> Result<u64, String> {
    // Each stands behind its length, a varint of at most 5 bytes.
    let bytes: u64 = changes.iter().map(|change| change.size_bound() as u64 + 5).sum();
    if bytes > MAX_DELTA {
        return Err(format!("the transaction is too large to be stored: {bytes} bytes, at most {MAX_DELTA}"));
    }
    Ok(bytes)
}
