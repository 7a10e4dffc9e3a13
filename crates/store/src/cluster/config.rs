//! How an instance keeps a state that it shares.

use std::time::Duration;

use marblerun_sealing::{KeySealer, SealMode, Sealers};

use crate::RollbackPolicy;
use crate::digest::{beginning, sha256};

/// What binds a sealed key to a version of the program, besides the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealIdentity {
    /// Measurement of this very program.
    pub measurement: Vec<u8>,
    /// Security version of the product.
    pub security_version: u64,
}

/// What an instance of a cluster is made of.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// `kubernetes` or `etcd`, for the state's note of where it lies.
    pub backend: &'static str,
    /// Each seals a copy of the key encryption key; any of these copies opens the state.
    pub sealers: Sealers,
    /// What that copy is bound to besides.
    pub identity: SealIdentity,
    /// What to do about a state older than this host has seen, where nobody alive knows better.
    pub rollback: RollbackPolicy,
    /// Program and version, for the header.
    pub writer: String,
    /// Keep the parties' encrypted secrets in the header (`MARBLERUN_RECOVERY_IN_HEADER`).
    pub recovery_in_header: bool,
    /// Forbid a new manifest over a state that cannot be opened (`MARBLERUN_RECOVERY_RESET=deny`).
    pub deny_reset: bool,
    /// Bytes of a shared object above which a snapshot goes into parts, or is refused where there may be none.
    pub inline_max: usize,
    /// Transactions that may wait.
    pub queue: usize,
}

/// Intervals. The defaults are right for production; tests shorten them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterTuning {
    /// How long the first look waits for the first round of greetings.
    pub greeting_wait: Duration,
    /// How often the published state is validated when nobody asks.
    pub validate_every: Duration,
    /// First and longest wait between two looks at a state that cannot be opened, or a place that does not answer.
    pub look_again: (Duration, Duration),
    /// How often the own entry is looked after.
    pub entry_every: Duration,
    /// How often the newest state seen is written into the own entry.
    pub seen_every: Duration,
    /// After which time callers of a write of unknown outcome are told so.
    pub doubt: Duration,
    /// How long a state under an unknown key may lie there before the instance counts as diverged.
    pub strange: Duration,
    /// How long a peer may be ahead of every read before the place counts as stale.
    pub stale: Duration,
    /// How long nobody must have answered before a state without a manifest is founded anew.
    pub abandoned: Duration,
}

impl Default for ClusterTuning {
    fn default() -> Self {
        Self {
            greeting_wait: Duration::from_millis(3500),
            validate_every: Duration::from_secs(2),
            look_again: (Duration::from_millis(500), Duration::from_secs(15)),
            entry_every: Duration::from_secs(30),
            seen_every: Duration::from_secs(600),
            doubt: Duration::from_secs(10),
            strange: Duration::from_secs(10),
            stale: Duration::from_secs(30),
            abandoned: Duration::from_secs(60),
        }
    }
}

impl SealIdentity {
    /// Name of what a copy by that backend is bound to in this mode: equal for all programs that can open it there. A
    /// backend that all hosts reach asks nobody which program he is.
    #[must_use]
    pub(super) fn seal_id(&self, mode: SealMode, sealer: &dyn KeySealer) -> [u8; 8] {
        let name = sealer.name().as_bytes();
        if sealer.kind().is_portable() {
            return beginning(&sha256(&[b"marblerun shared seal id v1", name]));
        }
        let version = self.security_version.to_le_bytes();
        let bound_to = match mode {
            SealMode::ProductKey => version.as_slice(),
            SealMode::UniqueKey | SealMode::Disabled => &self.measurement,
        };
        let length = (bound_to.len() as u64).to_le_bytes();
        beginning(&sha256(&[b"marblerun seal id v2", &[mode as u8], &length, bound_to, name]))
    }
}
