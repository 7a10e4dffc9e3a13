//! Secrets with the pieces of a snapshot that does not fit into one. The state names them by digest, so what is read here
//! needs no trust.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use marblerun_store::cluster::{Part, PlaceError, Version};

use crate::beside;
use crate::caller::{Caller, Extent, Kind};
use crate::sealed_secret::Stored;
use crate::verdict;

const VALUE: &str = "part";

pub(crate) fn read(caller: &Caller, part: Part) -> Result<Option<Vec<u8>>, PlaceError> {
    let name = name(caller, part)?;
    let Some(answer) = caller.get(Kind::Secret, &name, Extent::Whole)? else { return Ok(None) };
    let stored = Stored::parse(&answer.body, &name)
        .map_err(|why| PlaceError::Malformed(format!("{}: {why}", caller.asked("get", Kind::Secret, &name))))?;
    Ok(stored.value(VALUE).cloned())
}

pub(crate) fn version(caller: &Caller, part: Part) -> Result<Option<Version>, PlaceError> {
    Ok(beside::current(caller, &name(caller, part)?)?.map(|there| there.version))
}

pub(crate) fn write(caller: &Caller, part: Part, base: Option<&Version>, bytes: &[u8]) -> Result<(), PlaceError> {
    let name = name(caller, part)?;
    let secret = Secret {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(VALUE.to_owned(), ByteString(bytes.to_vec()))])),
        ..Secret::default()
    };
    let answer = beside::write(caller, &name, secret, base)?;
    let stored = Stored::parse(&answer.body, &name).ok();
    if stored.as_ref().and_then(|stored| stored.value(VALUE)).is_some_and(|value| value == bytes) {
        return Ok(());
    }
    let asked = caller.asked("update", Kind::Secret, &name);
    Err(verdict::beside(asked, verdict::not_as_sent(asked, "other values")))
}

fn name(caller: &Caller, part: Part) -> Result<String, PlaceError> {
    caller.names.part(part).ok_or_else(|| PlaceError::Refused(format!("there is no part {part:?}")))
}
