//! What a store tells about itself: facts that are replaced as a whole, and numbers that only grow.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{StoreCounters, StoreMode, StoreStatus};

/// Facts of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) mode: StoreMode,
    pub(crate) sequence: u64,
    pub(crate) head: Option<[u8; 32]>,
    pub(crate) file_bytes: u64,
    pub(crate) slots: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl Facts {
    /// Together with the counters, as the public status.
    pub(crate) fn to_status(&self, counters: &Counters) -> StoreStatus {
        StoreStatus {
            mode: self.mode.clone(),
            sequence: self.sequence,
            head: self.head,
            file_bytes: self.file_bytes,
            slots: self.slots.clone(),
            warnings: self.warnings.clone(),
            counters: counters.read(),
        }
    }
}

/// Numbers that only grow, counted where the thing happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) bytes_appended: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) sync_errors: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    fn read(&self) -> StoreCounters {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounters {
            commits: value(&self.commits),
            groups: value(&self.groups),
            bytes_appended: value(&self.bytes_appended),
            compactions: value(&self.compactions),
            sync_errors: value(&self.sync_errors),
        }
    }
}
