//! `marblerun manifest ..`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use marblerun_api::bytes::Base64;
use marblerun_client::Client;
use marblerun_manifest::check::{CheckEnv, Finding, Report};
use serde_json::{Value, json};

use crate::args::{Global, ManifestCommand};
use crate::files::Reserved;
use crate::manifest_file;
use crate::output::{Output, warn};
use crate::trust::{self, Session};

/// Runs one of them.
pub async fn run(global: &Global, output: &Output<'_>, command: ManifestCommand) -> Result<()> {
    match command {
        ManifestCommand::Set { manifest, coordinator, recoverydata, discard_state } => {
            set(global, output, &manifest, &coordinator, recoverydata, discard_state).await
        }
        ManifestCommand::Get { coordinator, signature, display_update, keep_cert } => {
            get(global, output, &coordinator, signature, display_update, keep_cert).await
        }
        ManifestCommand::Verify { manifest, coordinator } => verify(global, output, &manifest, &coordinator).await,
        ManifestCommand::Log { coordinator } => log(global, output, &coordinator).await,
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
    coordinator: &str,
    recoverydata: Option<PathBuf>,
    discard_state: bool,
) -> Result<()> {
    if let Some(file) = output.file().filter(|file| *file != "-") {
        // Lest somebody believes that it takes the recovery data, and learns too late that it does not.
        bail!("manifest set has no use for --output {file}: --recoverydata names the file for the recovery data");
    }
    let raw = manifest_file::load(manifest)?;
    // What is written after the manifest is in force must have its place before the Coordinator is asked.
    trust::prepare_cache(global)?;
    // Recovery data is answered once.
    let reserved = recoverydata.as_deref().map(Reserved::new).transpose()?;
    let session = Session::attest(global, coordinator).await?;
    let client = session.client()?;
    if !discard_state && client.status().await.is_ok_and(|status| status.code == 1) {
        bail!(
            "the Coordinator is in recovery mode: a sealed state waits there, and setting a manifest gives it up. \
             'marblerun recover' brings it back; to really begin anew, add --discard-state"
        );
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
    deliver_recovery_data(output, &secrets, reserved, recoverydata.as_deref(), &fingerprint)?;
    let kept = session.save_quote(global).and_then(|()| session.write_cache(global));
    kept.context("the manifest is set; what failed is")
}

/// `{"RecoverySecrets": {..}}`, one line: the form users' scripts read.
fn recovery_data(secrets: &BTreeMap<String, Base64>) -> Result<String> {
    Ok(serde_json::to_string(&json!({"RecoverySecrets": secrets}))?)
}

fn deliver_recovery_data(
    output: &Output<'_>,
    secrets: &BTreeMap<String, Base64>,
    reserved: Option<Reserved>,
    path: Option<&Path>,
    fingerprint: &str,
) -> Result<()> {
    let data = recovery_data(secrets)?;
    let json = |saved: Option<&Path>| json!({"manifestFingerprint": fingerprint, "recoveryDataFile": saved, "recoverySecrets": if saved.is_some() { json!(null) } else { json!(secrets) }});
    if secrets.is_empty() {
        return output.result(&json(None), String::new);
    }
    let (Some(reserved), Some(path)) = (reserved, path) else {
        return output.result(&json(None), || data.clone());
    };
    match reserved.write(data.as_bytes()) {
        Ok(()) => output.result(&json(Some(path)), || format!("Recovery data saved to: {}", path.display())),
        Err(error) => {
            // The disk filled up in the last moment. The data must not be lost.
            warn(
                "failed saving recovery data to file. Ensure that what follows on stdout is stored in a secure location",
            );
            output.result(&json(None), || data.clone())?;
            Err(error.context("the manifest is set, but the recovery data is not in its file"))
        }
    }
}

async fn get(
    global: &Global,
    output: &Output<'_>,
    coordinator: &str,
    signature: bool,
    display_update: bool,
    keep_cert: bool,
) -> Result<()> {
    let session = Session::attest(global, coordinator).await?;
    let client = session.client()?;
    output.progress("Successfully verified Coordinator, now requesting manifest");
    let answer = client.manifest().await.context("getting manifest: retrieving Coordinator manifest")?;
    let mut text = String::from_utf8(answer.manifest.0).map_err(|_| anyhow!("the manifest is not UTF-8"))?;
    if display_update {
        text = with_updates(&text, &client).await?;
    }
    if output.is_json() {
        let manifest: Value = serde_json::from_str(&text).context("the manifest is not plain JSON")?;
        output
            .result(&json!({"manifestFingerprint": answer.manifest_fingerprint, "manifest": manifest}), String::new)?;
    } else {
        if signature {
            text = format!("{{\n\"ManifestSignature\": \"{}\",\n\"Manifest\": {text}}}", answer.manifest_fingerprint);
        }
        output.data(text.as_bytes(), |_| None)?;
    }
    session.save_quote(global)?;
    if keep_cert { session.write_cache(global) } else { Ok(()) }
}

/// The manifest with the security versions of package updates that came after it.
async fn with_updates(text: &str, client: &Client) -> Result<String> {
    let mut manifest: Value = serde_json::from_str(text).context("the manifest is not plain JSON")?;
    for line in client.update_log().await.context("retrieving update log")? {
        let entry: Value = serde_json::from_str(&line).context("reading the update log")?;
        if let (Some(package), Some(version)) = (entry.get("package").and_then(Value::as_str), entry.get("new version"))
            && let Some(package) = entry_of(&mut manifest, "Packages").and_then(|packages| packages.get_mut(package))
        {
            set_field(package, "SecurityVersion", version.clone());
        } else if entry.get("update").and_then(Value::as_str) == Some("Complete Manifest updated") {
            // Versions before a full update are part of neither manifest.
            manifest = serde_json::from_str(text)?;
        }
    }
    Ok(serde_json::to_string_pretty(&manifest)? + "\n")
}

/// A field by name, in any case, as the Coordinator reads it.
fn entry_of<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    value.as_object_mut()?.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn set_field(object: &mut Value, name: &str, value: Value) {
    if let Some(field) = entry_of(object, name) {
        *field = value;
    } else if let Some(map) = object.as_object_mut() {
        map.insert(name.to_owned(), value);
    }
}

async fn verify(global: &Global, output: &Output<'_>, manifest: &str, coordinator: &str) -> Result<()> {
    let local = if Path::new(manifest).exists() {
        manifest_file::fingerprint(&manifest_file::load(manifest.as_ref())?)
    } else {
        if manifest.len() != 64 {
            bail!("{manifest} is not a file and of invalid length to be a signature (needs to be 32 bytes)");
        }
        if hex::decode(manifest).is_err() {
            bail!("{manifest} is not a file and not a valid signature (needs to be in hex format)");
        }
        manifest.to_lowercase()
    };
    let session = Session::attest(global, coordinator).await?;
    let answer = session.client()?.manifest().await.context("getting Coordinator manifest")?;
    let remote = answer.manifest_fingerprint;
    if remote.is_empty() {
        bail!("Coordinator returned no manifest signature. Is the Coordinator in the correct state?");
    }
    if remote != local {
        bail!(
            "MarbleRun deployment is using a different manifest than expected: manifest hash does not match local hash: \
             \"{remote}\" != \"{local}\""
        );
    }
    output
        .result(&json!({"manifestFingerprint": remote, "verified": session.attested.verified}), || "OK".to_owned())?;
    session.save_quote(global)?;
    session.write_cache(global)
}

async fn log(global: &Global, output: &Output<'_>, coordinator: &str) -> Result<()> {
    let client = trust::cached_client(global, coordinator, None)?;
    output.progress("Successfully verified Coordinator, now requesting update log");
    let lines = client.update_log().await.context("retrieving update log: retrieving Coordinator update log")?;
    if output.is_json() {
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
