//! Where and how a state is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use marblerun_sealing::{CounterDevice, Sealers};

/// What to do about a state older than the one this host vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackPolicy {
    /// Serve it, and say so (default in simulation).
    Warn,
    /// Recovery mode.
    Refuse,
}

/// Where and how to keep the state.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Seal directory; made with mode 0700 if absent.
    pub dir: PathBuf,
    /// Sources of slot secrets, in the order in which their slots are tried. Each gets a slot of every new key.
    pub sealers: Sealers,
    /// Where a monotonic counter is that tells the newest files from older ones, if there is one.
    pub counter: Option<Arc<dyn CounterDevice>>,
    /// What to do about an older state.
    pub rollback: RollbackPolicy,
    /// Program and version, for the header.
    pub writer: String,
    /// Keep the parties' encrypted secrets in the header (`MARBLERUN_RECOVERY_IN_HEADER`).
    pub recovery_in_header: bool,
    /// Forbid a new manifest over a state that cannot be opened (`MARBLERUN_RECOVERY_RESET=deny`).
    pub deny_reset: bool,
    /// Continue a damaged file from there (`--accept-loss-after`). Without effect on a whole file, so that it
    /// may stay in the configuration.
    pub accept_loss_after: Option<u64>,
    /// Rename every trace of an earlier state away (`--discard-existing-state`).
    pub discard_existing_state: bool,
}

impl StoreConfig {
    /// The state of a Coordinator that calls itself `writer`, with nothing forbidden, given up or counted.
    #[must_use]
    pub fn new(dir: PathBuf, sealers: Sealers, writer: &str) -> Self {
        Self {
            dir,
            sealers,
            counter: None,
            rollback: RollbackPolicy::Warn,
            writer: writer.to_owned(),
            recovery_in_header: true,
            deny_reset: false,
            accept_loss_after: None,
            discard_existing_state: false,
        }
    }
}

/// Intervals and bounds. The defaults are right for production; tests shorten them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreTuning {
    /// How long [`crate::Store::open_with`] waits for another holder of the directory.
    pub lock_wait: Duration,
    /// Transactions that may wait; [`crate::CommitError::Busy`] beyond.
    pub queue: usize,
    /// How often, without any commit, to look whether another file was put in place.
    pub look_every: Duration,
    /// How long a missing file may stay missing (a restore may be under way) before it is written anew from memory.
    pub missing_wait: Duration,
    /// Least time between two witnesses of ordinary commits.
    pub witness_every: Duration,
    /// First wait after a failed attempt to write a new file; doubles up to a minute.
    pub retry_after: Duration,
    /// A file whose deltas are larger than this, and larger than its snapshot, is compacted.
    pub compact_bytes: u64,
    /// A file with more records is compacted.
    pub compact_records: u64,
}

impl Default for StoreTuning {
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_secs(60),
            queue: 4096,
            look_every: Duration::from_secs(1),
            missing_wait: Duration::from_secs(2),
            witness_every: Duration::from_secs(60),
            retry_after: Duration::from_secs(1),
            compact_bytes: 1 << 20,
            compact_records: 65_536,
        }
    }
}
