//! `marblerun manifest ..`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use marblerun_client::{Client, ClientError};
use marblerun_manifest::check::{CheckEnv, Finding, Report};
use marblerun_manifest::effective;
use serde_json::{Map, Value, json};

use super::update;
use crate::args::{At, Global, ManifestCommand};
use crate::failure::Failure;
use crate::manifest_file;
use crate::output::{Output, warn};
use crate::prompt::{self, Consent};
use crate::recovery_data::Place;
use crate::trust::{self, Session};

/// Runs one of them.
pub async fn run(global: &Global, output: &Output<'_>, command: ManifestCommand) -> Result<()> {
    match command {
        ManifestCommand::Set { manifest, at, recoverydata, discard_state } => {
            set(global, output, &manifest, &at, recoverydata, discard_state).await
        }
        ManifestCommand::Get { at, signature, display_update, keep_cert } => {
            get(global, output, &at, Wanted { signature, display_update, keep_cert }).await
        }
        ManifestCommand::Verify { manifest, at } => verify(global, output, &manifest, &at).await,
        ManifestCommand::Log { at } => log(global, output, &at).await,
        ManifestCommand::Update(command) => update::run(global, output, command).await,
        ManifestCommand::Signature { manifest } => {
            let fingerprint = manifest_file::fingerprint(&manifest_file::load(&manifest)?);
            output.result(&json!({"signature": fingerprint}), || fingerprint.clone())
        }
        ManifestCommand::Check { manifest } => check(output, &manifest),
    }
}

async fn set(
    global: &Global,
    output: &Output<'_>,
    manifest: &Path,
    at: &At,
    recoverydata: Option<PathBuf>,
    discard_state: bool,
) -> Result<()> {
    if let Some(file) = output.file().filter(|file| *file != "-") {
        // Lest somebody believes that it takes the recovery data, and learns too late that it does not.
        return Err(Failure::usage(format!(
            "manifest set has no use for --output {file}: --recoverydata names the file for the recovery data"
        )));
    }
    let coordinator = global.coordinator(at)?;
    let raw = manifest_file::load(manifest)?;
    // What is written after the manifest is in force must have its place before the Coordinator is asked.
    trust::prepare_cache(global, &coordinator)?;
    let place = Place::prepare(recoverydata)?;
    let session = Session::attest(global, &coordinator).await?;
    let client = session.client()?;
    if !discard_state && client.status().await.context("asking for the state of the Coordinator")?.code == 1 {
        let question =
            "The Coordinator is in recovery mode: a sealed state waits there. Give it up for ever and begin anew?";
        if prompt::confirm(global, question).await? == Consent::NobodyToAsk {
            return Err(Failure::conflict(
                "the Coordinator is in recovery mode: a sealed state waits there, and setting a manifest gives it up. \
                 'marblerun recover' brings it back; to really begin anew, add --discard-state",
            ));
        }
    }
    output.progress("Successfully verified Coordinator, now uploading manifest");
    let fingerprint = manifest_file::fingerprint(&raw);
    output.progress(&format!("Manifest signature: {fingerprint}"));
    // What a Coordinator accepts in silence. Errors are the Coordinator's to tell.
    for finding in review(&raw).warnings {
        warn(&finding.to_string());
    }
    let secrets = client.set_manifest(&raw).await.context("setting manifest")?;
    output.progress("Manifest successfully set");
    let mut document = Map::new();
    document.insert("manifestFingerprint".to_owned(), json!(fingerprint));
    let delivered = place.deliver(output, &secrets, document);
    // The certificate is worth keeping also if the recovery data went elsewhere.
    let kept = session.write_cache(global).and_then(|()| session.save_quote(global));
    delivered.and(kept.context("the manifest is set; what failed is"))
}

/// What `manifest get` was asked for besides the manifest.
struct Wanted {
    signature: bool,
    display_update: bool,
    keep_cert: bool,
}

async fn get(global: &Global, output: &Output<'_>, at: &At, wanted: Wanted) -> Result<()> {
    let session = Session::attest(global, &global.coordinator(at)?).await?;
    let client = session.client()?;
    output.progress("Successfully verified Coordinator, now requesting manifest");
    let answer = manifest_file::in_force(&client).await.context("getting manifest")?;
    let mut raw = answer.manifest.0;
    if wanted.display_update {
        raw = effective::with_security_versions(&raw, &security_versions(&client).await?)
            .context("the manifest is not plain JSON")?;
    }
    let mut text = String::from_utf8(raw).map_err(|_| anyhow!("the manifest is not UTF-8"))?;
    if output.is_structured() {
        let manifest: Value = serde_json::from_str(&text).context("the manifest is not plain JSON")?;
        let value = json!({"manifestFingerprint": answer.manifest_fingerprint, "manifest": manifest});
        output.result(&value, String::new)?;
    } else {
        if wanted.signature {
            text = format!("{{\n\"ManifestSignature\": \"{}\",\n\"Manifest\": {text}}}", answer.manifest_fingerprint);
        }
        output.data(text.as_bytes(), |_| None)?;
    }
    session.save_quote(global)?;
    if wanted.keep_cert { session.write_cache(global) } else { Ok(()) }
}

/// The security versions in force: as the Coordinator tells them, or, where it cannot, as its update log does.
async fn security_versions(client: &Client) -> Result<BTreeMap<String, u64>> {
    match client.v3().packages().await {
        Ok(packages) => {
            let versions = packages.packages.into_iter();
            Ok(versions.filter_map(|(name, package)| Some((name, package.security_version?))).collect())
        }
        Err(ClientError::NoV3 { .. }) => logged_versions(&client.update_log().await.context("retrieving update log")?),
        Err(error) => Err(error).context("retrieving packages"),
    }
}

/// What package updates raised since the manifest in force was set. Those before a full update are part of another manifest.
fn logged_versions(log: &[String]) -> Result<BTreeMap<String, u64>> {
    let mut versions = BTreeMap::new();
    for line in log {
        let entry: Value = serde_json::from_str(line).context("reading the update log")?;
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        if matches!(text("update"), Some("Complete Manifest updated" | "Initial manifest set")) {
            versions.clear();
        } else if let (Some(package), Some(version)) =
            (text("package"), entry.get("new version").and_then(Value::as_u64))
        {
            versions.insert(package.to_owned(), version);
        }
    }
    Ok(versions)
}

async fn verify(global: &Global, output: &Output<'_>, manifest: &str, at: &At) -> Result<()> {
    let local = if Path::new(manifest).exists() {
        manifest_file::fingerprint(&manifest_file::load(manifest.as_ref())?)
    } else {
        if manifest.len() != 64 {
            return Err(Failure::usage(format!(
                "{manifest} is not a file and of invalid length to be a signature (needs to be 32 bytes)"
            )));
        }
        if hex::decode(manifest).is_err() {
            return Err(Failure::usage(format!(
                "{manifest} is not a file and not a valid signature (needs to be in hex format)"
            )));
        }
        manifest.to_lowercase()
    };
    let session = Session::attest(global, &global.coordinator(at)?).await?;
    let answer = manifest_file::in_force(&session.client()?).await.context("getting Coordinator manifest")?;
    let remote = answer.manifest_fingerprint;
    if remote.is_empty() {
        return Err(Failure::conflict(
            "Coordinator returned no manifest signature. Is the Coordinator in the correct state?",
        ));
    }
    if remote != local {
        return Err(Failure::trust(format!(
            "MarbleRun deployment is using a different manifest than expected: manifest hash does not match local hash: \
             \"{remote}\" != \"{local}\""
        )));
    }
    output
        .result(&json!({"manifestFingerprint": remote, "verified": session.attested.verified}), || "OK".to_owned())?;
    session.save_quote(global)?;
    session.write_cache(global)
}

async fn log(global: &Global, output: &Output<'_>, at: &At) -> Result<()> {
    let coordinator = global.coordinator(at)?;
    let client = trust::connect(global, &coordinator, None).await?;
    output.progress("Successfully verified Coordinator, now requesting update log");
    let lines = client.update_log().await.context("retrieving update log: retrieving Coordinator update log")?;
    if output.is_structured() {
        let entries = lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<Vec<Value>, _>>()?;
        return output.result(&json!({"updateLog": entries}), String::new);
    }
    if output.file().is_none() {
        output.progress("Update log:");
    }
    output.data(lines.join("\n").as_bytes(), |_| None)
}

fn check(output: &Output<'_>, manifest: &Path) -> Result<()> {
    let raw = manifest_file::load(manifest)?;
    let report = review(&raw);
    let finding = |finding: &Finding| json!({"code": finding.code, "path": finding.path, "message": finding.text});
    let value = json!({
        "manifestFingerprint": manifest_file::fingerprint(&raw),
        "errors": report.errors.iter().map(finding).collect::<Vec<_>>(),
        "warnings": report.warnings.iter().map(finding).collect::<Vec<_>>(),
    });
    output.result(&value, || {
        let mut lines: Vec<String> = report.errors.iter().map(|finding| format!("error: {finding}")).collect();
        lines.extend(report.warnings.iter().map(|finding| format!("warning: {finding}")));
        if report.errors.is_empty() {
            lines.push("The manifest can be set.".to_owned());
        }
        lines.join("\n")
    })?;
    match report.errors.len() {
        0 => Ok(()),
        1 => bail!("there is an error in {}", manifest.display()),
        n => bail!("there are {n} errors in {}", manifest.display()),
    }
}

/// Everything there is to tell about a manifest without the Coordinator.
fn review(raw: &[u8]) -> Report {
    let env = CheckEnv { now: jiff::Timestamp::now(), variables: None };
    marblerun_manifest::check::review(raw, &env).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_from_before_a_full_update_do_not_count() {
        let log = [
            r#"{"update":"Initial manifest set"}"#,
            r#"{"update":"SecurityVersion increased","package":"a","new version":5}"#,
            r#"{"update":"SecurityVersion increased","package":"gone","new version":6}"#,
            r#"{"update":"Complete Manifest updated","manifestFingerprint":"ab"}"#,
            r#"{"update":"SecurityVersion increased","package":"b","new version":7}"#,
            r#"{"update":"Secret set","user":"u","secret":"s","type":"plain"}"#,
            r#"{"update":"SecurityVersion increased","package":"b","new version":8}"#,
        ];
        let versions = logged_versions(&log.map(str::to_owned)).unwrap();
        assert_eq!(versions, BTreeMap::from([("b".to_owned(), 8)]));
        assert!(logged_versions(&["no json".to_owned()]).is_err());
    }
}
