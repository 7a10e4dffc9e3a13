//! A state that lies there and is not served: why, and what recovery keys can do about it.

use std::sync::{Arc, Mutex, PoisonError};

use marblerun_recovery::RecoverySet;

use super::{KekId, Object};
use crate::RecoveryMaterial;
use crate::backend::WaitingRoom;
use crate::digest::sha256;
use crate::format::{self, Front, Layout, Refusal, describe_front, read_front};

/// What lies there.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) code: &'static str,
    pub(super) message: String,
    /// `None`: nothing does, and there are traces of a state.
    pub(super) object: Option<Object>,
    /// Keys that would open it.
    pub(super) wanted: Vec<KekId>,
    /// Its slots, for people.
    pub(super) slots: Vec<String>,
    /// Never to be replaced by this program: it is of a newer one.
    pub(super) newer: bool,
    /// A peer that runs knows a state that this one does not go on from; that peer decides.
    pub(super) contradicted: bool,
}

impl Waiting {
    /// Nothing is there, and there was something.
    pub(super) fn missing(message: String) -> Self {
        Self {
            code: "missing",
            message,
            object: None,
            wanted: Vec::new(),
            slots: Vec::new(),
            newer: false,
            contradicted: false,
        }
    }

    /// Something is there.
    pub(super) fn new(code: &'static str, message: String, object: Object, wanted: Vec<KekId>) -> Self {
        let slots = front_of(&object).map(|front| describe_front(&front)).unwrap_or_default();
        Self { code, message, object: Some(object), wanted, slots, newer: code == "newer_format", contradicted: false }
    }

    /// By a refusal of the format.
    pub(super) fn refused(refusal: &Refusal, object: Object, wanted: Vec<KekId>) -> Self {
        let message = match front_of(&object) {
            Some(front) if !front.is_recoverable() => refusal.without_recovery_keys(),
            _ => refusal.to_string(),
        };
        Self::new(refusal.code(), message, object, wanted)
    }
}

/// Prologue and header of a state of ours.
fn front_of(object: &Object) -> Option<Front> {
    match read_front(object.sealed_data.as_ref()?) {
        Ok(Layout::Sealed(front)) => Some(*front),
        _ => None,
    }
}

/// A copy of what lies there, for the ceremony, which asks from other threads.
#[derive(Debug, Default)]
pub(crate) struct WaitingCell {
    sealed_data: Mutex<Option<Arc<Vec<u8>>>>,
}

impl WaitingCell {
    pub(super) fn set(&self, sealed_data: Option<&Vec<u8>>) {
        let mut cell = self.sealed_data.lock().unwrap_or_else(PoisonError::into_inner);
        let same = match (cell.as_ref(), sealed_data) {
            (Some(one), Some(other)) => one.as_ref() == other,
            (None, None) => true,
            _ => false,
        };
        if !same {
            *cell = sealed_data.cloned().map(Arc::new);
        }
    }

    fn get(&self) -> Option<Arc<Vec<u8>>> {
        self.sealed_data.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl WaitingRoom for WaitingCell {
    fn material(&self) -> RecoveryMaterial {
        let refused = |file_id, refusal: String| RecoveryMaterial { file_id, sets: Vec::new(), refusal: Some(refusal) };
        let Some(data) = self.get() else {
            let why = "there is no state to recover: put the shared object back (restore a backup) first";
            return refused([0; 32], why.to_owned());
        };
        match read_front(&*data) {
            Ok(Layout::Sealed(front)) => RecoveryMaterial {
                file_id: name_of(&front),
                refusal: (!front.is_recoverable()).then(|| not_recoverable(&front)),
                sets: front.header.recovery,
            },
            // Upstream's states, and what cannot be read at all, have no name: their digest stands for one.
            Ok(Layout::Upstream(front)) => RecoveryMaterial {
                file_id: sha256(&[&data]),
                sets: RecoverySet::from_upstream_header(&front.header).into_iter().collect(),
                refusal: None,
            },
            Err(refusal) => refused(sha256(&[&data]), refusal.to_string()),
        }
    }

    fn opens(&self, candidate: &[u8]) -> bool {
        let Some(data) = self.get() else { return false };
        match read_front(&*data) {
            Ok(Layout::Sealed(front)) => front.dek_from_recovery_root(candidate).is_some(),
            Ok(Layout::Upstream(front)) => format::upstream::open(&*data, &front, candidate).is_ok(),
            Err(_) => false,
        }
    }
}

/// What the secrets are for: every commit writes another file, and they stay good as long as these stay the same.
fn name_of(front: &Front) -> [u8; 32] {
    let epochs = front.header.recovery.iter().map(|set| set.epoch.as_slice());
    let parts: Vec<&[u8]> = std::iter::once(front.header.dek_id.0.as_slice()).chain(epochs).collect();
    sha256(&parts)
}

fn not_recoverable(front: &Front) -> String {
    let what = if front.header.has_manifest() { "names no recovery keys" } else { "has no manifest yet" };
    format!(
        "the shared state {what}, so no secret can open it. A Coordinator that still runs, or a host that has its entry in the \
         ConfigMap, opens it by itself; else restore a backup that has recovery keys, or set a manifest anew"
    )
}
