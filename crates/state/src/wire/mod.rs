//! The stored form of changes: protobuf, version 1 of the sealed format.
//!
//! Field numbers are for ever. A field is never reused and never changes its type; a new field or kind is
//! an error to older programs. Scalars are never repeated (packing would give one value two encodings).
//! Messages that can hold a secret have no `Debug` and are wiped when dropped.

use std::collections::BTreeMap;

use bytes::Bytes;
use zeroize::Zeroize;

mod convert;
mod package;

pub(crate) use package::{NO_ENCLAVE, stored_unique_id};

/// `message Change { oneof kind { .. } }`
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Change {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20, 21, 22, 23, 24, 25")]
    kind: Option<Kind>,
}

/// The kinds of change.
#[derive(Clone, PartialEq, prost::Oneof)]
#[prost(skip_debug)]
enum Kind {
    #[prost(message, tag = "1")]
    Lineage(Lineage),
    #[prost(message, tag = "2")]
    Authority(Authority),
    #[prost(message, tag = "3")]
    RootSecret(RootSecret),
    #[prost(message, tag = "4")]
    Manifest(Manifest),
    #[prost(message, tag = "5")]
    Package(NamedPackage),
    #[prost(message, tag = "6")]
    Secret(NamedSecret),
    #[prost(message, tag = "7")]
    PreviousSecret(NamedSecret),
    #[prost(message, tag = "8")]
    Activations(Activations),
    #[prost(message, tag = "9")]
    Counter(Counter),
    #[prost(message, tag = "10")]
    Log(Log),
    #[prost(message, tag = "11")]
    LogReset(Empty),
    #[prost(message, tag = "12")]
    PendingUpdate(MaybePending),
    #[prost(message, tag = "13")]
    Recovery(Recovery),
    #[prost(message, tag = "14")]
    Extra(Extra),
    #[prost(message, tag = "15")]
    PreviousIsCurrent(Name),
    #[prost(message, tag = "16")]
    RetiredRoots(RetiredRoots),
    #[prost(message, tag = "20")]
    Audit(Audit),
    #[prost(message, tag = "21")]
    AuditBase(AuditBase),
    #[prost(message, tag = "22")]
    Writers(Writers),
    #[prost(message, tag = "23")]
    Incarnations(Incarnations),
    #[prost(message, tag = "24")]
    Home(Home),
    #[prost(message, tag = "25")]
    CollateralMarks(CollateralMarks),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct Name {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Lineage {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    deployment_id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    incarnation: u64,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    incarnation_id: Vec<u8>,
}

/// Certificates as DER, keys as SEC 1 DER.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Authority {
    #[prost(bytes = "vec", tag = "1")]
    root_certificate: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    root_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    intermediate_certificate: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    intermediate_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    marble_root_certificate: Vec<u8>,
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.root_key.zeroize();
        self.intermediate_key.zeroize();
    }
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct RootSecret {
    #[prost(bytes = "vec", tag = "1")]
    current: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    previous: Option<Vec<u8>>,
}

impl Drop for RootSecret {
    fn drop(&mut self) {
        self.current.zeroize();
        self.previous.zeroize();
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Manifest {
    #[prost(bytes = "bytes", tag = "1")]
    raw: Bytes,
    #[prost(bytes = "vec", tag = "2")]
    signature: Vec<u8>,
}

/// No `package`: removed.
#[derive(Clone, PartialEq, prost::Message)]
struct NamedPackage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    package: Option<Package>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Package {
    #[prost(bool, tag = "1")]
    debug: bool,
    #[prost(string, tag = "2")]
    unique_id: String,
    #[prost(string, tag = "3")]
    signer_id: String,
    #[prost(uint64, optional, tag = "4")]
    product_id: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    security_version: Option<u64>,
    #[prost(string, repeated, tag = "6")]
    accepted_tcb_statuses: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    accepted_advisories: Vec<String>,
    #[prost(bool, tag = "8")]
    tcb_statuses_given: bool,
    #[prost(bool, tag = "9")]
    advisories_given: bool,
    #[prost(message, optional, boxed, tag = "10")]
    tdx: Option<Box<Tdx>>,
    #[prost(message, optional, boxed, tag = "11")]
    snp: Option<Box<Snp>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Tdx {
    #[prost(string, tag = "1")]
    mrtd: String,
    #[prost(string, tag = "2")]
    rtmr0: String,
    #[prost(string, tag = "3")]
    rtmr1: String,
    #[prost(string, tag = "4")]
    rtmr2: String,
    #[prost(string, tag = "5")]
    rtmr3: String,
    #[prost(string, tag = "6")]
    mr_seam: String,
    #[prost(string, tag = "7")]
    mr_config_id: String,
    #[prost(string, tag = "8")]
    mr_owner: String,
    #[prost(string, tag = "9")]
    mr_owner_config: String,
    #[prost(string, tag = "10")]
    attributes: String,
    #[prost(string, tag = "11")]
    xfam: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Snp {
    #[prost(string, tag = "1")]
    measurement: String,
    #[prost(string, tag = "2")]
    id_key_digest: String,
    #[prost(string, tag = "3")]
    author_key_digest: String,
    #[prost(string, tag = "4")]
    family_id: String,
    #[prost(string, tag = "5")]
    image_id: String,
    #[prost(string, tag = "6")]
    host_data: String,
    #[prost(uint64, optional, tag = "7")]
    policy: Option<u64>,
    #[prost(uint32, optional, tag = "8")]
    vmpl: Option<u32>,
    #[prost(message, optional, tag = "9")]
    min_tcb: Option<SnpTcb>,
    #[prost(string, repeated, tag = "10")]
    products: Vec<String>,
    #[prost(btree_map = "string, string", tag = "11")]
    pcrs: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct SnpTcb {
    #[prost(uint32, optional, tag = "1")]
    bootloader: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    tee: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    snp: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    microcode: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    fmc: Option<u32>,
}

/// No `secret`: removed.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct NamedSecret {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    secret: Option<Secret>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Secret {
    /// 1 symmetric key, 2 RSA, 3 ECDSA, 4 Ed25519 certificate, 5 plain.
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    size: u64,
    #[prost(bool, tag = "3")]
    shared: bool,
    #[prost(bool, tag = "4")]
    user_defined: bool,
    #[prost(uint64, tag = "5")]
    valid_for: u64,
    #[prost(bytes = "vec", optional, tag = "6")]
    certificate: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "7")]
    private: Option<Vec<u8>>,
    /// Absent if `public_is_private`.
    #[prost(bytes = "vec", optional, tag = "8")]
    public: Option<Vec<u8>>,
    /// Keys and plain secrets have the same bytes in both parts; they are stored once.
    #[prost(bool, tag = "9")]
    public_is_private: bool,
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.private.zeroize();
        self.public.zeroize();
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Activations {
    #[prost(string, tag = "1")]
    marble_type: String,
    #[prost(uint64, tag = "2")]
    count: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Counter {
    #[prost(string, tag = "1")]
    marble_type: String,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    uuid: Vec<u8>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(uint64, tag = "4")]
    value: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Log {
    #[prost(string, repeated, tag = "1")]
    lines: Vec<String>,
}

/// No `pending`: ended.
#[derive(Clone, PartialEq, prost::Message)]
struct MaybePending {
    #[prost(message, optional, tag = "1")]
    pending: Option<Pending>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pending {
    #[prost(bytes = "bytes", tag = "1")]
    raw: Bytes,
    #[prost(message, repeated, tag = "2")]
    required_users: Vec<RequiredUser>,
    #[prost(int64, tag = "3")]
    missing_acknowledgments: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequiredUser {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "2")]
    acknowledged: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Recovery {
    #[prost(message, repeated, tag = "1")]
    sets: Vec<RecoverySet>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct RecoverySet {
    /// 1 single, 2 XOR, 3 Shamir.
    #[prost(uint32, tag = "1")]
    scheme: u32,
    #[prost(uint32, tag = "2")]
    threshold: u32,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    epoch: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    parties: Vec<Party>,
    /// 32 bytes each.
    #[prost(bytes = "vec", repeated, tag = "5")]
    unassigned_commitments: Vec<Vec<u8>>,
    /// The recovery root.
    #[prost(bytes = "vec", tag = "6")]
    root: Vec<u8>,
}

impl Drop for RecoverySet {
    fn drop(&mut self) {
        self.root.zeroize();
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Party {
    #[prost(string, tag = "1")]
    name: String,
    /// SubjectPublicKeyInfo DER.
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    /// 32 bytes.
    #[prost(bytes = "vec", optional, tag = "3")]
    commitment: Option<Vec<u8>>,
    #[prost(bytes = "vec", tag = "4")]
    encrypted_secret: Vec<u8>,
}

/// Oldest first.
#[derive(Clone, PartialEq, prost::Message)]
struct RetiredRoots {
    #[prost(message, repeated, tag = "1")]
    roots: Vec<RetiredRoot>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetiredRoot {
    /// DER.
    #[prost(bytes = "vec", tag = "1")]
    certificate: Vec<u8>,
    /// Unix milliseconds.
    #[prost(int64, tag = "2")]
    until_ms: i64,
    /// Sorted.
    #[prost(string, repeated, tag = "3")]
    excluded: Vec<String>,
}

/// No `value`: removed.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Extra {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bytes = "vec", optional, tag = "2")]
    value: Option<Vec<u8>>,
}

impl Drop for Extra {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

/// `trail`: 1 changes, 2 refusals.
#[derive(Clone, PartialEq, prost::Message)]
struct Audit {
    #[prost(uint32, tag = "1")]
    trail: u32,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<AuditEntry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AuditEntry {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(uint64, tag = "2")]
    time_ms: u64,
    /// Number of `AuditEvent`.
    #[prost(uint32, tag = "3")]
    event: u32,
    #[prost(string, tag = "4")]
    actor: String,
    #[prost(string, tag = "5")]
    subject: String,
    #[prost(string, optional, tag = "6")]
    before: Option<String>,
    #[prost(string, optional, tag = "7")]
    after: Option<String>,
    #[prost(string, optional, tag = "8")]
    reason: Option<String>,
    #[prost(uint64, tag = "9")]
    count: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AuditBase {
    #[prost(uint32, tag = "1")]
    trail: u32,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "3")]
    hash: Vec<u8>,
}

/// The last commits of writers; each replaces what was known of that writer.
#[derive(Clone, PartialEq, prost::Message)]
struct Writers {
    #[prost(message, repeated, tag = "1")]
    marks: Vec<WriterMark>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WriterMark {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    boot: Vec<u8>,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    commit: Vec<u8>,
}

/// Replaces the list.
#[derive(Clone, PartialEq, prost::Message)]
struct Incarnations {
    #[prost(message, repeated, tag = "1")]
    incarnations: Vec<Incarnation>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Incarnation {
    #[prost(uint64, tag = "1")]
    number: u64,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    id: Vec<u8>,
    /// 1 genesis, 2 recovery, 3 restore, 4 import.
    #[prost(uint32, tag = "3")]
    cause: u32,
    #[prost(string, tag = "4")]
    confirmed_by: String,
    #[prost(message, optional, tag = "5")]
    cut_off: Option<CutOff>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CutOff {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    head: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Home {
    #[prost(string, tag = "1")]
    backend: String,
    #[prost(string, tag = "2")]
    place: String,
    #[prost(string, tag = "3")]
    uid: String,
}

/// Sorted by name. Of each mark the greater counts, this or what was known.
#[derive(Clone, PartialEq, prost::Message)]
struct CollateralMarks {
    #[prost(message, repeated, tag = "1")]
    marks: Vec<CollateralMark>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CollateralMark {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    value: u64,
}
