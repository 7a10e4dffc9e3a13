//! What an instance tells about the state that it shares: for status, metrics, peers.

use std::time::Instant;

use marblerun_state::{BootId, Standing};

use super::{Kek, KekId, Peer};

/// One moment of an instance. Replaced as a whole, read without waiting.
#[derive(Debug, Clone)]
pub struct ClusterView {
    /// This process, until it takes a restore: then another one.
    pub boot: BootId,
    /// What the place is called.
    pub place: String,
    /// The state published here; `None` while none is open.
    pub standing: Option<Standing>,
    /// Whether clients are answered from it: open, and not diverged.
    pub serving: bool,
    /// The first look at what lies in the shared place is over.
    pub settled: bool,
    /// Whether the seal mode of the manifest lets every version of the product open it (no manifest: it does not).
    pub seal_by_product: bool,
    /// Keys that opened the state, are kept for this host, and stand in a slot of it: what peers may have.
    pub keks: Vec<Kek>,
    /// The slots of the published state.
    pub slots: Vec<KekId>,
    /// Keys in the slots of what lies there that this instance lacks and that would help: peers are asked for them.
    pub wanted: Vec<KekId>,
    /// When the last read began that proved the published state to be the newest.
    pub validated: Option<Instant>,
    /// A write whose outcome is not known yet.
    pub in_doubt: bool,
    /// The object was deleted while this instance serves.
    pub missing: bool,
    /// What lies there is not what goes on from the published state.
    pub diverged: Option<Divergence>,
    /// The own entry among the hosts' keys: there, confirmed, read back.
    pub entry_sealed: bool,
    /// What peers said last.
    pub peers: Vec<Peer>,
    /// Bytes of the shared object.
    pub bytes: usize,
    /// Bytes of the snapshot in parts beside it; 0 while it lies in the object.
    pub part_bytes: usize,
    /// Most bytes it may have.
    pub limit: usize,
    /// Conflicts with other writers, resolved without a caller noticing.
    pub conflicts: u64,
    /// Writes whose outcome had to be looked up.
    pub doubts: u64,
    /// Newest version of the sealed format that this program reads.
    pub format: u32,
}

/// Why an instance neither commits nor admits anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// What is wrong, and what to do.
    pub reason: String,
    /// What lies there, if it can be opened.
    pub found: Option<Standing>,
    /// Who wrote it, as the place tells.
    pub last_writer: String,
}

impl ClusterView {
    /// Before the first look.
    pub(super) fn starting(boot: BootId, place: String, limit: usize) -> Self {
        Self {
            boot,
            place,
            standing: None,
            serving: false,
            settled: false,
            seal_by_product: false,
            keks: Vec::new(),
            slots: Vec::new(),
            wanted: Vec::new(),
            validated: None,
            in_doubt: false,
            missing: false,
            diverged: None,
            entry_sealed: false,
            peers: Vec::new(),
            bytes: 0,
            part_bytes: 0,
            limit,
            conflicts: 0,
            doubts: 0,
            format: super::FORMAT,
        }
    }

    /// Names of the keys this instance could give.
    #[must_use]
    pub fn kek_ids(&self) -> Vec<KekId> {
        self.keks.iter().map(Kek::id).collect()
    }

    /// Whether a peer answers clients from the state, as far as heard.
    #[must_use]
    pub fn has_serving_peer(&self) -> bool {
        self.peers.iter().any(|peer| matches!(&peer.answer, super::PeerAnswer::Greeted(greeting) if greeting.serving))
    }
}
