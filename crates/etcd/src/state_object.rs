//! The keys with the state, which only transactions change, all together: `state`, `key`, `parts` and `about`.
//!
//! A version is the revisions at which the first three were written, and where `state` was made. All are compared by each
//! write, so that neither one of them restored alone nor an etcd that counts again after it was restored goes unnoticed.

use marblerun_store::cluster::{Content, Object, PlaceError, Version, WriteFailure};

use crate::about::AboutState;
use crate::connection::{Connection, READING, WRITING};
use crate::keys::Keys;
use crate::requests::{found, get, if_made_at, if_written_at, look, put, set, unconditional};
use crate::verdict::{self, Asked};
use crate::wire::{Compare, KeyValue, RequestOp, TxnRequest, TxnResponse};

/// etcd takes 1.5 MiB in one request; keys, notes and framing stay well below the rest.
pub(crate) const MOST_BYTES: usize = 1_500_000;

/// The state, as far as this instance knows it.
#[derive(Default)]
pub(crate) struct StateObject {
    known: Option<Known>,
}

/// As it was read or written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    cluster: u64,
    made: i64,
    state: i64,
    key: i64,
    parts: i64,
}

impl Known {
    fn of(cluster: u64, state: &KeyValue, key: &[KeyValue], parts: &[KeyValue]) -> Self {
        let written = |values: &[KeyValue]| values.first().map_or(0, |value| value.mod_revision);
        Self {
            cluster,
            made: state.create_revision,
            state: state.mod_revision,
            key: written(key),
            parts: written(parts),
        }
    }

    fn version(self) -> Version {
        Version {
            uid: format!("{:x}-{}", self.cluster, self.made),
            revision: format!("{}.{}.{}", self.state, self.key, self.parts),
        }
    }
}

impl StateObject {
    pub(crate) fn read(&mut self, connection: &Connection, keys: &Keys) -> Result<Option<Object>, PlaceError> {
        let reads = [keys.state(), keys.sealed_key(), keys.parts(), keys.about()].map(get).to_vec();
        let (cluster, values) = ask(connection, keys, reads)?;
        let [state, key, parts, about] = four(keys, values)?;
        let Some(value) = state.first() else {
            self.known = None;
            return Ok(None);
        };
        let known = Known::of(cluster, value, &key, &parts);
        self.known = Some(known);
        let about: Option<AboutState> = about.first().and_then(|about| serde_json::from_slice(&about.value).ok());
        let filled = |values: &[KeyValue]| Some(values.first()?.value.clone()).filter(|value| !value.is_empty());
        Ok(Some(Object {
            version: known.version(),
            sealed_data: filled(&state),
            sealed_key: filled(&key),
            parts: filled(&parts),
            foreign_bytes: 0,
            immutable: false,
            last_writer: about.map_or_else(|| "unknown".to_owned(), |about| about.writer),
        }))
    }

    pub(crate) fn version(&self, connection: &Connection, keys: &Keys) -> Result<Option<Version>, PlaceError> {
        let looks = [keys.state(), keys.sealed_key(), keys.parts(), keys.about()].map(look).to_vec();
        let (cluster, values) = ask(connection, keys, looks)?;
        let [state, key, parts, _] = four(keys, values)?;
        Ok(state.first().map(|state| Known::of(cluster, state, &key, &parts).version()))
    }

    pub(crate) fn create(
        &mut self,
        connection: &Connection,
        keys: &Keys,
        writer: &str,
        content: &Content,
    ) -> Result<Version, WriteFailure> {
        let compare = vec![if_written_at(keys.state(), 0)];
        let answer = self.write(connection, keys, writer, content, compare)?;
        self.written(keys, content, &answer, None)
    }

    pub(crate) fn replace(
        &mut self,
        connection: &Connection,
        keys: &Keys,
        writer: &str,
        base: &Version,
        content: &Content,
    ) -> Result<Version, WriteFailure> {
        let known = self.known_at(base)?;
        let answer = self.write(connection, keys, writer, content, is_still(keys, known))?;
        self.written(keys, content, &answer, Some(known))
    }

    /// Writes the key `parts` alone.
    pub(crate) fn set_parts(
        &mut self,
        connection: &Connection,
        keys: &Keys,
        base: &Version,
        parts: &[u8],
    ) -> Result<Version, WriteFailure> {
        let known = self.known_at(base)?;
        let request = TxnRequest {
            compare: is_still(keys, known),
            success: vec![put(keys.parts(), parts.to_vec())],
            failure: vec![look(keys.state())],
        };
        let asked = Asked { verb: "write", key: &format!("{}parts", keys.prefix()) };
        let answer = connection.wait_for(request, WRITING).map_err(|status| verdict::of_write(asked, &status))?;
        let revision = succeeded(keys, &answer, Some(known))?;
        let known = Known { parts: revision, ..known };
        self.known = Some(known);
        Ok(known.version())
    }

    fn known_at(&self, base: &Version) -> Result<Known, WriteFailure> {
        self.known
            .filter(|known| known.version() == *base)
            .ok_or_else(|| conflict("nothing was sent: what is to be replaced is not what was read last"))
    }

    fn write(
        &self,
        connection: &Connection,
        keys: &Keys,
        writer: &str,
        content: &Content,
        compare: Vec<Compare>,
    ) -> Result<TxnResponse, WriteFailure> {
        let optional = [&content.sealed_key, &content.parts].into_iter().flatten().map(Vec::len);
        let size = content.sealed_data.len() + optional.sum::<usize>();
        if size > MOST_BYTES {
            let why = format!("the state has {size} bytes; etcd takes {MOST_BYTES} in one transaction");
            return Err(WriteFailure::TooLarge(why));
        }
        let about = serde_json::to_vec(&AboutState::new(writer, &content.notes));
        let about = about.map_err(|error| WriteFailure::Refused(error.to_string()))?;
        let success = vec![
            put(keys.state(), content.sealed_data.clone()),
            set(keys.sealed_key(), content.sealed_key.as_ref()),
            set(keys.parts(), content.parts.as_ref()),
            put(keys.about(), about),
        ];
        // If it is not done: whether because there is nothing.
        let request = TxnRequest { compare, success, failure: vec![look(keys.state())] };
        let asked = Asked { verb: "write", key: &format!("{}state", keys.prefix()) };
        connection.wait_for(request, WRITING).map_err(|status| verdict::of_write(asked, &status))
    }

    fn written(
        &mut self,
        keys: &Keys,
        content: &Content,
        answer: &TxnResponse,
        base: Option<Known>,
    ) -> Result<Version, WriteFailure> {
        let revision = succeeded(keys, answer, base)?;
        let at = |is_there: bool| if is_there { revision } else { 0 };
        let known = Known {
            cluster: answer.header.unwrap_or_default().cluster_id,
            made: base.map_or(revision, |base| base.made),
            state: revision,
            key: at(content.sealed_key.is_some()),
            parts: at(content.parts.is_some()),
        };
        self.known = Some(known);
        Ok(known.version())
    }
}

/// The object is still what was read or written last.
fn is_still(keys: &Keys, known: Known) -> Vec<Compare> {
    vec![
        if_made_at(keys.state(), known.made),
        if_written_at(keys.state(), known.state),
        if_written_at(keys.sealed_key(), known.key),
        if_written_at(keys.parts(), known.parts),
    ]
}

/// The revision that a transaction on the state made.
fn succeeded(keys: &Keys, answer: &TxnResponse, base: Option<Known>) -> Result<i64, WriteFailure> {
    if !answer.succeeded {
        let is_there = found(answer.clone()).first().is_some_and(|values| !values.is_empty());
        return Err(match (is_there, base) {
            (false, Some(_)) => WriteFailure::Missing,
            (true, None) => conflict("the state exists"),
            _ => conflict("the state has been modified"),
        });
    }
    let doubt = |what: &str| WriteFailure::InDoubt {
        reason: format!("write {}state: {what}", keys.prefix()),
        conflict: false,
        retry_after: None,
    };
    let header = answer.header.filter(|header| header.revision > 0);
    let header = header.ok_or_else(|| doubt("the answer does not tell the revision"))?;
    if base.is_some_and(|base| base.cluster != header.cluster_id) {
        return Err(doubt("another etcd cluster answered than the one that was read"));
    }
    Ok(header.revision)
}

fn ask(
    connection: &Connection,
    keys: &Keys,
    operations: Vec<RequestOp>,
) -> Result<(u64, Vec<Vec<KeyValue>>), PlaceError> {
    let asked = Asked { verb: "read", key: &format!("{}state", keys.prefix()) };
    let answer = connection.wait_for(unconditional(operations), READING);
    let answer = answer.map_err(|status| verdict::of_read(asked, &status))?;
    Ok((answer.header.unwrap_or_default().cluster_id, found(answer)))
}

/// Each is of the key that was asked for, or nothing.
fn four(keys: &Keys, values: Vec<Vec<KeyValue>>) -> Result<[Vec<KeyValue>; 4], PlaceError> {
    let asked = [keys.state(), keys.sealed_key(), keys.parts(), keys.about()];
    let fits = values.len() == 4
        && values.iter().zip(&asked).all(|(values, key)| values.iter().all(|value| value.key == *key));
    let wrong = || PlaceError::Malformed(format!("read {}state: the answer is not of what was asked", keys.prefix()));
    if fits { values.try_into().map_err(|_| wrong()) } else { Err(wrong()) }
}

fn conflict(reason: &str) -> WriteFailure {
    WriteFailure::InDoubt { reason: reason.to_owned(), conflict: true, retry_after: None }
}
