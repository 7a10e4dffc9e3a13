//! A state as the list of changes that builds it from nothing.

use std::sync::Arc;

use crate::audit::{AuditEntry, AuditKind};
use crate::{Change, Home, State};

/// Log lines go into changes of about this size, so that reader and writer hold little at a time.
const LOG_BYTES: usize = 64 * 1024;

impl State {
    /// The changes that build this state from nothing, in an order in which a [`crate::Loader`] takes them.
    /// The encoding of a snapshot. Streams: values are shared with the state, not copied, and only one
    /// change exists at a time.
    pub fn to_changes(&self) -> impl Iterator<Item = Change> + '_ {
        let mut base = vec![
            Change::Lineage(self.lineage),
            Change::Authority(Arc::clone(&self.authority)),
            Change::RootSecret { current: self.root_secret.clone(), previous: self.previous_root_secret.clone() },
        ];
        // Before the audit trails, whose length depends on it.
        base.extend(self.home.iter().map(|home| Change::Home(Home::clone(home))));
        if !self.writers.is_empty() {
            base.push(Change::Writers(self.writers.iter().collect()));
        }
        if !self.incarnations.is_empty() {
            base.push(Change::Incarnations(self.incarnations.to_vec()));
        }
        if !self.collateral_marks.is_empty() {
            base.push(Change::CollateralMarks(self.collateral_marks.as_ref().clone()));
        }
        if let Some(active) = &self.manifest {
            base.push(Change::Manifest { raw: active.raw.clone(), signature: active.signature.clone() });
        }
        let packages =
            self.packages.iter().map(|(name, value)| Change::Package(name.to_string(), Some(Arc::clone(value))));
        let secrets =
            self.secrets.iter().map(|(name, value)| Change::Secret(name.to_string(), Some(Arc::clone(value))));
        let previous = self.previous_secrets.iter().map(|(name, value)| {
            let same = self.secrets.get(name).is_some_and(|current| Arc::ptr_eq(current, value) || current == value);
            match same {
                true => Change::PreviousIsCurrent(name.to_string()),
                false => Change::PreviousSecret(name.to_string(), Some(Arc::clone(value))),
            }
        });
        let activations = self.activations.iter().map(|(name, count)| Change::Activations(name.to_string(), *count));
        let counters = self.counters.iter().map(|(key, value)| Change::Counter(key.clone(), *value));
        let pending = self.pending_update.iter().map(|update| Change::PendingUpdate(Some(Arc::clone(update))));
        let recovery = (!self.recovery.is_empty()).then(|| Change::Recovery(self.recovery.to_vec()));
        let retired = (!self.retired_roots.is_empty()).then(|| Change::RetiredRoots(self.retired_roots.to_vec()));
        let extra = self.extra.iter().map(|(key, value)| Change::Extra(key.to_string(), Some(value.clone())));

        base.into_iter()
            .chain(packages)
            .chain(secrets)
            .chain(previous)
            .chain(activations)
            .chain(counters)
            .chain(self.log_changes())
            .chain(pending)
            .chain(recovery)
            .chain(retired)
            .chain(extra)
            .chain(AuditKind::ALL.into_iter().flat_map(|kind| self.audit_changes(kind)))
    }

    fn audit_changes(&self, kind: AuditKind) -> impl Iterator<Item = Change> + '_ {
        let trail = self.audit(kind);
        let base = (trail.head().sequence > 0).then(|| Change::AuditBase(kind, trail.base()));
        let mut entries = trail.after(trail.base().sequence).peekable();
        let entries = std::iter::from_fn(move || {
            entries.peek()?;
            let mut chunk: Vec<AuditEntry> = Vec::new();
            let mut size = 0;
            while size < LOG_BYTES {
                let Some(entry) = entries.next() else { break };
                size += entry.weight();
                chunk.push(entry.clone());
            }
            Some(Change::Audit(kind, chunk))
        });
        base.into_iter().chain(entries)
    }

    fn log_changes(&self) -> impl Iterator<Item = Change> + '_ {
        let mut lines = self.update_log.iter().peekable();
        std::iter::from_fn(move || {
            lines.peek()?;
            let mut chunk = Vec::new();
            let mut size = 0;
            while size < LOG_BYTES {
                let Some(line) = lines.next() else { break };
                size += line.len();
                chunk.push(line.to_string());
            }
            Some(Change::Log(chunk))
        })
    }
}
