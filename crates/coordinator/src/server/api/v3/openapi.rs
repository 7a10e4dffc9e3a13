//! The OpenAPI document of v3, generated from the routes' annotations and the types in `marblerun-api`.

use std::sync::LazyLock;

use bytes::Bytes;
use http::StatusCode;
use marblerun_api::v3;
use utoipa::OpenApi;

use super::Result;
use crate::server::http::envelope;
use crate::server::http::router::Call;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "MarbleRun Coordinator client API",
        description = "Version 3. Refusals are problem details (RFC 9457) with a stable `code`."
    ),
    paths(
        super::healthz,
        super::readyz,
        super::status,
        super::attestation,
        super::check_manifest,
        super::recovery,
        super::recovery_secrets,
        super::packages,
        super::audit::audit,
        super::audit::head,
        super::audit::backup,
        super::cluster::cluster,
        super::cluster::accept_restore,
        super::cluster::reject_restore,
        super::cluster::rotate_kek,
        super::seal::slots,
        super::seal::test_slots,
        super::seal::add_slot,
        super::seal::remove_slot,
        super::seal::rotate_slots,
        super::update::update,
        super::update::acknowledge_update,
    ),
    components(schemas(v3::Problem))
)]
struct Document;

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Document::openapi().to_json().unwrap_or_default().into());

/// This document.
pub(in crate::server::api) async fn openapi(_call: Call<()>) -> Result {
    Ok(envelope::text(StatusCode::OK, "application/json", DOCUMENT.clone()))
}
