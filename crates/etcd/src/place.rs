//! The place that the Coordinators of one deployment share: the keys with one prefix.

use std::collections::BTreeMap;

use marblerun_store::cluster::{
    Archive, ArchiveReason, Content, Limits, Object, Part, PlaceError, Severity, SharedPlace, Version, WriteFailure,
};

use crate::archives;
use crate::connection::{Connection, READING, WRITING};
use crate::keys::Keys;
use crate::requests::{all, delete, found, get, if_written_at, look, put, unconditional};
use crate::state_object::{MOST_BYTES, StateObject};
use crate::verdict::{self, Asked};
use crate::wire::{KeyValue, RequestOp, TxnRequest};

/// As in Kubernetes, so that a deployment fits into either.
const MOST_ENTRY_BYTES: usize = 700_000;

/// The place as this process reaches it. Its calls block, so no thread of a runtime may make them; the requests run on
/// the runtime of the [`Etcd`](crate::Etcd) that it is from.
pub struct EtcdPlace {
    connection: Connection,
    keys: Keys,
    writer: String,
    state: StateObject,
}

impl EtcdPlace {
    pub(crate) fn new(connection: Connection, keys: Keys) -> Self {
        let writer = format!("marblerun-{}", hex::encode(connection.config().boot.0));
        Self { connection, keys, writer, state: StateObject::default() }
    }

    fn read_all(&self, operations: Vec<RequestOp>, what: &str) -> Result<Vec<Vec<KeyValue>>, PlaceError> {
        let asked = Asked { verb: "read", key: &format!("{}{what}", self.keys.prefix()) };
        let answer = self.connection.wait_for(unconditional(operations), READING);
        answer.map(found).map_err(|status| verdict::of_read(asked, &status))
    }

    fn write(&self, request: TxnRequest, what: &str) -> Result<(), PlaceError> {
        let asked = Asked { verb: "write", key: &format!("{}{what}", self.keys.prefix()) };
        let answer = self.connection.wait_for(request, WRITING).map_err(|status| verdict::beside(asked, &status))?;
        if answer.succeeded {
            Ok(())
        } else {
            Err(PlaceError::Unreachable(format!("{asked}: somebody else wrote it at this moment")))
        }
    }
}

impl std::fmt::Debug for EtcdPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdPlace").field("keys", &self.keys).finish_non_exhaustive()
    }
}

fn no_part(part: Part) -> PlaceError {
    PlaceError::Refused(format!("there is no part {part:?}"))
}

impl SharedPlace for EtcdPlace {
    fn name(&self) -> String {
        format!("etcd {}", self.keys.prefix())
    }

    fn limits(&self) -> Limits {
        Limits { object_bytes: MOST_BYTES, part_bytes: Some(MOST_BYTES), entries_bytes: MOST_ENTRY_BYTES }
    }

    fn read(&mut self) -> Result<Option<Object>, PlaceError> {
        self.state.read(&self.connection, &self.keys)
    }

    fn version(&mut self) -> Result<Option<Version>, PlaceError> {
        self.state.version(&self.connection, &self.keys)
    }

    fn create(&mut self, content: &Content) -> Result<Version, WriteFailure> {
        self.state.create(&self.connection, &self.keys, &self.writer, content)
    }

    fn replace(&mut self, base: &Version, content: &Content) -> Result<Version, WriteFailure> {
        self.state.replace(&self.connection, &self.keys, &self.writer, base, content)
    }

    fn read_part(&mut self, part: Part) -> Result<Option<Vec<u8>>, PlaceError> {
        let key = self.keys.part(part).ok_or_else(|| no_part(part))?;
        let values = self.read_all(vec![get(key)], "part/")?;
        Ok(values.into_iter().flatten().next().map(|value| value.value))
    }

    fn part_version(&mut self, part: Part) -> Result<Option<Version>, PlaceError> {
        let key = self.keys.part(part).ok_or_else(|| no_part(part))?;
        let there = self.read_all(vec![look(key)], "part/")?;
        Ok(there
            .into_iter()
            .flatten()
            .next()
            .map(|value| Version { uid: value.create_revision.to_string(), revision: value.mod_revision.to_string() }))
    }

    fn write_part(&mut self, part: Part, base: Option<&Version>, bytes: &[u8]) -> Result<(), PlaceError> {
        let key = self.keys.part(part).ok_or_else(|| no_part(part))?;
        let written = base.map_or(Ok(0), |base| base.revision.parse()).map_err(|_| no_part(part))?;
        let request = TxnRequest {
            compare: vec![if_written_at(key.clone(), written)],
            success: vec![put(key, bytes.to_vec())],
            failure: Vec::new(),
        };
        self.write(request, "part/")
    }

    fn set_parts(&mut self, base: &Version, parts: &[u8]) -> Result<Version, WriteFailure> {
        self.state.set_parts(&self.connection, &self.keys, base, parts)
    }

    fn archives(&mut self) -> Result<Vec<Archive>, PlaceError> {
        archives::list(&self.connection, &self.keys)
    }

    fn archive(&mut self, place: u8, object: &Object, reason: ArchiveReason) -> Result<(), PlaceError> {
        archives::keep(&self.connection, &self.keys, place, object, reason)
    }

    fn entries(&mut self) -> Result<BTreeMap<String, Vec<u8>>, PlaceError> {
        let values = self.read_all(vec![all(self.keys.entries())], "kek/")?;
        let named = |value: KeyValue| Some((self.keys.entry_of(&value.key)?, value.value));
        Ok(values.into_iter().flatten().filter_map(named).collect())
    }

    fn change_entries(&mut self, set: &BTreeMap<String, Vec<u8>>, remove: &[String]) -> Result<(), PlaceError> {
        if set.is_empty() && remove.is_empty() {
            return Ok(());
        }
        let removed = remove.iter().filter(|name| !set.contains_key(*name));
        let removed = removed.collect::<std::collections::BTreeSet<_>>();
        let deletes = removed.into_iter().map(|name| delete(self.keys.entry(name)));
        let puts = set.iter().map(|(name, value)| put(self.keys.entry(name), value.clone()));
        self.write(unconditional(deletes.chain(puts).collect()), "kek/")?;
        let now = self.entries()?;
        let lost = set.iter().find(|(name, value)| now.get(*name) != Some(value)).map(|(name, _)| name);
        match lost {
            Some(name) => Err(PlaceError::Unreachable(format!(
                "{}kek/{name} is not what was written a moment ago; somebody else changes it",
                self.keys.prefix()
            ))),
            None => Ok(()),
        }
    }

    /// etcd has nobody to tell; the log has it.
    fn report(&mut self, severity: Severity, reason: &'static str, message: &str) {
        match severity {
            Severity::Warning => tracing::warn!(reason, "{message}"),
            Severity::Normal => tracing::info!(reason, "{message}"),
        }
    }
}
