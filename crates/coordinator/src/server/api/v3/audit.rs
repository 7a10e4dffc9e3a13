//! The audit trail and backups, over the API.

use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use marblerun_api::bytes::Base64;
use marblerun_api::v3;
use marblerun_state::AuditKind;

use super::Result;
use crate::error::{Error, ErrorKind};
use crate::server::http::answer_body::AnswerBody;
use crate::server::http::envelope;
use crate::server::http::guard::UserPass;
use crate::server::http::query;
use crate::server::http::router::Call;

/// Entries in an answer where nothing else is asked for.
const PAGE: usize = 1000;

/// Entries of the audit trail, oldest first.
#[utoipa::path(
    get,
    path = "/api/v3/audit",
    params(
        ("after" = Option<u64>, Query, description = "Sequence number; the answer begins behind it. 0 if absent."),
        ("limit" = Option<usize>, Query, description = "At most that many entries, and never more than 1000."),
        ("trail" = Option<String>, Query, description = "`changes` (if absent) or `refusals`."),
    ),
    responses(
        (status = 200, description = "The entries.", body = v3::AuditPage),
        (status = 400, description = "A parameter is wrong.", body = v3::Problem),
        (status = 401, description = "Not a user of the manifest.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn audit(call: Call<UserPass>) -> Result {
    let (after, limit) = (number(&call.query, "after", 0)?, number(&call.query, "limit", PAGE as u64)?);
    let kind = match query::values(&call.query, "trail").first().map(String::as_str) {
        None | Some("changes") => AuditKind::Changes,
        Some("refusals") => AuditKind::Refusals,
        Some(_) => return Err(bad_query("trail is changes or refusals").into()),
    };
    let page = call.coordinator().audit_page(kind, after, usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(envelope::json(
        StatusCode::OK,
        &v3::AuditPage {
            trail: kind.as_str().to_owned(),
            after: page.start.sequence,
            previous: hex::encode(page.start.hash),
            entries: page.lines,
            last: page.head.sequence,
        },
    ))
}

/// The heads of the audit trails, signed by the root key.
#[utoipa::path(
    get,
    path = "/api/v3/audit/head",
    responses(
        (status = 200, description = "The statement and its signature.", body = v3::AuditHead),
        (status = 401, description = "Not a user of the manifest.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn head(call: Call<UserPass>) -> Result {
    let signed = call.coordinator().audit_head().await?;
    let head = v3::AuditHead { statement: signed.statement, signature: Base64(signed.signature) };
    Ok(envelope::json(StatusCode::OK, &head))
}

/// A backup: a copy of `sealed_data`, whole by its own marks.
#[utoipa::path(
    get,
    path = "/api/v3/backup",
    responses(
        (status = 200, description = "The backup.", content_type = "application/octet-stream"),
        (status = 401, description = "Not a user of the manifest.", body = v3::Problem),
        (status = 403, description = "The user may not update the manifest.", body = v3::Problem),
        (status = 409, description = "Nothing is stored.", body = v3::Problem),
        (status = 503, description = "Too many backups at a time, or the state cannot be written.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn backup(call: Call<UserPass>) -> Result {
    let copy = call.coordinator().backup(Some(&call.pass.certificate)).await?;
    let length = copy.copying.length();
    let mut answer = envelope::stream("application/octet-stream", AnswerBody::read_from(copy, length));
    let name = HeaderValue::from_static("attachment; filename=\"sealed_data\"");
    answer.headers_mut().insert(CONTENT_DISPOSITION, name);
    Ok(answer)
}

fn number(query: &str, name: &str, default: u64) -> std::result::Result<u64, Error> {
    match query::values(query, name).first() {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| bad_query(&format!("{name} is a number"))),
    }
}

fn bad_query(text: &str) -> Error {
    Error::new(ErrorKind::BadRequest, "bad_query", text)
}
