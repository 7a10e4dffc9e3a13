//! The Secret with the state: read, validated, created, replaced. Correctness of a whole cluster rests on what is said
//! here of a write, so nothing but the very bytes that were sent, in the answer, is called done.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use marblerun_store::cluster::{Content, Notes, Object, PlaceError, Version, WriteFailure};
use serde::Deserialize;

use crate::caller::{Caller, Extent, Kind};
use crate::exchange::READING;
use crate::sealed_secret::{Known, SEALED_DATA, SEALED_KEY, Stored, fresh, version};
use crate::verdict::{self, Asked};

/// The object, as far as this instance knows it.
#[derive(Default)]
pub(crate) struct StateObject {
    /// As it was read or written last.
    known: Option<Known>,
    /// Validation costs a GET.
    list_refused: bool,
}

/// Metadata alone, of one or of several.
#[derive(Deserialize)]
struct Partial {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: ObjectMeta,
}

#[derive(Deserialize)]
struct PartialList {
    kind: String,
    /// API servers say `null` where there is none.
    items: Option<Vec<Partial>>,
}

impl StateObject {
    pub(crate) fn read(&mut self, caller: &Caller) -> Result<Option<Object>, PlaceError> {
        let name = caller.names.secret();
        let Some(answer) = caller.get(Kind::Secret, name, Extent::Whole)? else {
            self.known = None;
            return Ok(None);
        };
        let asked = caller.asked("get", Kind::Secret, name);
        let stored = Stored::parse(&answer.body, name).map_err(|why| malformed(asked, &why))?;
        let object = stored.object();
        self.known = Some(stored.into_known());
        Ok(Some(object))
    }

    /// A LIST costs the same whatever the size of the object, a GET does not.
    pub(crate) fn version(&mut self, caller: &Caller) -> Result<Option<Version>, PlaceError> {
        if !self.list_refused {
            match listed(caller) {
                Err(PlaceError::Forbidden(_)) => {
                    self.list_refused = true;
                    let effect = "each validation reads the whole Secret inside the API server, which takes longer";
                    caller.refusals.note(caller.asked("list", Kind::Secret, caller.names.secret()), effect);
                }
                answer => return answer,
            }
        }
        let name = caller.names.secret();
        let Some(answer) = caller.get(Kind::Secret, name, Extent::Metadata)? else { return Ok(None) };
        let asked = caller.asked("get", Kind::Secret, name);
        let partial: Partial =
            serde_json::from_slice(&answer.body).map_err(|error| malformed(asked, &error.to_string()))?;
        version(&partial.metadata, name).map(Some).map_err(|why| malformed(asked, &why))
    }

    pub(crate) fn create(&mut self, caller: &Caller, content: &Content) -> Result<Version, WriteFailure> {
        if let Some(empty) = self.known.as_ref().filter(|known| !known.filled) {
            return self.put(caller, &empty.with(content), content);
        }
        let name = caller.names.secret();
        let answer = caller.create(Kind::Secret, name, &fresh(name, content))?;
        self.acknowledged(caller.asked("create", Kind::Secret, name), &answer.body, content)
    }

    pub(crate) fn replace(
        &mut self,
        caller: &Caller,
        base: &Version,
        content: &Content,
    ) -> Result<Version, WriteFailure> {
        let Some(known) = self.known.as_ref().filter(|known| known.version == *base) else {
            return Err(not_read_last());
        };
        self.put(caller, &known.with(content), content)
    }

    /// Everything else goes back as it is, if it is still of that version.
    pub(crate) fn set_parts(&mut self, caller: &Caller, base: &Version, parts: &[u8]) -> Result<Version, WriteFailure> {
        let name = caller.names.secret();
        let asked = caller.asked("get", Kind::Secret, name);
        let unsure = |reason: String| WriteFailure::InDoubt { reason, conflict: false, retry_after: None };
        let answer = caller.get(Kind::Secret, name, Extent::Whole).map_err(|error| match error {
            PlaceError::Forbidden(why) => WriteFailure::Forbidden(why),
            error => unsure(error.to_string()),
        })?;
        let answer = answer.ok_or(WriteFailure::Missing)?;
        let stored = Stored::parse(&answer.body, name).map_err(|why| verdict::not_as_sent(asked, &why))?;
        if self.known.as_ref().is_none_or(|known| known.version != *base) || stored.version() != base {
            return Err(not_read_last());
        }
        let content = Content {
            sealed_data: stored.value(SEALED_DATA).cloned().unwrap_or_default(),
            sealed_key: stored.value(SEALED_KEY).cloned(),
            parts: Some(parts.to_vec()),
            notes: Notes::default(),
        };
        self.put(caller, &stored.with_parts(parts), &content)
    }

    fn put(
        &mut self,
        caller: &Caller,
        secret: &k8s_openapi::api::core::v1::Secret,
        content: &Content,
    ) -> Result<Version, WriteFailure> {
        let name = caller.names.secret();
        let answer = caller.put(Kind::Secret, name, secret)?;
        let asked = caller.asked("update", Kind::Secret, name);
        if let Ok(stored) = Stored::parse(&answer.body, name)
            && Some(&stored.version().uid) != secret.metadata.uid.as_ref()
        {
            return Err(verdict::not_as_sent(asked, "another object"));
        }
        self.acknowledged(asked, &answer.body, content)
    }

    fn acknowledged(&mut self, asked: Asked<'_>, body: &[u8], content: &Content) -> Result<Version, WriteFailure> {
        let stored = Stored::parse(body, asked.name).map_err(|why| verdict::not_as_sent(asked, &why))?;
        if !stored.carries(content) {
            return Err(verdict::not_as_sent(asked, "other values"));
        }
        let known = stored.into_known();
        let version = known.version.clone();
        self.known = Some(known);
        Ok(version)
    }
}

fn not_read_last() -> WriteFailure {
    WriteFailure::InDoubt {
        reason: "nothing was sent: what is to be replaced is not what was read last".to_owned(),
        conflict: true,
        retry_after: None,
    }
}

/// By a LIST that is as new as a read by quorum, as it names no resourceVersion.
fn listed(caller: &Caller) -> Result<Option<Version>, PlaceError> {
    let name = caller.names.secret();
    let asked = caller.asked("list", Kind::Secret, name);
    let only = ListParams::default().fields(&format!("metadata.name={name}")).limit(1);
    let request = Kind::Secret.build(caller.names.namespace()).list_metadata(&only);
    let request = request.map_err(|error| PlaceError::Refused(error.to_string()))?;
    let Some(answer) = verdict::of_read(asked, caller.exchange.wait_for(request, READING))? else { return Ok(None) };
    let list: PartialList =
        serde_json::from_slice(&answer.body).map_err(|error| malformed(asked, &error.to_string()))?;
    match list.items.as_deref().unwrap_or_default() {
        [] if list.kind == "PartialObjectMetadataList" => Ok(None),
        [one] if one.kind.is_empty() || one.kind == "PartialObjectMetadata" => {
            version(&one.metadata, name).map(Some).map_err(|why| malformed(asked, &why))
        }
        _ => Err(malformed(asked, "it lists something else")),
    }
}

fn malformed(asked: Asked<'_>, why: &str) -> PlaceError {
    PlaceError::Malformed(format!("{asked}: the answer cannot be used: {why}"))
}
