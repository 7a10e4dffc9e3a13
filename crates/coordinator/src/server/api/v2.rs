//! The client API v2: one function a route, each a use case with its words around it.

use marblerun_api::bytes::Base64;
use marblerun_api::v2;

use super::requests;
use super::shared;
use crate::core::MarbleIdentity;
use crate::error::{Error, ErrorKind};
use crate::server::http::dialect::Refusal;
use crate::server::http::envelope::{self, Answer};
use crate::server::http::guard::UserPass;
use crate::server::http::nonce;
use crate::server::http::query;
use crate::server::http::router::Call;

type Result = std::result::Result<Answer, Refusal>;

pub(super) async fn status(call: Call<()>) -> Result {
    let (code, message) = call.coordinator().status();
    Ok(envelope::success(&v2::Status { code: code.into(), message: message.into_owned() }))
}

pub(super) async fn manifest(call: Call<()>) -> Result {
    let Some(manifest) = call.coordinator().manifest().await? else {
        return Err(Error::new(ErrorKind::Refused, "no_manifest", "requested value not set").into());
    };
    Ok(envelope::success(&v2::Manifest {
        manifest_signature_root_ecdsa: Base64(manifest.signature),
        manifest_fingerprint: manifest.fingerprint,
        manifest: Base64(manifest.raw),
    }))
}

pub(super) async fn set_manifest(call: Call<()>) -> Result {
    let raw = requests::manifest(&call.body)?;
    let set = call.coordinator().set_manifest(raw).await?;
    Ok(envelope::success(&v2::ManifestSet { recovery_secrets: shared::base64_map(set.recovery_secrets) }))
}

pub(super) async fn quote(call: Call<()>) -> Result {
    let nonce = query::values(&call.query, "nonce").into_iter().next().unwrap_or_default();
    let quote = call.coordinator().quote(&nonce::decode(&nonce)?).await?;
    Ok(envelope::success(&v2::Quote { cert: quote.cert, quote: quote.quote.map(Base64) }))
}

pub(super) async fn recover(call: Call<()>) -> Result {
    let request = requests::recover(&call.body)?;
    let force = query::values(&call.query, "force").into_iter().any(|value| value == "true");
    let answer = call.coordinator().recover_beside_others(request.secret, request.signature, force).await?;
    let remaining = i64::try_from(answer.remaining).unwrap_or(i64::MAX);
    Ok(envelope::success(&v2::Recover { remaining, message: answer.message }))
}

pub(super) async fn recovery_public_key(call: Call<()>) -> Result {
    let key = call.coordinator().recovery_public_key().await?;
    Ok(envelope::success(&v2::RecoveryPublicKey { algorithm: "RSA".to_owned(), ephemeral_public_key: Base64(key) }))
}

pub(super) async fn secrets(call: Call<UserPass>) -> Result {
    let secrets = shared::read_secrets(&call).await?;
    Ok(envelope::success(&v2::Secrets { secrets }))
}

pub(super) async fn set_secrets(call: Call<UserPass>) -> Result {
    let upload = requests::secrets_v2(&call.body)?;
    call.coordinator().write_secrets(Some(&call.pass.certificate), upload).await?;
    Ok(envelope::success(&()))
}

pub(super) async fn update_log(call: Call<()>) -> Result {
    Ok(envelope::success(&v2::UpdateLog { update_log: call.coordinator().update_log().await? }))
}

pub(super) async fn update(call: Call<UserPass>) -> Result {
    let raw = requests::manifest(&call.body)?;
    let update = call.coordinator().update(Some(&call.pass.certificate), raw).await?;
    Ok(envelope::success(&v2::UpdateApplied {
        missing_acknowledgments: update.missing_acknowledgments,
        missing_users: update.missing_users,
        recovery_secrets: update.recovery_secrets.map(shared::base64_map),
    }))
}

pub(super) async fn acknowledge_update(call: Call<UserPass>) -> Result {
    let raw = requests::manifest(&call.body)?;
    let update = call.coordinator().acknowledge_update(Some(&call.pass.certificate), raw).await?;
    let message = match &update.missing_users {
        Some(missing) => format!(
            "{}.\nThe following users have not yet accepted: {}",
            shared::still_needed(update.missing_acknowledgments),
            missing.join(", ")
        ),
        None => shared::APPLIED.to_owned(),
    };
    Ok(envelope::success(&v2::UpdateAcknowledged {
        message,
        missing_users: update.missing_users,
        missing_acknowledgments: update.missing_acknowledgments,
        recovery_secrets: update.recovery_secrets.map(shared::base64_map),
    }))
}

pub(super) async fn cancel_update(call: Call<UserPass>) -> Result {
    call.coordinator().cancel_update(Some(&call.pass.certificate)).await?;
    Ok(envelope::success(&v2::UpdateCancelled { message: shared::CANCELLED.to_owned() }))
}

pub(super) async fn sign_quote(call: Call<()>) -> Result {
    let quote = requests::sign_quote(&call.body).map_err(|error| {
        let message = format!("bad request: {error}");
        bad_quote(error, message, "failed to parse JSON data".to_owned())
    })?;
    let (tcb_status, signature) = call.coordinator().sign_quote(&quote).await.map_err(|error| {
        if error.code != "quote_verification_failed" {
            return Refusal::from(error);
        }
        let reason = format!("quote verification failed: {error}");
        bad_quote(error, "quote verification failed".to_owned(), reason)
    })?;
    Ok(envelope::success(&v2::SignQuote { tcb_status, verification_signature: Base64(signature) }))
}

/// The one route whose refusals carry data.
fn bad_quote(error: Error, message: String, reason: String) -> Refusal {
    Refusal {
        error: Error { kind: ErrorKind::BadRequest, message, ..error },
        data: serde_json::json!({ "sgxQuote": reason }),
    }
}

pub(super) async fn monotonic_counter(call: Call<MarbleIdentity>) -> Result {
    let (name, value) = requests::counter(&call.body)?;
    let value = call.app.coordinator.set_counter(call.pass, name, value).await?;
    Ok(envelope::success(&v2::MonotonicCounter { value }))
}
