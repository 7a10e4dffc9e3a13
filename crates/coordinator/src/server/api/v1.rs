//! The client API v1: the same use cases as v2 in upstream's first form. Every call leaves a line in the log that
//! points to v2, but for the routes of pending updates, which upstream does not count as deprecated.

use http::StatusCode;
use marblerun_api::bytes::Base64;
use marblerun_api::{v1, v2};

use super::requests;
use super::shared;
use crate::server::http::dialect::Refusal;
use crate::server::http::envelope::{self, Answer};
use crate::server::http::guard::UserPass;
use crate::server::http::router::Call;

type Result = std::result::Result<Answer, Refusal>;

fn deprecated(path: &str) {
    tracing::info!("Usage of deprecated API endpoint. Consider using /api/v2{path} instead");
}

pub(super) async fn status(call: Call<()>) -> Result {
    deprecated("/status");
    let (code, message) = call.coordinator().status();
    Ok(envelope::success(&v1::Status { status_code: code.into(), status_message: message.into_owned() }))
}

pub(super) async fn manifest(call: Call<()>) -> Result {
    deprecated("/manifest");
    let answer = call.coordinator().manifest().await?.map_or_else(v1::Manifest::default, |manifest| v1::Manifest {
        manifest_signature_root_ecdsa: Some(Base64(manifest.signature)),
        manifest_signature: manifest.fingerprint,
        manifest: Some(Base64(manifest.raw)),
    });
    Ok(envelope::success(&answer))
}

pub(super) async fn set_manifest(mut call: Call<()>) -> Result {
    deprecated("/manifest");
    let raw = std::mem::take(&mut *call.body);
    let set = call.coordinator().set_manifest(raw).await?;
    Ok(match set.recovery_secrets.is_empty() {
        true => envelope::success(&()),
        false => envelope::success(&v2::ManifestSet { recovery_secrets: shared::base64_map(set.recovery_secrets) }),
    })
}

pub(super) async fn quote(call: Call<()>) -> Result {
    deprecated("/quote");
    let quote = call.coordinator().quote(&[]).await?;
    Ok(envelope::success(&v1::Quote { cert: quote.cert, quote: quote.quote.map(Base64) }))
}

pub(super) async fn recover(_call: Call<()>) -> Result {
    deprecated("/recover");
    Ok(envelope::error(
        StatusCode::GONE,
        "Recovering the Coordinator using the /recover API endpoint has been disabled. Use the /api/v2/recover endpoint instead.",
    ))
}

pub(super) async fn secrets(call: Call<UserPass>) -> Result {
    deprecated("/secrets");
    Ok(envelope::success(&shared::read_secrets(&call).await?))
}

pub(super) async fn set_secrets(call: Call<UserPass>) -> Result {
    deprecated("/secrets");
    let upload = requests::secrets_v1(&call.body)?;
    call.coordinator().write_secrets(Some(&call.pass.certificate), upload).await?;
    Ok(envelope::success(&()))
}

pub(super) async fn update_log(call: Call<()>) -> Result {
    deprecated("/update");
    let log = call.coordinator().update_log().await?;
    let lines: String = log.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    Ok(envelope::success(&lines))
}

/// Upstream always answers `null` here and so loses new recovery secrets; they are given out as when a manifest is set.
pub(super) async fn update(mut call: Call<UserPass>) -> Result {
    deprecated("/update");
    let raw = std::mem::take(&mut *call.body);
    let update = call.coordinator().update(Some(&call.pass.certificate), raw).await?;
    Ok(match update.recovery_secrets.filter(|secrets| !secrets.is_empty()) {
        None => envelope::success(&()),
        Some(secrets) => envelope::success(&v2::ManifestSet { recovery_secrets: shared::base64_map(secrets) }),
    })
}

/// The answer is one text, of which clients read the first word; new recovery secrets, which upstream loses, stand behind it.
pub(super) async fn acknowledge_update(mut call: Call<UserPass>) -> Result {
    let raw = std::mem::take(&mut *call.body);
    let update = call.coordinator().acknowledge_update(Some(&call.pass.certificate), raw).await?;
    let mut message = match update.missing_users {
        Some(_) => shared::still_needed(update.missing_acknowledgments),
        None => shared::APPLIED.to_owned(),
    };
    for (name, secret) in update.recovery_secrets.into_iter().flatten() {
        message.push_str(&format!("\nRecovery secret of {name}: {}", marblerun_api::bytes::encode(&secret)));
    }
    Ok(envelope::success(&message))
}

pub(super) async fn cancel_update(call: Call<UserPass>) -> Result {
    call.coordinator().cancel_update(Some(&call.pass.certificate)).await?;
    Ok(envelope::success(&shared::CANCELLED))
}
