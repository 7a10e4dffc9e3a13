//! Bodies of the client API v3 (`/api/v3/...`), which is ours alone: right HTTP status codes, problem
//! details (RFC 9457) for refusals, and an OpenAPI document generated from these types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::bytes::Base64;

mod cluster;
mod seal;

pub use cluster::{
    Cluster, Decided, Divergence, Head, InForceElsewhere, KekRotation, Peer, PeerAnswer, Update, Writer,
};
pub use seal::{SealBackend, SealSlot, SealSlotAddition, SealSlotRotation, SealSlotTest, SealSlots};

/// A refusal (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Always `about:blank`: `code` says what happened.
    pub r#type: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// What happened, for programs: stable, `snake_case`.
    pub code: String,
    /// Everything that was found, where `detail` can only name the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Names this request in the Coordinator's log.
    pub request_id: String,
}

/// Answer of `GET healthz`: the process answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
}

/// Answer of `GET readyz`, with status 200 if ready and 503 if not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether requests should be sent here.
    pub ready: bool,
    /// Why not; empty if ready.
    pub reasons: Vec<String>,
}

/// What the Coordinator can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A sealed state waits for its recovery secrets.
    Recovery,
    /// No manifest yet.
    AcceptingManifest,
    /// Running.
    AcceptingMarbles,
}

/// How well the state is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is on disk: no manifest yet, or sealing is switched off.
    Volatile,
    /// Every acknowledged change is on disk.
    Durable,
    /// A sealed state exists and cannot be opened.
    Recovery,
    /// Another file was put in place of the state; a restart loads it.
    Superseded,
    /// What lies in the shared place does not go on from what is served here; an operator has to decide.
    Diverged,
    /// Writing failed; reads go on.
    ReadOnly,
}

/// The store of this instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    /// How well the state is kept.
    pub mode: Mode,
    /// Stable code of the cause, where the mode has one (`no_key`, `damaged`, ..).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Cause and recommendation, where the mode has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Number of the last durable state.
    pub sequence: u64,
    /// Head of the last durable record, hexadecimal.
    pub head: Option<String>,
    /// Size of the sealed state.
    pub bytes: u64,
    /// What can open the sealed state: kind and label of each key slot.
    pub slots: Vec<String>,
    /// How long ago it was proved that this is the newest state, in milliseconds, where several Coordinators share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validated_ms_ago: Option<u64>,
    /// Both heads, and who wrote last, if what lies in the shared place does not go on from what is served here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Divergence>,
}

/// Answer of `GET status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// What the Coordinator can do.
    pub phase: Phase,
    /// The same as the number the older API versions use.
    pub code: u8,
    /// The same in words.
    pub message: String,
    /// What protects this process; `simulation` means nothing does.
    pub tee: String,
    /// Version of the program.
    pub version: String,
    /// Which deployment this is, hexadecimal: random at its first start.
    pub deployment: String,
    /// Which life of the deployment: rises with each recovery, accepted restore and import.
    pub incarnation: u64,
    /// SHA-256 of the root certificate (DER), hexadecimal.
    pub root_fingerprint: String,
    /// SHA-256 of the manifest in force, hexadecimal.
    pub manifest_fingerprint: Option<String>,
    /// How the state is kept.
    pub store: Store,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Answer of `GET attestation`: who this Coordinator is, and which life of its deployment it serves. Its quote is bound to
/// all of it, and to the nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attestation {
    /// PEM: the intermediate certificate, then the root certificate.
    pub cert: String,
    /// The quote, base64; `null` in simulation, where nothing is proved.
    #[schema(value_type = Option<String>, format = Byte)]
    pub quote: Option<Base64>,
    /// What protects this process; `simulation` means that nothing does, and nobody vouches for this answer.
    pub tee: String,
    /// Which life of the deployment this is: it rises with each recovery, accepted restore and import. `null` in recovery
    /// mode, where it is not known.
    pub incarnation: Option<u64>,
    /// Tells lives of the same number apart, hexadecimal (16 bytes): two that began with the same backup. `null` with
    /// `incarnation`.
    pub incarnation_id: Option<String>,
}

/// How bad a finding about a manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The manifest is refused.
    Error,
    /// The manifest is accepted, and probably not what was meant.
    Warning,
}

/// One finding about a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of finding it is, for programs: stable.
    pub code: String,
    /// The step of setting a manifest that would meet it.
    pub stage: String,
    /// Where in the manifest.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// Answer of `POST manifest/check`. Nothing is changed by a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestCheck {
    /// Whether the manifest could be set.
    pub accepted: bool,
    /// SHA-256 of the posted bytes, hexadecimal.
    pub fingerprint: String,
    /// Everything there is to say about it.
    pub findings: Vec<Finding>,
}

/// One holder of a recovery key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoveryParty {
    /// Name in the manifest's `RecoveryKeys`; `unknown` where the sealed state does not tell.
    pub name: String,
    /// Whether this party's secret has arrived.
    pub accepted: bool,
}

/// Answer of `GET recovery`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recovery {
    /// Whether the Coordinator waits for recovery secrets.
    pub needed: bool,
    /// Why, as a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many secrets are still needed, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
    /// Progress by name.
    pub parties: Vec<RecoveryParty>,
}

/// How the secrets of a set bring the state back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryScheme {
    /// One party alone.
    Single,
    /// All parties together.
    Xor,
    /// As many parties as the threshold says.
    Shamir,
}

/// The secrets that go with one set of recovery keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoverySet {
    /// How they bring the state back.
    pub scheme: RecoveryScheme,
    /// How many of them are needed.
    pub threshold: u32,
    /// Names the set, hexadecimal: another one whenever new secrets are made.
    pub epoch: String,
    /// Name in the manifest's `RecoveryKeys` to the secret, encrypted with that key; base64.
    #[schema(value_type = BTreeMap<String, String>)]
    pub secrets: BTreeMap<String, Base64>,
}

/// Answer of `GET recovery/secrets`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoverySecrets {
    /// The sets in force: none without recovery keys, two while new keys wait to be confirmed.
    pub sets: Vec<RecoverySet>,
}

/// The identity of an enclave package as it is in force: its security version may be above the manifest's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Debug enclaves are accepted, and only those.
    pub debug: bool,
    /// Hexadecimal MRENCLAVE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// Hexadecimal MRSIGNER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer_id: Option<String>,
    /// Product ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<u64>,
    /// Lowest security version accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_version: Option<u64>,
    /// TCB statuses accepted besides `UpToDate`.
    pub accepted_tcb_statuses: Vec<String>,
    /// Advisories accepted; empty = all.
    pub accepted_advisories: Vec<String>,
    /// A VM in Intel TDX is meant: the fields that are asked of it, as the manifest names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdx: Option<BTreeMap<String, String>>,
    /// A VM in AMD SEV-SNP is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snp: Option<SnpPackage>,
}

/// What a package asks of a VM in SEV-SNP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnpPackage {
    /// Measurements and ids that are asked for, as the manifest names them.
    pub fields: BTreeMap<String, String>,
    /// The VM's policy, bit by bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<u64>,
    /// Privilege level that makes the report.
    pub vmpl: u32,
    /// Least versions of the firmware, by component.
    pub min_tcb: BTreeMap<String, u16>,
    /// Families of processors; empty = all.
    pub products: Vec<String>,
    /// Registers (PCRs, SHA-256) of the VM's TPM by number. Given: the VM runs below a paravisor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pcrs: BTreeMap<String, String>,
}

/// Answer of `GET packages`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Packages {
    /// Name to identity.
    pub packages: BTreeMap<String, Package>,
}

/// Answer of `GET audit`: entries of a trail, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// `changes` or `refusals`.
    pub trail: String,
    /// Sequence number before the first entry of this page. Higher than what was asked for if older entries are not
    /// kept any more.
    pub after: u64,
    /// Lower-case hex of the hash that the first entry of this page holds as `previous`.
    pub previous: String,
    /// The entries. Each is a line of JSON; its hash is the SHA-256 of exactly these bytes.
    pub entries: Vec<String>,
    /// Sequence number of the newest entry of the trail.
    pub last: u64,
}

/// Answer of `GET audit/head`: the heads of both trails, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditHead {
    /// JSON: deployment, incarnation, time, root fingerprint, and of both trails the newest sequence number and hash.
    pub statement: String,
    /// ECDSA P-384 with SHA-384 (ASN.1 DER) by the root key, over `marblerun audit head v1`, a line feed, and the
    /// statement.
    #[schema(value_type = String, format = Byte)]
    pub signature: Base64,
}
