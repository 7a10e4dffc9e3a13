//! The only ways a state changes. Encoded as protobuf; an unknown kind is an error, never skipped.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use marblerun_manifest::model::Package;
use marblerun_pki::{Authority, Secret};
use prost::Message;
use zeroize::Zeroizing;

use crate::audit::{AuditBase, AuditEntry, AuditKind};
use crate::{
    CounterKey, Home, Incarnation, Lineage, PendingUpdate, RecoveryEntry, RetiredRoot, RootSecret, WriterMark, wire,
};

/// An encoded change has at most this many bytes (sealed format, section 4).
pub const MAX_CHANGE: usize = 32 << 20;

/// One change. `Debug` shows its kind and what it is about, no values.
#[derive(Clone)]
pub enum Change {
    /// Which deployment and incarnation this is.
    Lineage(Lineage),
    /// New keys and certificates.
    Authority(Arc<Authority>),
    /// Root secret, and the one before.
    RootSecret {
        /// Current.
        current: RootSecret,
        /// Before the last rotation.
        previous: Option<RootSecret>,
    },
    /// A manifest comes into force, and the phase becomes running. Does not touch packages or secrets.
    Manifest {
        /// As uploaded.
        raw: Bytes,
        /// DER.
        signature: Vec<u8>,
    },
    /// An effective package is set (`None`: removed).
    Package(String, Option<Arc<Package>>),
    /// A secret is set (`None`: removed).
    Secret(String, Option<Arc<Secret>>),
    /// The previous generation of a secret is set (`None`: removed).
    PreviousSecret(String, Option<Arc<Secret>>),
    /// The previous generation of a secret becomes what the secret is now (as after a first manifest).
    /// Stores the value once.
    PreviousIsCurrent(String),
    /// Activations counted for a Marble type.
    Activations(String, u64),
    /// A monotonic counter is set; it never goes back.
    Counter(CounterKey, u64),
    /// Lines are appended to the update log.
    Log(Vec<String>),
    /// The update log begins anew (followed by [`Change::Log`]).
    LogReset,
    /// The pending update is set or ended.
    PendingUpdate(Option<Arc<PendingUpdate>>),
    /// Recovery sets in force. In a committed transaction this makes the store change the data
    /// encryption key and write a new file.
    Recovery(Vec<Arc<RecoveryEntry>>),
    /// Marble roots that updates have replaced and that still give access, oldest first, at most
    /// [`Change::MAX_RETIRED_ROOTS`]. Replaces the list.
    RetiredRoots(Vec<Arc<RetiredRoot>>),
    /// A value of an imported state that is only kept for export (`None`: removed).
    Extra(String, Option<Zeroizing<Vec<u8>>>),
    /// Entries are appended to an audit trail. The oldest go where there are too many.
    Audit(AuditKind, Vec<AuditEntry>),
    /// An audit trail begins behind that place (in a snapshot, where older entries were dropped).
    AuditBase(AuditKind, AuditBase),
    /// Last commits of writers, each instead of what was known of that writer.
    Writers(Vec<WriterMark>),
    /// The newest lives of the deployment, oldest first, at most [`Change::MAX_INCARNATIONS`]. Replaces the list.
    Incarnations(Vec<Incarnation>),
    /// Where the state lies that several Coordinators share. From then on its audit trails are short.
    Home(Home),
    /// The newest collateral that was believed: marks by name. None ever falls, so of each the greater counts. At most
    /// [`Change::MAX_COLLATERAL_MARKS`] are kept.
    CollateralMarks(BTreeMap<String, u64>),
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, about): (&str, &dyn std::fmt::Debug) = match self {
            Self::Lineage(lineage) => ("Lineage", lineage),
            Self::Authority(_) => ("Authority", &".."),
            Self::RootSecret { .. } => ("RootSecret", &".."),
            Self::Manifest { .. } => ("Manifest", &".."),
            Self::Package(name, _) => ("Package", name),
            Self::Secret(name, _) => ("Secret", name),
            Self::PreviousSecret(name, _) => ("PreviousSecret", name),
            Self::PreviousIsCurrent(name) => ("PreviousIsCurrent", name),
            Self::Activations(name, _) => ("Activations", name),
            Self::Counter(key, _) => ("Counter", key),
            Self::Log(lines) => ("Log", lines),
            Self::LogReset => ("LogReset", &".."),
            Self::PendingUpdate(_) => ("PendingUpdate", &".."),
            Self::Recovery(_) => ("Recovery", &".."),
            Self::RetiredRoots(roots) => ("RetiredRoots", roots),
            Self::Extra(key, _) => ("Extra", key),
            Self::Audit(_, entries) => ("Audit", entries),
            Self::AuditBase(_, base) => ("AuditBase", base),
            Self::Writers(marks) => ("Writers", marks),
            Self::Incarnations(incarnations) => ("Incarnations", incarnations),
            Self::Home(home) => ("Home", home),
            Self::CollateralMarks(marks) => ("CollateralMarks", marks),
        };
        f.debug_tuple(kind).field(about).finish()
    }
}

/// Why a change cannot be read or applied.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChangeError(pub String);

impl Change {
    /// More replaced Marble roots than this are never kept.
    pub const MAX_RETIRED_ROOTS: usize = 8;
    /// Older lives than this many are forgotten.
    pub const MAX_INCARNATIONS: usize = 16;
    /// More marks of collateral are not kept: three for each of 256 platforms of Intel's, and some more.
    pub const MAX_COLLATERAL_MARKS: usize = 800;
    /// No name of such a mark has more bytes.
    pub const MAX_MARK_NAME: usize = 64;

    /// Encodes as one protobuf message.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(wire::Change::from(self).encode_to_vec())
    }

    /// Decodes one protobuf message (authenticated, but still bounded and checked).
    ///
    /// Everything in it is understood: an unknown kind or field (of a newer program) is an error, never skipped.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ChangeError> {
        if bytes.len() > MAX_CHANGE {
            return Err(ChangeError(format!("a single change cannot exceed {MAX_CHANGE} bytes")));
        }
        let message = wire::Change::decode(bytes).map_err(|error| ChangeError(format!("malformed change: {error}")))?;
        // prost skips what it does not know. What it knows is never longer in our encoding than it was in the
        // input, so equal lengths prove that nothing was skipped.
        if message.encoded_len() != bytes.len() {
            return Err(ChangeError("a change has fields that this version does not know".to_owned()));
        }
        Self::try_from(message)
    }

    /// At least the encoded size, without encoding.
    #[must_use]
    pub fn size_bound(&self) -> usize {
        /// Tags, lengths and fixed-size fields of a message.
        const FRAME: usize = 128;
        let secret = |secret: &Option<Arc<Secret>>| {
            secret.as_ref().map_or(0, |secret| {
                let parts = [&secret.private, &secret.public].map(|part| part.as_ref().map_or(0, |v| v.len()));
                parts.iter().sum::<usize>() + secret.certificate.as_ref().map_or(0, Vec::len)
            })
        };
        let list = |items: &[String]| items.iter().map(|item| item.len() + 8).sum::<usize>();
        FRAME
            + match self {
                Self::Lineage(_) | Self::RootSecret { .. } | Self::LogReset => 256,
                Self::Authority(authority) => {
                    authority.root_certificate.len()
                        + authority.intermediate_certificate.len()
                        + authority.marble_root_certificate.len()
                        + 512
                }
                Self::Manifest { raw, signature } => raw.len() + signature.len(),
                Self::Package(name, package) => {
                    name.len()
                        + package.as_ref().map_or(0, |package| {
                            package.unique_id.len()
                                + package.signer_id.len()
                                + list(&package.accepted_tcb_statuses)
                                + list(&package.accepted_advisories)
                                + package.tdx.as_ref().map_or(0, |vm| vm.fields().iter().map(|(_, v, _)| v.len()).sum())
                                + package.snp.as_ref().map_or(0, |vm| {
                                    let pcrs = vm.pcrs.iter().map(|(number, value)| number.len() + value.len() + 8);
                                    vm.fields().iter().map(|(_, v, _)| v.len()).sum::<usize>()
                                        + pcrs.sum::<usize>()
                                        + list(&vm.products)
                                        + 64
                                })
                        })
                }
                Self::Secret(name, value) | Self::PreviousSecret(name, value) => name.len() + secret(value),
                Self::PreviousIsCurrent(name) | Self::Activations(name, _) => name.len(),
                Self::Counter(key, _) => key.marble_type.len() + key.name.len(),
                Self::Log(lines) => list(lines),
                Self::PendingUpdate(update) => update.as_ref().map_or(0, |update| {
                    update.raw.len() + update.required_users.keys().map(|name| name.len() + 16).sum::<usize>()
                }),
                Self::Recovery(sets) => sets
                    .iter()
                    .map(|entry| {
                        let parties = entry.set.parties.iter();
                        let parties =
                            parties.map(|p| FRAME + p.name.len() + p.public_key.len() + p.encrypted_secret.len());
                        FRAME + parties.sum::<usize>() + entry.set.unassigned_commitments.len() * 40
                    })
                    .sum(),
                Self::RetiredRoots(roots) => roots
                    .iter()
                    .map(|root| {
                        let excluded = root.excluded.iter().map(|name| name.len() + 8);
                        FRAME + root.certificate.len() + excluded.sum::<usize>()
                    })
                    .sum(),
                Self::Extra(key, value) => key.len() + value.as_ref().map_or(0, |value| value.len()),
                Self::Audit(_, entries) => entries.iter().map(AuditEntry::weight).sum(),
                Self::AuditBase(..) => 64,
                Self::Writers(marks) => marks.len() * 64,
                Self::Incarnations(list) => list.iter().map(|life| FRAME + life.confirmed_by.len()).sum(),
                Self::Home(home) => home.backend.len() + home.place.len() + home.uid.len(),
                Self::CollateralMarks(marks) => marks.keys().map(|name| name.len() + 24).sum(),
            }
    }
}

#[cfg(test)]
mod tests;
