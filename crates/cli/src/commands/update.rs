//! `marblerun manifest update apply|acknowledge|cancel|get`.

use anyhow::{Context as _, Result};
use marblerun_client::{Client, UpdateResult};
use serde_json::{Map, Value, json};

use crate::args::{At, ClientCert, Global, Submission, UpdateCommand};
use crate::manifest_file;
use crate::output::{Output, note};
use crate::prompt;
use crate::recovery_data::Place;
use crate::trust;

/// Runs one of them.
pub async fn run(global: &Global, output: &Output<'_>, command: UpdateCommand) -> Result<()> {
    match command {
        UpdateCommand::Apply(args) => Ready::prepare(global, args).await?.apply(output).await,
        UpdateCommand::Acknowledge(args) => Ready::prepare(global, args).await?.acknowledge(output).await,
        UpdateCommand::Cancel { at, client } => cancel(global, output, &at, &client).await,
        UpdateCommand::Get { at, missing } => get(global, output, &at, missing).await,
    }
}

/// A manifest that can be sent, and a place for what may come back.
struct Ready {
    client: Client,
    raw: Vec<u8>,
    place: Place,
}

impl Ready {
    async fn prepare(global: &Global, args: Submission) -> Result<Self> {
        let client = super::user_client(global, &args.at, &args.client).await?;
        let raw = manifest_file::load(&args.manifest)?;
        // New recovery data is answered once, and not to who comes second.
        let place = Place::prepare(args.recoverydata)?;
        Ok(Self { client, raw, place })
    }

    async fn apply(self, output: &Output<'_>) -> Result<()> {
        let answer = self.client.apply_update(&self.raw).await.context("applying update: applying manifest update")?;
        match answer.missing_acknowledgments {
            0 => output.progress("Update manifest set successfully"),
            missing => {
                output.progress("Update manifest submitted successfully.");
                output.progress("Changes are pending and have not been applied yet.");
                output.progress(&still_needed(missing));
                output.progress(&format!(
                    "The following users may acknowledge the update: {}",
                    answer.missing_users.join(", ")
                ));
            }
        }
        self.finish(output, &answer).await
    }

    async fn acknowledge(self, output: &Output<'_>) -> Result<()> {
        let answer = self
            .client
            .acknowledge_update(&self.raw)
            .await
            .context("acknowledging update manifest: sending manifest update acknowledgement")?;
        output.progress("Acknowledgement successful:");
        match answer.missing_acknowledgments {
            0 => output.progress("All users have acknowledged the update manifest. Update successfully applied"),
            missing => {
                output.progress(&still_needed(missing));
                output.progress(&format!(
                    "The following users have not yet accepted: {}",
                    answer.missing_users.join(", ")
                ));
            }
        }
        self.finish(output, &answer).await
    }

    /// Where several Coordinators share the state, one that cannot reach it does not know of the update yet. Others have
    /// nothing to say about that, and neither have those without API v3.
    async fn tell_when_elsewhere(&self) {
        if let Ok(cluster) = self.client.v3().cluster().await {
            note(&format!(
                "In force now at every Coordinator that reaches the shared state; one that does not goes on activating Marbles for {} s at most.",
                cluster.offline_grace_seconds
            ));
        }
    }

    async fn finish(self, output: &Output<'_>, answer: &UpdateResult) -> Result<()> {
        if answer.missing_acknowledgments == 0 {
            self.tell_when_elsewhere().await;
        }
        let mut document: Map<String, Value> = Map::new();
        document.insert("manifestFingerprint".to_owned(), json!(manifest_file::fingerprint(&self.raw)));
        document.insert("applied".to_owned(), json!(answer.missing_acknowledgments == 0));
        document.insert("missingAcknowledgments".to_owned(), json!(answer.missing_acknowledgments));
        document.insert("missingUsers".to_owned(), json!(answer.missing_users));
        self.place.deliver(output, &answer.recovery_secrets, document)
    }
}

fn still_needed(missing: i64) -> String {
    match missing {
        1 => "1 user still needs to acknowledge the update manifest.".to_owned(),
        missing => format!("{missing} users still need to acknowledge the update manifest."),
    }
}

async fn cancel(global: &Global, output: &Output<'_>, at: &At, identity: &ClientCert) -> Result<()> {
    let client = super::user_client(global, at, identity).await?;
    // Scripts of upstream's users go on as before: nobody is asked there.
    prompt::confirm(global, "Cancel the pending update? Acknowledgements given so far are lost.").await?;
    client.cancel_update().await.context("canceling update: sending manifest update cancel")?;
    output.result(&json!({"cancelled": true}), || "Cancellation successful".to_owned())
}

async fn get(global: &Global, output: &Output<'_>, at: &At, missing: bool) -> Result<()> {
    let coordinator = global.coordinator(at)?;
    let client = trust::connect(global, &coordinator, None).await?;
    let pending =
        client.pending_update().await.context("getting update manifest: retrieving pending update manifest")?;
    let users = pending.missing_users.unwrap_or_default();
    let raw = pending.manifest.0;
    if output.is_structured() {
        let manifest: Value = serde_json::from_slice(&raw).context("the pending manifest is not plain JSON")?;
        let fingerprint = manifest_file::fingerprint(&raw);
        let value = json!({"manifestFingerprint": fingerprint, "missingUsers": users, "manifest": manifest});
        return output.result(&value, String::new);
    }
    if missing {
        let line = format!("The following users have not yet acknowledged the update: [{}]", users.join(" "));
        return output.data(line.as_bytes(), |_| None);
    }
    // Every byte counts: this is what an acknowledgement must repeat.
    output.exactly(&raw)
}
