//! What this account's Role lacks and can be done without: noted when it was refused, and said once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::verdict::Asked;

/// A verb that was refused, and what that means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// `list`, `watch`, `patch`, `create`.
    pub verb: &'static str,
    /// `secrets`, `configmaps`, `endpointslices`, `events`.
    pub resource: &'static str,
    /// What does not work, or costs more.
    pub effect: &'static str,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "may not {} {}: {}", self.verb, self.resource, self.effect)
    }
}

/// All that were refused so far. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<BTreeSet<Refusal>>>);

impl Refusals {
    /// Those so far.
    #[must_use]
    pub fn all(&self) -> Vec<Refusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn note(&self, asked: Asked<'_>, effect: &'static str) {
        let refusal = Refusal { verb: asked.verb, resource: asked.resource, effect };
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(refusal) {
            tracing::warn!(
                verb = asked.verb,
                resource = asked.resource,
                name = asked.name,
                namespace = asked.namespace,
                "this account lacks a right: {effect}"
            );
        }
    }
}
