//! What a decision replaced, as it was. etcd has no clock: age is counted by those of the Coordinators.

use std::time::Duration;

use jiff::Timestamp;
use marblerun_store::cluster::{Archive, ArchiveReason, Object, PlaceError};

use crate::about::AboutArchive;
use crate::connection::{Connection, READING, WRITING};
use crate::keys::{ARCHIVES, Keys};
use crate::requests::{found, get, if_written_at, look, put, set, unconditional};
use crate::verdict::{self, Asked};
use crate::wire::TxnRequest;

pub(crate) fn list(connection: &Connection, keys: &Keys) -> Result<Vec<Archive>, PlaceError> {
    let of = |value: &str| (0..ARCHIVES).filter_map(|place| keys.archive(place, value)).collect::<Vec<_>>();
    // Whether there is something, and what is said about it.
    let (states, abouts) = (of("state").into_iter().map(look), of("about").into_iter().map(get));
    let values = read(connection, keys, states.chain(abouts).collect())?;
    let (states, abouts) = values.split_at_checked(usize::from(ARCHIVES)).unwrap_or_default();
    let mut archives = Vec::new();
    for (place, (state, about)) in (0..ARCHIVES).zip(states.iter().zip(abouts)) {
        if state.is_empty() {
            continue;
        }
        let about: Option<AboutArchive> = about.first().and_then(|about| serde_json::from_slice(&about.value).ok());
        let noted = about.as_ref().and_then(|about| hex::decode(&about.digest).ok()?.try_into().ok());
        let digest = match noted {
            Some(digest) => digest,
            None => computed(connection, keys, place)?,
        };
        let bank = about.as_ref().and_then(|about| about.bank);
        archives.push(Archive { place, age: about.and_then(|about| about.time()).map(age), digest, bank });
    }
    Ok(archives)
}

pub(crate) fn keep(
    connection: &Connection,
    keys: &Keys,
    place: u8,
    object: &Object,
    reason: ArchiveReason,
) -> Result<(), PlaceError> {
    let key = |value: &str| {
        let none = || PlaceError::Refused(format!("there is no place {place} in the archive"));
        keys.archive(place, value).ok_or_else(none)
    };
    let there = read(connection, keys, vec![look(key("about")?)])?;
    let written = there.first().and_then(|values| values.first()).map_or(0, |value| value.mod_revision);
    let digest = Archive::digest_of(object.sealed_data.as_deref());
    let about = serde_json::to_vec(&AboutArchive::new(object, reason, Timestamp::now(), digest));
    let request = TxnRequest {
        compare: vec![if_written_at(key("about")?, written)],
        success: vec![
            set(key("state")?, object.sealed_data.as_ref()),
            set(key("key")?, object.sealed_key.as_ref()),
            set(key("parts")?, object.parts.as_ref()),
            put(key("about")?, about.map_err(|error| PlaceError::Refused(error.to_string()))?),
        ],
        failure: Vec::new(),
    };
    let asked = Asked { verb: "write", key: &format!("{}archive/{place}", keys.prefix()) };
    let answer = connection.wait_for(request, WRITING).map_err(|status| verdict::beside(asked, &status))?;
    if answer.succeeded {
        Ok(())
    } else {
        Err(PlaceError::Unreachable(format!("{asked}: somebody else wrote it at this moment")))
    }
}

fn read(
    connection: &Connection,
    keys: &Keys,
    operations: Vec<crate::wire::RequestOp>,
) -> Result<Vec<Vec<crate::wire::KeyValue>>, PlaceError> {
    let asked = Asked { verb: "read", key: &format!("{}archive/", keys.prefix()) };
    let answer = connection.wait_for(unconditional(operations), READING);
    answer.map(found).map_err(|status| verdict::of_read(asked, &status))
}

/// Of an archive that somebody copied by hand.
fn computed(connection: &Connection, keys: &Keys, place: u8) -> Result<[u8; 32], PlaceError> {
    let key = keys.archive(place, "state").unwrap_or_default();
    let values = read(connection, keys, vec![get(key)])?;
    let value = values.first().and_then(|values| values.first()).map(|value| value.value.as_slice());
    Ok(Archive::digest_of(value))
}

fn age(made: Timestamp) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(made)).unwrap_or_default()
}
