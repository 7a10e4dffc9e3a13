//! The stored form of changes: protobuf, version 1 of the sealed format.
//!
//! Field numbers are for ever. A field is never reused and never changes its type; a new field or kind is
//! an error to older programs. Scalars are never repeated (packing would give one value two encodings).
//! Messages that can hold a secret have no `Debug` and are wiped when dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use marblerun_manifest::model::{self, SecretKind};
use marblerun_recovery::{Party as RecoveryParty, RecoveryRoot, RecoverySet as PublicSet, Scheme};
use zeroize::{Zeroize, Zeroizing};

use crate::{ChangeError, CounterKey, parts};

/// `message Change { oneof kind { .. } }`
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Change {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15")]
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

impl From<&crate::Change> for Change {
    fn from(change: &crate::Change) -> Self {
        use crate::Change as C;
        let kind = match change {
            C::Lineage(lineage) => Kind::Lineage(Lineage {
                deployment_id: lineage.deployment_id.to_vec(),
                incarnation: lineage.incarnation,
                incarnation_id: lineage.incarnation_id.to_vec(),
            }),
            C::Authority(authority) => Kind::Authority(Authority {
                root_certificate: authority.root_certificate.clone(),
                root_key: authority.root_key.to_sec1_der().to_vec(),
                intermediate_certificate: authority.intermediate_certificate.clone(),
                intermediate_key: authority.intermediate_key.to_sec1_der().to_vec(),
                marble_root_certificate: authority.marble_root_certificate.clone(),
            }),
            C::RootSecret { current, previous } => Kind::RootSecret(RootSecret {
                current: current.0.to_vec(),
                previous: previous.as_ref().map(|secret| secret.0.to_vec()),
            }),
            C::Manifest { raw, signature } => {
                Kind::Manifest(Manifest { raw: raw.clone(), signature: signature.clone() })
            }
            C::Package(name, package) => {
                Kind::Package(NamedPackage { name: name.clone(), package: package.as_deref().map(Package::from) })
            }
            C::Secret(name, secret) => {
                Kind::Secret(NamedSecret { name: name.clone(), secret: secret.as_deref().map(Secret::from) })
            }
            C::PreviousSecret(name, secret) => {
                Kind::PreviousSecret(NamedSecret { name: name.clone(), secret: secret.as_deref().map(Secret::from) })
            }
            C::PreviousIsCurrent(name) => Kind::PreviousIsCurrent(Name { name: name.clone() }),
            C::Activations(name, count) => Kind::Activations(Activations { marble_type: name.clone(), count: *count }),
            C::Counter(key, value) => Kind::Counter(Counter {
                marble_type: key.marble_type.clone(),
                uuid: key.uuid.to_vec(),
                name: key.name.clone(),
                value: *value,
            }),
            C::Log(lines) => Kind::Log(Log { lines: lines.clone() }),
            C::LogReset => Kind::LogReset(Empty {}),
            C::PendingUpdate(update) => {
                Kind::PendingUpdate(MaybePending { pending: update.as_deref().map(Pending::from) })
            }
            C::Recovery(sets) => {
                Kind::Recovery(Recovery { sets: sets.iter().map(|entry| RecoverySet::from(&**entry)).collect() })
            }
            C::Extra(key, value) => {
                Kind::Extra(Extra { key: key.clone(), value: value.as_ref().map(|value| value.to_vec()) })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<Change> for crate::Change {
    type Error = ChangeError;

    fn try_from(message: Change) -> Result<Self, ChangeError> {
        let Some(kind) = message.kind else { return Err(ChangeError("unknown kind of change".to_owned())) };
        Ok(match kind {
            Kind::Lineage(lineage) => Self::Lineage(parts::Lineage {
                deployment_id: exact("deployment id", &lineage.deployment_id)?,
                incarnation: lineage.incarnation,
                incarnation_id: exact("incarnation id", &lineage.incarnation_id)?,
            }),
            Kind::Authority(mut authority) => {
                let authority = marblerun_pki::Authority::from_parts(
                    std::mem::take(&mut authority.root_certificate),
                    &authority.root_key,
                    std::mem::take(&mut authority.intermediate_certificate),
                    &authority.intermediate_key,
                    std::mem::take(&mut authority.marble_root_certificate),
                );
                Self::Authority(Arc::new(authority.map_err(|error| ChangeError(error.to_string()))?))
            }
            Kind::RootSecret(mut secret) => {
                let current = root_secret(&mut secret.current)?;
                let previous = secret.previous.as_mut().map(root_secret).transpose()?;
                Self::RootSecret { current, previous }
            }
            Kind::Manifest(manifest) => Self::Manifest { raw: manifest.raw, signature: manifest.signature },
            Kind::Package(named) => Self::Package(named.name, named.package.map(|package| Arc::new(package.into()))),
            Kind::Secret(named) => {
                Self::Secret(named.name, named.secret.map(TryInto::try_into).transpose()?.map(Arc::new))
            }
            Kind::PreviousSecret(named) => {
                Self::PreviousSecret(named.name, named.secret.map(TryInto::try_into).transpose()?.map(Arc::new))
            }
            Kind::PreviousIsCurrent(name) => Self::PreviousIsCurrent(name.name),
            Kind::Activations(activations) => Self::Activations(activations.marble_type, activations.count),
            Kind::Counter(counter) => Self::Counter(
                CounterKey {
                    marble_type: counter.marble_type,
                    uuid: exact("counter UUID", &counter.uuid)?,
                    name: counter.name,
                },
                counter.value,
            ),
            Kind::Log(log) => Self::Log(log.lines),
            Kind::LogReset(Empty {}) => Self::LogReset,
            Kind::PendingUpdate(update) => {
                Self::PendingUpdate(update.pending.map(TryInto::try_into).transpose()?.map(Arc::new))
            }
            Kind::Recovery(recovery) => Self::Recovery(
                recovery.sets.into_iter().map(|set| set.try_into().map(Arc::new)).collect::<Result<_, _>>()?,
            ),
            Kind::Extra(mut extra) => {
                Self::Extra(std::mem::take(&mut extra.key), extra.value.take().map(Zeroizing::new))
            }
        })
    }
}

fn exact<const N: usize>(what: &str, bytes: &[u8]) -> Result<[u8; N], ChangeError> {
    bytes.try_into().map_err(|_| ChangeError(format!("{what} has {} bytes instead of {N}", bytes.len())))
}

fn root_secret(bytes: &mut Vec<u8>) -> Result<parts::RootSecret, ChangeError> {
    match bytes.is_empty() {
        true => Err(ChangeError("the root secret is empty".to_owned())),
        false => Ok(parts::RootSecret(Zeroizing::new(std::mem::take(bytes)))),
    }
}

impl From<&model::Package> for Package {
    fn from(package: &model::Package) -> Self {
        let package = package.clone();
        Self {
            debug: package.debug,
            unique_id: package.unique_id,
            signer_id: package.signer_id,
            product_id: package.product_id,
            security_version: package.security_version,
            accepted_tcb_statuses: package.accepted_tcb_statuses,
            accepted_advisories: package.accepted_advisories,
            tcb_statuses_given: package.tcb_statuses_given,
            advisories_given: package.advisories_given,
        }
    }
}

impl From<Package> for model::Package {
    fn from(package: Package) -> Self {
        Self {
            debug: package.debug,
            unique_id: package.unique_id,
            signer_id: package.signer_id,
            product_id: package.product_id,
            security_version: package.security_version,
            accepted_tcb_statuses: package.accepted_tcb_statuses,
            accepted_advisories: package.accepted_advisories,
            tcb_statuses_given: package.tcb_statuses_given,
            advisories_given: package.advisories_given,
        }
    }
}

const KINDS: [(u32, SecretKind); 5] = [
    (1, SecretKind::SymmetricKey),
    (2, SecretKind::CertRsa),
    (3, SecretKind::CertEcdsa),
    (4, SecretKind::CertEd25519),
    (5, SecretKind::Plain),
];

impl From<&marblerun_pki::Secret> for Secret {
    fn from(secret: &marblerun_pki::Secret) -> Self {
        let same = secret.private.is_some() && secret.private == secret.public;
        Self {
            kind: KINDS.iter().find(|(_, kind)| *kind == secret.kind).map_or(0, |(number, _)| *number),
            size: secret.size,
            shared: secret.shared,
            user_defined: secret.user_defined,
            valid_for: secret.valid_for,
            certificate: secret.certificate.clone(),
            private: secret.private.as_ref().map(|value| value.to_vec()),
            public: secret.public.as_ref().filter(|_| !same).map(|value| value.to_vec()),
            public_is_private: same,
        }
    }
}

impl TryFrom<Secret> for marblerun_pki::Secret {
    type Error = ChangeError;

    fn try_from(mut secret: Secret) -> Result<Self, ChangeError> {
        let Some((_, kind)) = KINDS.iter().find(|(number, _)| *number == secret.kind) else {
            return Err(ChangeError(format!("unknown kind of secret {}", secret.kind)));
        };
        let private = secret.private.take().map(Zeroizing::new);
        let public = match (secret.public_is_private, secret.public.take()) {
            (true, None) => private.clone(),
            (false, public) => public.map(Zeroizing::new),
            (true, Some(_)) => return Err(ChangeError("a secret has two public parts".to_owned())),
        };
        if !secret.public_is_private && private.is_some() && private == public {
            return Err(ChangeError("a secret stores the same value twice".to_owned()));
        }
        Ok(Self {
            kind: *kind,
            size: secret.size,
            shared: secret.shared,
            user_defined: secret.user_defined,
            valid_for: secret.valid_for,
            certificate: secret.certificate.take(),
            private,
            public,
        })
    }
}

impl From<&parts::PendingUpdate> for Pending {
    fn from(update: &parts::PendingUpdate) -> Self {
        let users = update.required_users.iter();
        Self {
            raw: update.raw.clone(),
            required_users: users
                .map(|(name, acknowledged)| RequiredUser { name: name.clone(), acknowledged: *acknowledged })
                .collect(),
            missing_acknowledgments: update.missing_acknowledgments,
        }
    }
}

impl TryFrom<Pending> for parts::PendingUpdate {
    type Error = ChangeError;

    fn try_from(pending: Pending) -> Result<Self, ChangeError> {
        let count = pending.required_users.len();
        let required_users: BTreeMap<_, _> =
            pending.required_users.into_iter().map(|user| (user.name, user.acknowledged)).collect();
        if required_users.len() != count {
            return Err(ChangeError("a pending update names a user twice".to_owned()));
        }
        Ok(Self { raw: pending.raw, required_users, missing_acknowledgments: pending.missing_acknowledgments })
    }
}

impl From<&parts::RecoveryEntry> for RecoverySet {
    fn from(entry: &parts::RecoveryEntry) -> Self {
        let set = &entry.set;
        Self {
            scheme: set.scheme as u32,
            threshold: set.threshold,
            epoch: set.epoch.to_vec(),
            parties: set
                .parties
                .iter()
                .map(|party| Party {
                    name: party.name.clone(),
                    public_key: party.public_key.clone(),
                    commitment: party.commitment.map(|commitment| commitment.to_vec()),
                    encrypted_secret: party.encrypted_secret.clone(),
                })
                .collect(),
            unassigned_commitments: set.unassigned_commitments.iter().map(|hash| hash.to_vec()).collect(),
            root: entry.root.expose().to_vec(),
        }
    }
}

impl TryFrom<RecoverySet> for parts::RecoveryEntry {
    type Error = ChangeError;

    fn try_from(mut message: RecoverySet) -> Result<Self, ChangeError> {
        let scheme = match message.scheme {
            1 => Scheme::Single,
            2 => Scheme::Xor,
            3 => Scheme::Shamir,
            other => return Err(ChangeError(format!("unknown recovery scheme {other}"))),
        };
        let parties = std::mem::take(&mut message.parties).into_iter().map(|party| {
            let commitment = party.commitment.as_deref().map(|hash| exact("commitment", hash)).transpose()?;
            Ok(RecoveryParty {
                name: party.name,
                public_key: party.public_key,
                commitment,
                encrypted_secret: party.encrypted_secret,
            })
        });
        let set = PublicSet {
            scheme,
            threshold: message.threshold,
            epoch: exact("recovery epoch", &message.epoch)?,
            parties: parties.collect::<Result<_, ChangeError>>()?,
            unassigned_commitments: message
                .unassigned_commitments
                .iter()
                .map(|hash| exact("commitment", hash))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { set, root: RecoveryRoot::new(Zeroizing::new(std::mem::take(&mut message.root))) })
    }
}
