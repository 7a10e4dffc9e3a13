//! The table of routes.

use http::{Method, StatusCode};

use super::{requests, shared, v1, v2, v3};
use crate::server::http::body::BodyRule;
use crate::server::http::dialect::Dialect;
use crate::server::http::guard::{Anyone, MarblesWithFeature, Users, UsersHere, UsersNow, WithFeature};
use crate::server::http::router::Router;

/// The paths upstream has, in its order. Their metrics exist from the start.
pub(in crate::server) const UPSTREAM_PATHS: [&str; 19] = [
    "/status",
    "/manifest",
    "/quote",
    "/recover",
    "/secrets",
    "/update",
    "/update-manifest",
    "/update-cancel",
    "/api/v2/status",
    "/api/v2/manifest",
    "/api/v2/quote",
    "/api/v2/recover",
    "/api/v2/recover/public-key",
    "/api/v2/secrets",
    "/api/v2/update",
    "/api/v2/update-manifest",
    "/api/v2/update-cancel",
    "/api/v2/sign-quote",
    "/api/v2/monotonic-counter",
];

/// v1 routes whose use case is refused with 400.
const V1_400: Dialect = Dialect::V1 { refused: StatusCode::BAD_REQUEST, aborted: StatusCode::INTERNAL_SERVER_ERROR };
/// v1 routes whose use case is refused with 500.
const V1_500: Dialect =
    Dialect::V1 { refused: StatusCode::INTERNAL_SERVER_ERROR, aborted: StatusCode::INTERNAL_SERVER_ERROR };
/// `POST /update-manifest`, where upstream also answers 400 if the body breaks off.
const V1_ACKNOWLEDGE: Dialect =
    Dialect::V1 { refused: StatusCode::INTERNAL_SERVER_ERROR, aborted: StatusCode::BAD_REQUEST };
const V2: Dialect = Dialect::V2;
const V3: Dialect = Dialect::V3;

const NO_BODY: BodyRule = BodyRule::Ignored;
/// A raw manifest.
const MANIFEST: BodyRule = BodyRule::AtMost(requests::MAX_MANIFEST);
/// A raw manifest as base64 in JSON.
const MANIFEST_IN_JSON: BodyRule = BodyRule::AtMost(24 * 1024 * 1024);
/// What upstream reads of a recovery request; a longer one is cut off, and then is no JSON any more.
const RECOVER: BodyRule = BodyRule::First(20_480);
/// A choice.
const SMALL: BodyRule = BodyRule::AtMost(4096);
/// Everything else.
const OTHER: BodyRule = BodyRule::AtMost(4 * 1024 * 1024);

const SIGN_QUOTE: &str = "SignQuoteEndpoint";
const MONOTONIC_COUNTER: &str = "MonotonicCounter";

/// Every route there is.
pub(in crate::server) fn router() -> Router {
    let (get, post) = (|| Method::GET, || Method::POST);
    Router::default()
        .route(get(), "/status", V1_500, Anyone, NO_BODY, v1::status)
        .route(get(), "/api/v2/status", V2, Anyone, NO_BODY, v2::status)
        .route(get(), "/manifest", V1_400, Anyone, NO_BODY, v1::manifest)
        .route(get(), "/api/v2/manifest", V2, Anyone, NO_BODY, v2::manifest)
        .route(post(), "/manifest", V1_400, Anyone, MANIFEST, v1::set_manifest)
        .route(post(), "/api/v2/manifest", V2, Anyone, MANIFEST_IN_JSON, v2::set_manifest)
        .route(get(), "/quote", V1_500, Anyone, NO_BODY, v1::quote)
        .route(get(), "/api/v2/quote", V2, Anyone, NO_BODY, v2::quote)
        .route(post(), "/recover", V1_500, Anyone, NO_BODY, v1::recover)
        .route(post(), "/api/v2/recover", V2, Anyone, RECOVER, v2::recover)
        .route(get(), "/api/v2/recover/public-key", V2, Anyone, NO_BODY, v2::recovery_public_key)
        .route(get(), "/secrets", V1_400, Users, NO_BODY, v1::secrets)
        .route(get(), "/api/v2/secrets", V2, Users, NO_BODY, v2::secrets)
        .route(post(), "/secrets", V1_400, Users, OTHER, v1::set_secrets)
        .route(post(), "/api/v2/secrets", V2, Users, OTHER, v2::set_secrets)
        .route(get(), "/update", V1_500, Anyone, NO_BODY, v1::update_log)
        .route(get(), "/api/v2/update", V2, Anyone, NO_BODY, v2::update_log)
        .route(post(), "/update", V1_400, Users, MANIFEST, v1::update)
        .route(post(), "/api/v2/update", V2, Users, MANIFEST_IN_JSON, v2::update)
        .route(get(), "/update-manifest", V1_500, Anyone, NO_BODY, shared::pending_update)
        .route(get(), "/api/v2/update-manifest", V2, Anyone, NO_BODY, shared::pending_update)
        .route(post(), "/update-manifest", V1_ACKNOWLEDGE, Users, MANIFEST, v1::acknowledge_update)
        .route(post(), "/api/v2/update-manifest", V2, Users, MANIFEST_IN_JSON, v2::acknowledge_update)
        .route(post(), "/update-cancel", V1_500, Users, NO_BODY, v1::cancel_update)
        .route(post(), "/api/v2/update-cancel", V2, Users, NO_BODY, v2::cancel_update)
        .route(post(), "/api/v2/sign-quote", V2, WithFeature(SIGN_QUOTE), OTHER, v2::sign_quote)
        .route(
            post(),
            "/api/v2/monotonic-counter",
            V2,
            MarblesWithFeature(MONOTONIC_COUNTER),
            OTHER,
            v2::monotonic_counter,
        )
        .route(get(), "/api/v3/healthz", V3, Anyone, NO_BODY, v3::healthz)
        .route(get(), "/api/v3/readyz", V3, Anyone, NO_BODY, v3::readyz)
        .route(get(), "/api/v3/status", V3, Anyone, NO_BODY, v3::status)
        .route(get(), "/api/v3/attestation", V3, Anyone, NO_BODY, v3::attestation)
        .route(post(), "/api/v3/manifest/check", V3, Anyone, MANIFEST, v3::check_manifest)
        .route(get(), "/api/v3/recovery", V3, Anyone, NO_BODY, v3::recovery)
        .route(get(), "/api/v3/recovery/secrets", V3, Users, NO_BODY, v3::recovery_secrets)
        .route(get(), "/api/v3/packages", V3, Anyone, NO_BODY, v3::packages)
        .route(get(), "/api/v3/audit", V3, UsersNow, NO_BODY, v3::audit)
        .route(get(), "/api/v3/audit/head", V3, UsersNow, NO_BODY, v3::audit_head)
        .route(get(), "/api/v3/backup", V3, Users, NO_BODY, v3::backup)
        .route(post(), "/api/v3/update", V3, Users, MANIFEST, v3::update)
        .route(post(), "/api/v3/update/acknowledge", V3, Users, MANIFEST, v3::acknowledge_update)
        .route(get(), "/api/v3/cluster", V3, Anyone, NO_BODY, v3::cluster)
        .route(post(), "/api/v3/restore/accept", V3, UsersHere, NO_BODY, v3::accept_restore)
        .route(post(), "/api/v3/restore/reject", V3, UsersHere, NO_BODY, v3::reject_restore)
        .route(post(), "/api/v3/kek/rotate", V3, UsersHere, SMALL, v3::rotate_kek)
        .route(get(), "/api/v3/seal/slots", V3, Users, NO_BODY, v3::slots)
        .route(post(), "/api/v3/seal/slots", V3, Users, SMALL, v3::add_slot)
        .route(Method::DELETE, "/api/v3/seal/slots", V3, Users, NO_BODY, v3::remove_slot)
        .route(post(), "/api/v3/seal/slots/test", V3, Users, SMALL, v3::test_slots)
        .route(post(), "/api/v3/seal/slots/rotate", V3, Users, SMALL, v3::rotate_slots)
        .route(get(), "/api/v3/openapi.json", V3, Anyone, NO_BODY, v3::openapi)
}
