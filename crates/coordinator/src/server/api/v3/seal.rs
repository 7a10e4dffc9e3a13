//! Key slots: which backends open the sealed state by themselves.

use http::StatusCode;
use marblerun_api::v3;
use serde::de::DeserializeOwned;

use super::Result;
use crate::error::{Error, ErrorKind};
use crate::server::http::envelope;
use crate::server::http::guard::UserPass;
use crate::server::http::query;
use crate::server::http::router::Call;

/// The key slots, with what came of the last try of each.
#[utoipa::path(
    get,
    path = "/api/v3/seal/slots",
    responses(
        (status = 200, description = "The slots.", body = v3::SealSlots),
        (status = 401, description = "The client certificate is no user's.", body = v3::Problem),
        (status = 403, description = "This user may not update the manifest.", body = v3::Problem),
        (status = 409, description = "There are none: no state is stored.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn slots(call: Call<UserPass>) -> Result {
    Ok(envelope::json(StatusCode::OK, &call.coordinator().seal_slots(Some(&call.pass.certificate)).await?))
}

/// Tries slots as a start would.
#[utoipa::path(
    post,
    path = "/api/v3/seal/slots/test",
    request_body(content = v3::SealSlotTest, description = "May be empty: all are tried."),
    responses(
        (status = 200, description = "Tried; that one does not open is an answer.", body = v3::SealSlots),
        (status = 400, description = "The body cannot be read.", body = v3::Problem),
        (status = 401, description = "The client certificate is no user's.", body = v3::Problem),
        (status = 403, description = "This user may not update the manifest.", body = v3::Problem),
        (status = 404, description = "There is no such slot.", body = v3::Problem),
        (status = 409, description = "There are none: no state is stored.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn test_slots(call: Call<UserPass>) -> Result {
    let v3::SealSlotTest { slot } = body(&call)?.unwrap_or_default();
    let tested = call.coordinator().test_seal_slots(Some(&call.pass.certificate), slot).await?;
    Ok(envelope::json(StatusCode::OK, &tested))
}

/// A slot of a configured backend that has none.
#[utoipa::path(
    post,
    path = "/api/v3/seal/slots",
    request_body(content = v3::SealSlotAddition),
    responses(
        (status = 200, description = "Made, stored, read back.", body = v3::SealSlots),
        (status = 400, description = "The body cannot be read.", body = v3::Problem),
        (status = 401, description = "The client certificate is no user's.", body = v3::Problem),
        (status = 403, description = "This user may not update the manifest.", body = v3::Problem),
        (status = 404, description = "No such backend is configured.", body = v3::Problem),
        (status = 409, description = "It has one, or no state is stored.", body = v3::Problem),
        (status = 503, description = "The backend made none, or nothing can be written now.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn add_slot(call: Call<UserPass>) -> Result {
    let missing = || Error::new(ErrorKind::BadRequest, "bad_json", "the body must name a backend");
    let v3::SealSlotAddition { backend } = body(&call)?.ok_or_else(missing)?;
    let added = call.coordinator().add_seal_slot(Some(&call.pass.certificate), backend).await?;
    Ok(envelope::json(StatusCode::OK, &added))
}

/// One slot less, and another key, so that no copy of it opens what comes after.
#[utoipa::path(
    delete,
    path = "/api/v3/seal/slots",
    params(
        ("slot" = String, Query, description = "Label of the slot."),
        ("force" = Option<bool>, Query, description = "`true`: also if other slots are lost, or none is left where there are recovery keys."),
    ),
    responses(
        (status = 200, description = "Removed.", body = v3::SealSlots),
        (status = 400, description = "No slot is named.", body = v3::Problem),
        (status = 401, description = "The client certificate is no user's.", body = v3::Problem),
        (status = 403, description = "This user may not update the manifest.", body = v3::Problem),
        (status = 404, description = "There is no such slot.", body = v3::Problem),
        (status = 409, description = "It is the last one, or others would be lost, or Coordinators that have its backend would make it again; or no state is stored.", body = v3::Problem),
        (status = 503, description = "Nothing can be written now.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn remove_slot(call: Call<UserPass>) -> Result {
    let missing = || Error::new(ErrorKind::BadRequest, "bad_query", "the query must name a slot: ?slot=LABEL");
    let slot = query::values(&call.query, "slot").into_iter().next().ok_or_else(missing)?;
    let force = query::values(&call.query, "force").into_iter().any(|value| value == "true");
    let removed = call.coordinator().remove_seal_slot(Some(&call.pass.certificate), slot, force).await?;
    Ok(envelope::json(StatusCode::OK, &removed))
}

/// Another key with new slots. The old ones go only after the new ones were read back.
#[utoipa::path(
    post,
    path = "/api/v3/seal/slots/rotate",
    request_body(content = v3::SealSlotRotation, description = "May be empty."),
    responses(
        (status = 200, description = "Rotated.", body = v3::SealSlots),
        (status = 400, description = "The body cannot be read.", body = v3::Problem),
        (status = 401, description = "The client certificate is no user's.", body = v3::Problem),
        (status = 403, description = "This user may not update the manifest.", body = v3::Problem),
        (status = 404, description = "There is no such slot.", body = v3::Problem),
        (status = 409, description = "Slots would be lost, or no state is stored.", body = v3::Problem),
        (status = 503, description = "The backend made none, or nothing can be written now.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn rotate_slots(call: Call<UserPass>) -> Result {
    let v3::SealSlotRotation { slot, force } = body(&call)?.unwrap_or_default();
    let rotated = call.coordinator().rotate_seal_slots(Some(&call.pass.certificate), slot, force).await?;
    Ok(envelope::json(StatusCode::OK, &rotated))
}

fn body<T: DeserializeOwned>(call: &Call<UserPass>) -> std::result::Result<Option<T>, Error> {
    if call.body.is_empty() {
        return Ok(None);
    }
    let read = serde_json::from_slice(&call.body).map(Some);
    read.map_err(|error| Error::new(ErrorKind::BadRequest, "bad_json", error.to_string()))
}
