//! The place that the Coordinators of one deployment share: a Secret, a ConfigMap, archives and parts in one namespace.

use std::collections::BTreeMap;

use marblerun_store::cluster::{
    Archive, ArchiveReason, Content, Limits, Object, Part, PlaceError, Severity, SharedPlace, Version, WriteFailure,
};

use crate::caller::Caller;
use crate::events::Events;
use crate::state_object::StateObject;
use crate::{archives, entries, parts};

/// All values of a Secret or ConfigMap together, as API servers allow.
const MOST_BYTES: usize = 1 << 20;
/// Cluster protocol, section 1: with this much of base64 and `managedFields` the ConfigMap still fits everywhere.
const MOST_ENTRY_BYTES: usize = 700_000;

/// The place as this process reaches it. Its calls block, so no thread of a runtime may make them; the requests run on
/// the runtime of the [`Kubernetes`](crate::Kubernetes) that it is from.
pub struct KubernetesPlace {
    caller: Caller,
    state: StateObject,
    events: Events,
}

impl KubernetesPlace {
    pub(crate) fn new(caller: Caller, events: Events) -> Self {
        Self { caller, state: StateObject::default(), events }
    }
}

impl std::fmt::Debug for KubernetesPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesPlace").field("names", &self.caller.names).finish_non_exhaustive()
    }
}

impl SharedPlace for KubernetesPlace {
    fn name(&self) -> String {
        format!("Secret {}/{}", self.caller.names.namespace(), self.caller.names.secret())
    }

    fn limits(&self) -> Limits {
        Limits { object_bytes: MOST_BYTES, part_bytes: Some(MOST_BYTES), entries_bytes: MOST_ENTRY_BYTES }
    }

    fn read(&mut self) -> Result<Option<Object>, PlaceError> {
        self.state.read(&self.caller)
    }

    fn version(&mut self) -> Result<Option<Version>, PlaceError> {
        self.state.version(&self.caller)
    }

    fn create(&mut self, content: &Content) -> Result<Version, WriteFailure> {
        self.state.create(&self.caller, content)
    }

    fn replace(&mut self, base: &Version, content: &Content) -> Result<Version, WriteFailure> {
        self.state.replace(&self.caller, base, content)
    }

    fn read_part(&mut self, part: Part) -> Result<Option<Vec<u8>>, PlaceError> {
        parts::read(&self.caller, part)
    }

    fn part_version(&mut self, part: Part) -> Result<Option<Version>, PlaceError> {
        parts::version(&self.caller, part)
    }

    fn write_part(&mut self, part: Part, base: Option<&Version>, bytes: &[u8]) -> Result<(), PlaceError> {
        parts::write(&self.caller, part, base, bytes)
    }

    fn set_parts(&mut self, base: &Version, parts: &[u8]) -> Result<Version, WriteFailure> {
        self.state.set_parts(&self.caller, base, parts)
    }

    fn archives(&mut self) -> Result<Vec<Archive>, PlaceError> {
        archives::list(&self.caller)
    }

    fn archive(&mut self, place: u8, object: &Object, reason: ArchiveReason) -> Result<(), PlaceError> {
        archives::keep(&self.caller, place, object, reason)
    }

    fn entries(&mut self) -> Result<BTreeMap<String, Vec<u8>>, PlaceError> {
        entries::read(&self.caller)
    }

    fn change_entries(&mut self, set: &BTreeMap<String, Vec<u8>>, remove: &[String]) -> Result<(), PlaceError> {
        entries::change(&self.caller, set, remove)
    }

    fn report(&mut self, severity: Severity, reason: &'static str, message: &str) {
        self.events.report(&self.caller, severity, reason, message);
    }
}
