//! Secrets beside the state: each write is over just what was there a moment before, or makes what was not there.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use marblerun_store::cluster::{PlaceError, Version};
use serde::Deserialize;

use crate::caller::{Caller, Extent, Kind};
use crate::exchange::Answer;
use crate::{sealed_secret, verdict};

/// What lies under a name.
pub(crate) struct Current {
    pub(crate) version: Version,
    /// The clock of the API server.
    pub(crate) time: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Partial {
    metadata: ObjectMeta,
}

/// `None`: nothing.
pub(crate) fn current(caller: &Caller, name: &str) -> Result<Option<Current>, PlaceError> {
    let Some(answer) = caller.get(Kind::Secret, name, Extent::Metadata)? else { return Ok(None) };
    let metadata = metadata(caller, name, &answer)?;
    let version = sealed_secret::version(&metadata, name);
    let version = version.map_err(|why| PlaceError::Malformed(format!("{}: {why}", asked(caller, name))))?;
    Ok(Some(Current { version, time: answer.date }))
}

pub(crate) fn metadata(caller: &Caller, name: &str, answer: &Answer) -> Result<ObjectMeta, PlaceError> {
    let partial: Partial = serde_json::from_slice(&answer.body)
        .map_err(|error| PlaceError::Malformed(format!("{}: {error}", asked(caller, name))))?;
    Ok(partial.metadata)
}

pub(crate) fn write(
    caller: &Caller,
    name: &str,
    mut secret: Secret,
    there: Option<&Version>,
) -> Result<Answer, PlaceError> {
    let (verb, answer) = match there {
        Some(there) => {
            secret.metadata.uid = Some(there.uid.clone());
            secret.metadata.resource_version = Some(there.revision.clone());
            ("update", caller.put(Kind::Secret, name, &secret))
        }
        None => ("create", caller.create(Kind::Secret, name, &secret)),
    };
    answer.map_err(|failure| verdict::beside(caller.asked(verb, Kind::Secret, name), failure))
}

fn asked<'a>(caller: &'a Caller, name: &'a str) -> verdict::Asked<'a> {
    caller.asked("get", Kind::Secret, name)
}
