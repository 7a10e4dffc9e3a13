//! Between changes and their stored form. What is read is checked: lengths, known numbers, nothing stored twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use marblerun_manifest::model::SecretKind;
use marblerun_recovery::{Party as RecoveryParty, RecoveryRoot, RecoverySet as PublicSet, Scheme};
use zeroize::Zeroizing;

use super::{
    Activations, Audit, AuditBase, AuditEntry, Authority, Change, CollateralMark, CollateralMarks, Counter, CutOff,
    Empty, Extra, Home, Incarnation, Incarnations, Kind, Lineage, Log, Manifest, MaybePending, Name, NamedPackage,
    NamedSecret, Package, Party, Pending, Recovery, RecoverySet, RequiredUser, RetiredRoot, RetiredRoots, RootSecret,
    Secret, WriterMark, Writers,
};
use crate::{ChangeError, CounterKey, audit, parts, succession};

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
            C::RetiredRoots(roots) => {
                let roots = roots.iter().map(|root| RetiredRoot {
                    certificate: root.certificate.clone(),
                    until_ms: root.until_ms,
                    excluded: root.excluded.iter().cloned().collect(),
                });
                Kind::RetiredRoots(RetiredRoots { roots: roots.collect() })
            }
            C::Extra(key, value) => {
                Kind::Extra(Extra { key: key.clone(), value: value.as_ref().map(|value| value.to_vec()) })
            }
            C::Audit(kind, entries) => {
                Kind::Audit(Audit { trail: *kind as u32, entries: entries.iter().map(AuditEntry::from).collect() })
            }
            C::AuditBase(kind, base) => {
                Kind::AuditBase(AuditBase { trail: *kind as u32, sequence: base.sequence, hash: base.hash.to_vec() })
            }
            C::Writers(marks) => Kind::Writers(Writers { marks: marks.iter().map(WriterMark::from).collect() }),
            C::Incarnations(incarnations) => {
                Kind::Incarnations(Incarnations { incarnations: incarnations.iter().map(Incarnation::from).collect() })
            }
            C::Home(home) => {
                Kind::Home(Home { backend: home.backend.clone(), place: home.place.clone(), uid: home.uid.clone() })
            }
            C::CollateralMarks(marks) => {
                let marks = marks.iter().map(|(name, value)| CollateralMark { name: name.clone(), value: *value });
                Kind::CollateralMarks(CollateralMarks { marks: marks.collect() })
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
            Kind::Package(named) => {
                Self::Package(named.name, named.package.map(TryInto::try_into).transpose()?.map(Arc::new))
            }
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
            Kind::RetiredRoots(retired) => Self::RetiredRoots(
                retired.roots.into_iter().map(|root| root.try_into().map(Arc::new)).collect::<Result<_, _>>()?,
            ),
            Kind::Extra(mut extra) => {
                Self::Extra(std::mem::take(&mut extra.key), extra.value.take().map(Zeroizing::new))
            }
            Kind::Audit(trail) => Self::Audit(
                audit_kind(trail.trail)?,
                trail.entries.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            ),
            Kind::AuditBase(base) => Self::AuditBase(
                audit_kind(base.trail)?,
                audit::AuditBase { sequence: base.sequence, hash: exact("hash of an audit entry", &base.hash)? },
            ),
            Kind::Writers(writers) => {
                Self::Writers(writers.marks.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?)
            }
            Kind::Incarnations(list) => {
                Self::Incarnations(list.incarnations.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?)
            }
            Kind::Home(home) => Self::Home(parts::Home { backend: home.backend, place: home.place, uid: home.uid }),
            Kind::CollateralMarks(CollateralMarks { marks }) => {
                if marks.windows(2).any(|pair| matches!(pair, [first, second] if first.name >= second.name)) {
                    return Err(ChangeError("marks of collateral are not sorted".to_owned()));
                }
                Self::CollateralMarks(marks.into_iter().map(|mark| (mark.name, mark.value)).collect())
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

impl TryFrom<RetiredRoot> for parts::RetiredRoot {
    type Error = ChangeError;

    fn try_from(root: RetiredRoot) -> Result<Self, ChangeError> {
        let count = root.excluded.len();
        let excluded: BTreeSet<_> = root.excluded.into_iter().collect();
        if excluded.len() != count {
            return Err(ChangeError("a replaced Marble root excludes a type twice".to_owned()));
        }
        Ok(Self { certificate: root.certificate, until_ms: root.until_ms, excluded })
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

fn audit_kind(number: u32) -> Result<audit::AuditKind, ChangeError> {
    audit::AuditKind::from_number(number).ok_or_else(|| ChangeError(format!("unknown audit trail {number}")))
}

impl From<&audit::AuditEntry> for AuditEntry {
    fn from(entry: &audit::AuditEntry) -> Self {
        Self {
            sequence: entry.sequence,
            time_ms: entry.time_ms,
            event: entry.event as u32,
            actor: entry.actor.clone(),
            subject: entry.subject.clone(),
            before: entry.before.clone(),
            after: entry.after.clone(),
            reason: entry.reason.clone(),
            count: entry.count,
        }
    }
}

impl TryFrom<AuditEntry> for audit::AuditEntry {
    type Error = ChangeError;

    fn try_from(entry: AuditEntry) -> Result<Self, ChangeError> {
        let event = audit::AuditEvent::from_number(entry.event)
            .ok_or_else(|| ChangeError(format!("unknown audit event {}", entry.event)))?;
        Ok(Self {
            sequence: entry.sequence,
            time_ms: entry.time_ms,
            event,
            actor: entry.actor,
            subject: entry.subject,
            before: entry.before,
            after: entry.after,
            reason: entry.reason,
            count: entry.count,
        })
    }
}

impl From<&succession::WriterMark> for WriterMark {
    fn from(mark: &succession::WriterMark) -> Self {
        Self { boot: mark.boot.0.to_vec(), sequence: mark.sequence, commit: mark.commit.0.to_vec() }
    }
}

impl TryFrom<WriterMark> for succession::WriterMark {
    type Error = ChangeError;

    fn try_from(mark: WriterMark) -> Result<Self, ChangeError> {
        Ok(Self {
            boot: succession::BootId(exact("boot id of a writer", &mark.boot)?),
            sequence: mark.sequence,
            commit: succession::CommitId(exact("commit id of a writer", &mark.commit)?),
        })
    }
}

impl From<&succession::Incarnation> for Incarnation {
    fn from(incarnation: &succession::Incarnation) -> Self {
        Self {
            number: incarnation.number,
            id: incarnation.id.to_vec(),
            cause: incarnation.cause as u32,
            confirmed_by: incarnation.confirmed_by.clone(),
            cut_off: incarnation.cut_off.map(|(sequence, head)| CutOff { sequence, head: head.to_vec() }),
        }
    }
}

impl TryFrom<Incarnation> for succession::Incarnation {
    type Error = ChangeError;

    fn try_from(incarnation: Incarnation) -> Result<Self, ChangeError> {
        use succession::Cause;
        let cause = [Cause::Genesis, Cause::Recovery, Cause::Restore, Cause::Import]
            .into_iter()
            .find(|cause| *cause as u32 == incarnation.cause)
            .ok_or_else(|| ChangeError(format!("unknown cause {} of an incarnation", incarnation.cause)))?;
        let cut_off = incarnation.cut_off.map(|cut| Ok((cut.sequence, exact("head that was cut off", &cut.head)?)));
        Ok(Self {
            number: incarnation.number,
            id: exact("incarnation id", &incarnation.id)?,
            cause,
            confirmed_by: incarnation.confirmed_by,
            cut_off: cut_off.transpose()?,
        })
    }
}
