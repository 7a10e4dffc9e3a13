//! Secrets that keep what a decision replaced, as it was. Age is counted by the API server's clock at both ends.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use marblerun_store::cluster::{Archive, ArchiveReason, Object, PlaceError};

use crate::beside;
use crate::caller::{Caller, Extent, Kind};
use crate::names::ARCHIVES;
use crate::sealed_secret::{PARTS, SEALED_DATA, SEALED_KEY, Stored};
use crate::verdict;

const REASON: &str = "marblerun/archive-reason";
const TIME: &str = "marblerun/archive-time";
const SOURCE: &str = "marblerun/archive-source";
const DIGEST: &str = "marblerun/archive-digest";
/// The bank of parts that hold its snapshot.
const BANK: &str = "marblerun/archive-bank";

pub(crate) fn list(caller: &Caller) -> Result<Vec<Archive>, PlaceError> {
    let mut archives = Vec::new();
    for (place, name) in (0..ARCHIVES).filter_map(|place| Some((place, caller.names.archive(place)?))) {
        let Some(answer) = caller.get(Kind::Secret, &name, Extent::Metadata)? else { continue };
        let metadata = beside::metadata(caller, &name, &answer)?;
        let digest = match noted_digest(&metadata) {
            Some(digest) => digest,
            None => match computed_digest(caller, &name)? {
                Some(digest) => digest,
                None => continue,
            },
        };
        let bank = annotation(&metadata, BANK).and_then(|bank| bank.parse().ok());
        archives.push(Archive { place, age: age(&metadata, answer.date), digest, bank });
    }
    Ok(archives)
}

pub(crate) fn keep(caller: &Caller, place: u8, object: &Object, reason: ArchiveReason) -> Result<(), PlaceError> {
    let name = caller.names.archive(place);
    let name = name.ok_or_else(|| PlaceError::Refused(format!("there is no place {place} in the archive")))?;
    let there = beside::current(caller, &name)?;
    let secret = secret(&name, object, reason, there.as_ref().and_then(|there| there.time));
    let sent = serde_json::to_value(&secret.data).ok();
    let answer = beside::write(caller, &name, secret, there.as_ref().map(|there| &there.version))?;
    let stored: Option<Secret> = serde_json::from_slice(&answer.body).ok();
    if stored.and_then(|stored| serde_json::to_value(stored.data).ok()) == sent {
        return Ok(());
    }
    let asked = caller.asked("update", Kind::Secret, &name);
    Err(verdict::beside(asked, verdict::not_as_sent(asked, "other values")))
}

fn secret(name: &str, object: &Object, reason: ArchiveReason, time: Option<Timestamp>) -> Secret {
    let values = [(SEALED_DATA, &object.sealed_data), (SEALED_KEY, &object.sealed_key), (PARTS, &object.parts)];
    let data: BTreeMap<_, _> =
        values.into_iter().filter_map(|(key, value)| Some((key.to_owned(), ByteString(value.clone()?)))).collect();
    let reason = match reason {
        ArchiveReason::Imported => "imported",
        ArchiveReason::Reset => "reset",
        ArchiveReason::Restored => "restored",
        ArchiveReason::Damaged => "damaged",
    };
    let mut annotations = BTreeMap::from([
        (REASON.to_owned(), reason.to_owned()),
        (SOURCE.to_owned(), object.version.revision.clone()),
        (DIGEST.to_owned(), hex::encode(Archive::digest_of(object.sealed_data.as_deref()))),
    ]);
    annotations.extend(object.bank().map(|bank| (BANK.to_owned(), bank.to_string())));
    // Where nothing was, the API server notes when it was made.
    annotations.extend(time.map(|time| (TIME.to_owned(), time.to_string())));
    Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), annotations: Some(annotations), ..ObjectMeta::default() },
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn noted_digest(metadata: &ObjectMeta) -> Option<[u8; 32]> {
    hex::decode(annotation(metadata, DIGEST)?).ok()?.try_into().ok()
}

/// Of an archive that somebody copied by hand.
fn computed_digest(caller: &Caller, name: &str) -> Result<Option<[u8; 32]>, PlaceError> {
    let Some(answer) = caller.get(Kind::Secret, name, Extent::Whole)? else { return Ok(None) };
    let stored = Stored::parse(&answer.body, name)
        .map_err(|why| PlaceError::Malformed(format!("{}: {why}", caller.asked("get", Kind::Secret, name))))?;
    Ok(Some(Archive::digest_of(stored.value(SEALED_DATA).map(Vec::as_slice))))
}

fn age(metadata: &ObjectMeta, now: Option<Timestamp>) -> Option<Duration> {
    let noted = annotation(metadata, TIME).and_then(|time| time.parse::<Timestamp>().ok());
    let made = noted.or_else(|| metadata.creation_timestamp.as_ref().map(|time| time.0))?;
    Some(Duration::try_from(now?.duration_since(made)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn metadata(noted: Option<&str>, created: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            annotations: noted.map(|time| BTreeMap::from([(TIME.to_owned(), time.to_owned())])),
            creation_timestamp: created.map(|time| Time(time.parse().unwrap())),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn age_is_counted_from_the_note_or_else_from_creation() {
        let now: Option<Timestamp> = Some("2026-01-02T00:00:10Z".parse().unwrap());
        let (noted, created) = ("2026-01-02T00:00:07Z", "2026-01-02T00:00:00Z");
        let seconds = |metadata| age(&metadata, now).map(|age| age.as_secs());
        assert_eq!(seconds(metadata(Some(noted), Some(created))), Some(3));
        assert_eq!(seconds(metadata(Some("yesterday"), Some(created))), Some(10));
        assert_eq!(seconds(metadata(None, None)), None);
        assert_eq!(seconds(metadata(Some("2027-01-01T00:00:00Z"), None)), Some(0), "a clock that goes back");
        assert_eq!(age(&metadata(Some(noted), None), None), None);
    }
}
