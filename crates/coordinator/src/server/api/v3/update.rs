//! Updates over v3: as those of v2, with what only several Coordinators need to say.

use std::time::Duration;

use http::StatusCode;
use marblerun_api::v3;

use super::Result;
use crate::core::UpdateAnswer;
use crate::server::api::shared;
use crate::server::http::envelope::{self, Answer};
use crate::server::http::guard::UserPass;
use crate::server::http::router::Call;

/// Raises security versions of packages, or proposes another manifest: the posted one, byte for byte.
#[utoipa::path(
    post,
    path = "/api/v3/update",
    request_body(content = String, content_type = "application/json", description = "The raw manifest."),
    responses(
        (status = 200, description = "Accepted; in force, or waiting for acknowledgements.", body = v3::Update),
        (status = 401, description = "Not a user of the manifest.", body = v3::Problem),
        (status = 409, description = "The manifest, the user's permissions or the state do not allow it.", body = v3::Problem),
        (status = 503, description = "The state cannot be written now.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn update(mut call: Call<UserPass>) -> Result {
    let raw = std::mem::take(&mut *call.body);
    let update = call.coordinator().update(Some(&call.pass.certificate), raw).await?;
    Ok(answer(&call, update))
}

/// Acknowledges the pending manifest: the posted one must be it, byte for byte.
#[utoipa::path(
    post,
    path = "/api/v3/update/acknowledge",
    request_body(content = String, content_type = "application/json", description = "The raw manifest that is pending."),
    responses(
        (status = 200, description = "Acknowledged; in force, or waiting for others.", body = v3::Update),
        (status = 401, description = "Not a user of the manifest.", body = v3::Problem),
        (status = 404, description = "No update is pending.", body = v3::Problem),
        (status = 409, description = "It is another manifest, or not this user's to acknowledge.", body = v3::Problem),
        (status = 503, description = "The state cannot be written now.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn acknowledge_update(mut call: Call<UserPass>) -> Result {
    let raw = std::mem::take(&mut *call.body);
    let update = call.coordinator().acknowledge_update(Some(&call.pass.certificate), raw).await?;
    Ok(answer(&call, update))
}

fn answer(call: &Call<UserPass>, update: UpdateAnswer) -> Answer {
    let elsewhere = call.coordinator().in_force_elsewhere(&update).map(in_force_elsewhere);
    envelope::json(
        StatusCode::OK,
        &v3::Update {
            applied: update.missing_acknowledgments == 0,
            missing_acknowledgments: u64::try_from(update.missing_acknowledgments).unwrap_or_default(),
            missing_users: update.missing_users.unwrap_or_default(),
            recovery_secrets: update.recovery_secrets.map(shared::base64_map).unwrap_or_default(),
            elsewhere,
        },
    )
}

/// Rights that an update takes away are taken away there as well; where the place cannot be asked, after the grace.
fn in_force_elsewhere(grace: Duration) -> v3::InForceElsewhere {
    let seconds_at_most = grace.as_secs();
    let message = match seconds_at_most {
        0 => "in force at every Coordinator now".to_owned(),
        seconds => format!(
            "in force now at every Coordinator that reaches the shared state; one that does not goes on activating Marbles for {seconds} s at most"
        ),
    };
    v3::InForceElsewhere { seconds_at_most, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_from_when_on_an_update_is_in_force_elsewhere() {
        let said = in_force_elsewhere(Duration::from_secs(300));
        assert_eq!(said.seconds_at_most, 300);
        assert!(said.message.contains("for 300 s at most"), "{}", said.message);
        assert_eq!(in_force_elsewhere(Duration::ZERO).message, "in force at every Coordinator now");
    }
}
