//! How a change changes a state. Every change is checked first, so that a refused one leaves the
//! state as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::audit::{AuditKind, AuditTrail};
use crate::manifest::ActiveManifest;
use crate::upstream::keys;
use crate::{Change, ChangeError, Incarnation, Phase, RecoveryEntry, RetiredRoot, State};

/// Bytes of the update log, about, that are kept at least in a state that several Coordinators share.
const SHARED_LOG_BYTES: usize = 32 << 10;

impl State {
    /// Applies one change.
    ///
    /// # Errors
    /// [`ChangeError`] if the change does not fit this state; it is then unchanged.
    pub fn apply(&mut self, change: &Change) -> Result<(), ChangeError> {
        self.apply_value(change)?;
        self.forget_imported_form(change);
        Ok(())
    }

    fn apply_value(&mut self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::Lineage(lineage) => self.lineage = *lineage,
            Change::Authority(authority) => self.authority = Arc::clone(authority),
            Change::RootSecret { current, previous } => {
                self.root_secret = current.clone();
                self.previous_root_secret.clone_from(previous);
            }
            Change::Manifest { raw, signature } => {
                self.manifest = Some(Arc::new(ActiveManifest::new(raw.clone(), signature.clone())?));
                self.phase = Phase::AcceptingMarbles;
            }
            Change::Package(name, package) => set(&mut self.packages, name, package.as_ref().map(Arc::clone)),
            Change::Secret(name, secret) => set(&mut self.secrets, name, secret.as_ref().map(Arc::clone)),
            Change::PreviousSecret(name, secret) => {
                set(&mut self.previous_secrets, name, secret.as_ref().map(Arc::clone));
            }
            Change::PreviousIsCurrent(name) => {
                let Some(current) = self.secrets.get(name.as_str()).map(Arc::clone) else {
                    return Err(ChangeError(format!("there is no secret {name:?} to keep as the previous one")));
                };
                set(&mut self.previous_secrets, name, Some(current));
            }
            Change::Activations(name, count) => set(&mut self.activations, name, Some(*count)),
            Change::Counter(key, value) => {
                let current = self.counter(key);
                if *value < current {
                    return Err(ChangeError(format!(
                        "monotonic counter {:?} of Marble type {:?} cannot go from {current} back to {value}",
                        key.name, key.marble_type
                    )));
                }
                self.counters.insert_mut(key.clone(), *value);
            }
            Change::Log(lines) => {
                if lines.iter().any(|line| line.contains('\n')) {
                    return Err(ChangeError("a line of the update log contains a line end".to_owned()));
                }
                for line in lines {
                    self.update_log_bytes += line.len();
                    self.update_log.push_back_mut(line.as_str().into());
                }
                self.shorten_shared_log();
            }
            Change::LogReset => {
                self.update_log = rpds::VectorSync::new_sync();
                self.update_log_bytes = 0;
            }
            Change::PendingUpdate(update) => self.pending_update = update.as_ref().map(Arc::clone),
            Change::Recovery(sets) => {
                check_recovery(sets)?;
                self.recovery = Arc::from(sets.as_slice());
            }
            Change::RetiredRoots(roots) => {
                check_retired_roots(roots)?;
                self.retired_roots = Arc::from(roots.as_slice());
            }
            Change::Extra(key, value) => set(&mut self.extra, key, value.clone()),
            Change::Audit(kind, entries) => {
                let trail = self.trail(*kind);
                trail.check(entries)?;
                trail.append(*kind, entries);
                self.shorten_shared_trail(*kind);
            }
            Change::AuditBase(kind, base) => {
                let trail = self.trail(*kind);
                if trail.head().sequence != 0 {
                    return Err(ChangeError("an audit trail that has begun cannot begin anew".to_owned()));
                }
                *trail = AuditTrail::from_base(*base);
            }
            Change::Writers(marks) => {
                let writers = Arc::make_mut(&mut self.writers);
                marks.iter().for_each(|mark| writers.note(*mark));
            }
            Change::Incarnations(lives) => {
                check_incarnations(lives)?;
                self.incarnations = Arc::from(lives.as_slice());
            }
            Change::Home(home) => {
                self.home = Some(Arc::new(home.clone()));
                AuditKind::ALL.into_iter().for_each(|kind| self.shorten_shared_trail(kind));
                self.shorten_shared_log();
            }
            Change::CollateralMarks(marks) => {
                check_collateral_marks(&self.collateral_marks, marks)?;
                let mine = Arc::make_mut(&mut self.collateral_marks);
                for (name, value) in marks {
                    let mark = mine.entry(name.clone()).or_default();
                    *mark = (*mark).max(*value);
                }
            }
        }
        Ok(())
    }

    fn trail(&mut self, kind: AuditKind) -> &mut AuditTrail {
        match kind {
            AuditKind::Changes => &mut self.audit,
            AuditKind::Refusals => &mut self.refusals,
        }
    }

    /// A shared state is written whole with every commit, so its trails are kept short.
    fn shorten_shared_trail(&mut self, kind: AuditKind) {
        if self.home.is_some() {
            self.trail(kind).shorten(kind.shared_bytes());
        }
    }

    /// The same for its update log, which upstream lets grow for ever: every line would be written again with every commit,
    /// until the place holds no more. Cut to half now and then, so that it costs little.
    fn shorten_shared_log(&mut self) {
        if self.home.is_none() || self.update_log_bytes <= 2 * SHARED_LOG_BYTES {
            return;
        }
        let mut bytes = 0;
        let newest = self.update_log.iter().rev().take_while(|line| {
            bytes += line.len();
            bytes <= SHARED_LOG_BYTES
        });
        let mut kept: Vec<Box<str>> = newest.cloned().collect();
        kept.reverse();
        self.update_log_bytes = kept.iter().map(|line| line.len()).sum();
        self.update_log = kept.into_iter().collect();
    }

    /// What was kept of an imported state is out of date where our own value changes.
    fn forget_imported_form(&mut self, change: &Change) {
        if self.extra.is_empty() {
            return;
        }
        let stale: Vec<Box<str>> = match change {
            // Upstream has neither: they are not exported, and make nothing of what is out of date.
            Change::Audit(..) | Change::AuditBase(..) | Change::RetiredRoots(_) => return,
            Change::Writers(_) | Change::Incarnations(_) | Change::Home(_) | Change::CollateralMarks(_) => return,
            Change::Extra(..) | Change::Lineage(_) | Change::Recovery(_) => return,
            Change::Authority(_) => self.extra.keys().filter(|key| keys::is_of_authority(key)).cloned().collect(),
            Change::Manifest { .. } => self.extra.keys().filter(|key| keys::is_of_manifest(key)).cloned().collect(),
            Change::RootSecret { .. } => [keys::ROOT_SECRET, keys::PREVIOUS_ROOT_SECRET].map(Box::from).into(),
            Change::Package(name, _) => vec![keys::package(name).into()],
            Change::Secret(name, _) => vec![keys::secret(name).into()],
            Change::PreviousSecret(name, _) | Change::PreviousIsCurrent(name) => {
                vec![keys::previous_secret(name).into()]
            }
            Change::Activations(name, _) => vec![keys::activations(name).into()],
            Change::Counter(key, _) => vec![keys::counter(key).into()],
            Change::Log(_) | Change::LogReset => vec![keys::UPDATE_LOG.into()],
            Change::PendingUpdate(_) => vec![keys::PENDING_UPDATE.into()],
        };
        for key in stale {
            self.extra.remove_mut(&key);
        }
    }
}

fn set<V>(map: &mut rpds::RedBlackTreeMapSync<Box<str>, V>, name: &str, value: Option<V>) {
    match value {
        Some(value) => map.insert_mut(name.into(), value),
        None => {
            map.remove_mut(name);
        }
    }
}

fn check_recovery(sets: &[Arc<RecoveryEntry>]) -> Result<(), ChangeError> {
    // Sealed format, sections 4: two sets only while a rotation waits; 255 parties; names of 256 bytes.
    let refuse = |reason: &str| Err(ChangeError(format!("recovery sets: {reason}")));
    if sets.len() > 2 {
        return refuse("at most two can be in force");
    }
    if let [first, second] = sets
        && first.set.epoch == second.set.epoch
    {
        return refuse("two sets have the same epoch");
    }
    for entry in sets {
        if !matches!(entry.root.expose().len(), 16 | 24 | 32) {
            return refuse("a recovery root must have 16, 24 or 32 bytes");
        }
        if entry.set.parties.len() > 255 || entry.set.unassigned_commitments.len() > 255 {
            return refuse("at most 255 parties are possible");
        }
        if entry.set.parties.iter().any(|party| party.name.len() > 256) {
            return refuse("names of parties have at most 256 bytes");
        }
    }
    Ok(())
}

fn check_incarnations(lives: &[Incarnation]) -> Result<(), ChangeError> {
    if lives.len() > Change::MAX_INCARNATIONS {
        return Err(ChangeError("too many incarnations are kept".to_owned()));
    }
    if lives.iter().any(|life| life.confirmed_by.len() > 256) {
        return Err(ChangeError("a name that confirmed an incarnation is too long".to_owned()));
    }
    Ok(())
}

fn check_collateral_marks(known: &BTreeMap<String, u64>, marks: &BTreeMap<String, u64>) -> Result<(), ChangeError> {
    let refuse = |reason: &str| Err(ChangeError(format!("marks of collateral: {reason}")));
    let is_name =
        |name: &String| (1..=Change::MAX_MARK_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if !marks.keys().all(is_name) {
        return refuse("a name is empty, too long or no plain text");
    }
    let new = marks.keys().filter(|name| !known.contains_key(*name)).count();
    if known.len() + new > Change::MAX_COLLATERAL_MARKS {
        return refuse("there are too many");
    }
    Ok(())
}

fn check_retired_roots(roots: &[Arc<RetiredRoot>]) -> Result<(), ChangeError> {
    let refuse = |reason: &str| Err(ChangeError(format!("replaced Marble roots: {reason}")));
    if roots.len() > Change::MAX_RETIRED_ROOTS {
        return refuse("too many are kept");
    }
    if roots.iter().any(|root| !root.is_bounded()) {
        return refuse("too many Marble types are excluded");
    }
    for root in roots {
        if let Err(reason) = crate::manifest::certificate_spki(&root.certificate) {
            return refuse(&format!("a certificate is unreadable: {reason}"));
        }
    }
    Ok(())
}
