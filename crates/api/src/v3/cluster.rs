//! What a Coordinator tells about a state that it shares with others, and what operators decide about it. Keys of the
//! state are named here by their ids; none of them can be had.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::bytes::Base64;

/// A moment of a shared state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Which deployment, hexadecimal.
    pub deployment: String,
    /// Which life of it.
    pub incarnation: u64,
    /// Random name of that life, hexadecimal.
    pub incarnation_id: String,
    /// Number of the newest commit.
    pub sequence: u64,
    /// Head of the newest commit, hexadecimal.
    pub head: String,
}

/// The last commit of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Writer {
    /// The process, from its start to its end; hexadecimal.
    pub boot: String,
    /// Number of its last commit.
    pub sequence: u64,
    /// Name of that commit, hexadecimal.
    pub commit: String,
}

/// Why a Coordinator neither writes nor admits anybody: what lies in the shared place does not go on from what it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Divergence {
    /// What is wrong, and what to do.
    pub reason: String,
    /// What is served here.
    pub here: Option<Head>,
    /// What lies there, if it can be opened.
    pub found: Option<Head>,
    /// Who wrote that last, as the place tells.
    pub last_writer: String,
}

/// How an address of another Coordinator answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeerAnswer {
    /// It answers clients.
    Serving,
    /// It waits for recovery keys.
    Recovering,
    /// It does neither.
    Waiting,
    /// It is this very process.
    Myself,
    /// Nobody listens there.
    Nobody,
    /// It did not answer in time.
    Silent,
    /// It is not trusted, or does not trust this Coordinator.
    Rejected,
}

/// One address where a Coordinator is said to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// `host:port`.
    pub address: String,
    /// How it answered.
    pub answer: PeerAnswer,
    /// Why, where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Its process, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Its program and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The newest state it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
}

/// Answer of `GET cluster`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// What the shared place is called.
    pub place: String,
    /// This process, hexadecimal.
    pub boot: String,
    /// Whether clients are answered from the shared state.
    pub serving: bool,
    /// The state that is served here; absent while none is open.
    pub head: Option<Head>,
    /// Who wrote it: the last commit of each process.
    pub writers: Vec<Writer>,
    /// Key encryption keys that this Coordinator has, by id (hexadecimal).
    pub kek_ids: Vec<String>,
    /// Key encryption keys that open the state, by id.
    pub slots: Vec<String>,
    /// Key encryption keys that other Coordinators are asked for, by id.
    pub wanted: Vec<String>,
    /// Whether the key encryption key is kept for this host.
    pub entry_sealed: bool,
    /// How long ago it was proved that the state served here is the newest, in milliseconds; absent if never.
    pub validated_ms_ago: Option<u64>,
    /// How long activations go on without such a proof, in seconds.
    pub offline_grace_seconds: u64,
    /// Activations that went on without one.
    pub offline_activations: u64,
    /// A write whose outcome is not known yet.
    pub in_doubt: bool,
    /// Writes whose outcome had to be looked up.
    pub doubts: u64,
    /// Conflicts with other writers, resolved without a client noticing.
    pub conflicts: u64,
    /// Bytes of the shared object.
    pub bytes: u64,
    /// Most bytes it may have.
    pub limit: u64,
    /// Bytes of the snapshot in parts beside it; 0 while all of it lies in the object.
    #[serde(default)]
    pub part_bytes: u64,
    /// The object was deleted while its state is served here.
    pub missing: bool,
    /// Set if what lies there does not go on from what is served here.
    pub divergence: Option<Divergence>,
    /// The other Coordinators.
    pub peers: Vec<Peer>,
    /// Newest version of the sealed format that this program reads.
    pub format: u32,
}

/// Body of `POST kek/rotate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KekRotation {
    /// The old keys go at once, and the data encryption key with them: for a key that somebody may have learnt.
    #[serde(default)]
    pub revoke: bool,
}

/// Answer of `POST restore/accept`, `POST restore/reject` and `POST kek/rotate`: it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decided {
    /// Who decided, as the audit trail names him.
    pub by: String,
    /// What was done, in words.
    pub message: String,
}

/// From when on an update is in force at Coordinators that share the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InForceElsewhere {
    /// After so many seconds at the latest, where the shared place does not answer; at once where it does.
    pub seconds_at_most: u64,
    /// The same in words.
    pub message: String,
}

/// Answer of `POST update` and `POST update/acknowledge`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// Whether the update is in force.
    pub applied: bool,
    /// Acknowledgements still needed.
    pub missing_acknowledgments: u64,
    /// Users who have not acknowledged.
    pub missing_users: Vec<String>,
    /// New recovery secrets, if any were made: name in the manifest's `RecoveryKeys` to the encrypted secret; base64.
    #[schema(value_type = BTreeMap<String, String>)]
    pub recovery_secrets: BTreeMap<String, Base64>,
    /// Where several Coordinators share the state and the update is in force here: from when on it is elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<InForceElsewhere>,
}
