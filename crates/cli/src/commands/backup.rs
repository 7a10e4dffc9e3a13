//! `marblerun backup create|list|inspect|verify|restore`.

mod in_cluster;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use comfy_table::Table;
use marblerun_api::bytes::Base64;
use marblerun_store::backup::{self, Condition, Created, Facts, Incoming, Quorum, VerifyWith, scheme_name};
use marblerun_store::format::{SEALED_KEY, Signature};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::args::{AtHand, BackupCommand, ClientCert, Global, InCluster};
use crate::output::{self, Output, warn};
use crate::state_secret::{MOST_VALUES, Source, StateSecret};
use crate::{files, private_key, prompt, recovery_key, trust};

/// Runs one of them.
pub async fn run(global: &Global, output: &Output<'_>, command: BackupCommand) -> Result<()> {
    match command {
        BackupCommand::Create { destination, in_cluster, .. } if in_cluster.kubernetes => {
            let (created, secret) = in_cluster::create(global, &in_cluster, &destination).await?;
            report(output, &created, secret.as_ref())
        }
        BackupCommand::Create { source, destination, client, .. } => {
            let created = create(global, &source.unwrap_or_default(), &destination, &client).await?;
            report(output, &created, None)
        }
        BackupCommand::List { in_cluster, .. } if in_cluster.kubernetes => {
            in_cluster::list(global, &in_cluster, output).await
        }
        BackupCommand::List { dir, .. } => list(output, &dir.unwrap_or_default()),
        BackupCommand::Inspect { backup } => inspect(output, &backup),
        BackupCommand::Verify { backup, at_hand } => verify(output, &backup, &at_hand),
        BackupCommand::Restore { backup, options, .. } if options.in_cluster.kubernetes => {
            in_cluster::restore(global, output, &backup, &options).await
        }
        BackupCommand::Restore { backup, seal_dir, options } => {
            let seal_dir = seal_dir.unwrap_or_default();
            if options.force {
                // Scripts say --force and are not asked.
                let question = format!(
                    "Put {} in place of whatever is in {}, even a newer state or another deployment?",
                    backup.display(),
                    seal_dir.display()
                );
                prompt::confirm(global, &question).await?;
            }
            restore(output, &backup, &seal_dir, options.force)
        }
    }
}

/// The state in a cluster.
pub(super) async fn state_in_cluster(global: &Global, in_cluster: &InCluster) -> Result<Source> {
    in_cluster::state(global, in_cluster).await
}

/// What a backup is, without a key.
fn inspect(output: &Output<'_>, backup: &Path) -> Result<()> {
    let source = Source::find(backup)?;
    let facts = source.inspect()?;
    output.result(&with_secret(to_json(&facts), source.secret()), || {
        let secret = source.secret().map(secret_in_words).unwrap_or_default();
        format!("{}{secret}", to_text(&facts))
    })?;
    match &facts.condition {
        // For scripts: a file that cannot be restored is a failure.
        Condition::Refused(_) => bail!("{} is not a backup that can be restored", facts.path.display()),
        _ => Ok(()),
    }
}

/// From a seal directory, if there is one of that name, else from the Coordinator at that address.
async fn create(global: &Global, source: &str, destination: &Path, client: &ClientCert) -> Result<Created> {
    let now = jiff::Timestamp::now();
    if Path::new(source).exists() {
        return Ok(backup::create(Path::new(source), destination, now)?);
    }
    if source.contains('/') {
        bail!("{source} does not exist, and is no address of a Coordinator either");
    }
    let identity = super::identity(global, source, client)?;
    let client = trust::connect(global, source, Some(identity)).await?;
    // A place first: the Coordinator records that it handed out a backup.
    let mut incoming = Incoming::begin(destination)?;
    client
        .backup(|bytes| incoming.write(bytes).map_err(std::io::Error::other))
        .await
        .context("receiving the backup")?;
    Ok(incoming.finish(now)?)
}

fn report(output: &Output<'_>, created: &Created, secret: Option<&StateSecret>) -> Result<()> {
    if created.facts.recovery.is_empty() {
        warn(match secret {
            Some(_) => "the manifest names no recovery keys: this backup opens on hosts that have its key only",
            None => "the manifest names no recovery keys: this backup opens on the host of this Coordinator only",
        });
    }
    if secret.is_some_and(|secret| !secret.can_be_applied()) {
        warn(
            "'kubectl apply' cannot restore this backup (its annotation would be too long); 'kubectl replace --force' can",
        );
    }
    output.result(&with_secret(to_json(&created.facts), secret), || {
        format!("{}\n{}", created.path.display(), summary(&created.facts))
    })
}

fn list(output: &Output<'_>, dir: &Path) -> Result<()> {
    let mut backups = backup::list(dir)?;
    for entry in dir.read_dir().with_context(|| format!("listing {}", dir.display()))? {
        // What cannot be read is none.
        if let Ok(Source::Secret(sealed)) = Source::find(&entry?.path()) {
            backups.push(sealed.inspect()?);
        }
    }
    backups.sort_by_key(|facts| {
        (facts.sealed.as_ref().map(|sealed| (sealed.time_ms, sealed.sequence)), facts.path.clone())
    });
    listed(output, &backups, &dir.display().to_string())
}

fn listed(output: &Output<'_>, backups: &[Facts], place: &str) -> Result<()> {
    output.result(&backups.iter().map(to_json).collect::<Vec<_>>(), || {
        if backups.is_empty() {
            return format!("no backups in {place}");
        }
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["FILE", "TIME", "SEQUENCE", "SIZE", "CONDITION", "DEPLOYMENT"]);
        for facts in backups {
            let sealed = facts.sealed.as_ref();
            table.add_row([
                facts.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                sealed.map_or_else(String::new, |sealed| time(sealed.time_ms)),
                sealed.map_or_else(String::new, |sealed| sealed.sequence.to_string()),
                facts.bytes.to_string(),
                facts.condition.code().to_owned(),
                sealed.map_or_else(String::new, |sealed| hex::encode(sealed.deployment_id)),
            ]);
        }
        table.trim_fmt()
    })
}

fn restore(output: &Output<'_>, backup: &Path, seal_dir: &Path, force: bool) -> Result<()> {
    let restored = match Source::find(backup)? {
        Source::File(path) => backup::restore(&path, seal_dir, force)?,
        Source::Secret(sealed) => {
            // In a file for as long as it takes.
            let mut file = tempfile::NamedTempFile::new().context("unpacking the backup")?;
            file.write_all(&sealed.sealed_data).context("unpacking the backup")?;
            backup::restore(file.path(), seal_dir, force)?
        }
    };
    let mut value = to_json(&restored.facts);
    if let Value::Object(map) = &mut value {
        map.insert("archived".to_owned(), json!(restored.archived));
        map.insert("coordinatorRunning".to_owned(), json!(restored.running));
        map.insert("keyHere".to_owned(), json!(restored.key_here));
    }
    output.result(&value, || {
        let mut lines = vec![format!("Restored {} into {}", backup.display(), seal_dir.display())];
        lines.extend(restored.archived.iter().map(|path| format!("What it replaced is kept as {}", path.display())));
        // Of a file of the original, the header does not tell whether there are recovery keys.
        let recoverable = restored.facts.sealed.is_none() || !restored.facts.recovery.is_empty();
        lines.push(next_step(restored.running, restored.key_here, recoverable).to_owned());
        lines.join("\n")
    })
}

/// What to do after a restore.
fn next_step(running: bool, key_here: bool, recoverable: bool) -> &'static str {
    match (running, key_here, recoverable) {
        (true, ..) => "A Coordinator runs there: it writes nothing any more. Restart it to load the backup.",
        (false, true, _) => "Start the Coordinator. This host has a key for the backup.",
        (false, false, true) => {
            "Start the Coordinator. This host has no key for the backup: it will be in recovery mode, see 'marblerun recover'."
        }
        (false, false, false) => {
            "The backup names no recovery keys, and this host has no key for it: it opens only with the sealed_key and the \
             sealing key of the host that wrote it."
        }
    }
}

/// What `manifest set` answered.
#[derive(Deserialize)]
struct RecoveryData {
    #[serde(rename = "RecoverySecrets")]
    secrets: BTreeMap<String, Base64>,
}

fn verify(output: &Output<'_>, backup: &Path, at_hand: &AtHand) -> Result<()> {
    if at_hand.is_empty() {
        bail!(
            "say what opens the backup: --key FILE for each party that is needed, --pkcs11-config FILE, or --secret FILE"
        );
    }
    let with = at_hand.read()?;
    let proof = match Source::find(backup)? {
        Source::File(path) => backup::verify(&path, &with)?,
        Source::Secret(sealed) => backup::verify_bytes(sealed.sealed_data, &sealed.place, &with)?,
    };
    if proof.header_altered {
        warn("the readable header is not the one inside; a Coordinator goes by the one inside");
    }
    let value = json!({
        "path": proof.facts.path,
        "rootFingerprint": hex::encode(proof.root_fingerprint),
        "manifestFingerprint": hex::encode(proof.manifest_fingerprint),
        "sequence": proof.sequence,
        "time": proof.time_ms.map(|milliseconds| time(milliseconds.cast_signed())),
        "headerAltered": proof.header_altered,
        "quorum": match &proof.quorum {
            Quorum::Proven(names) => json!({"proven": true, "parties": names}),
            Quorum::NotChecked => json!({"proven": false, "parties": []}),
        },
    });
    output.result(&value, || {
        let mut lines = vec!["OK: the backup opens, and what is inside fits together".to_owned()];
        let mut row = |label: &str, value: String| lines.push(output::row(label, &value));
        row("root fingerprint", hex::encode(proof.root_fingerprint));
        row("manifest fingerprint", hex::encode(proof.manifest_fingerprint));
        if let (Some(sequence), Some(milliseconds)) = (proof.sequence, proof.time_ms) {
            row("sequence", sequence.to_string());
            row("time", time(milliseconds.cast_signed()));
        }
        row(
            "recovery",
            match &proof.quorum {
                Quorum::Proven(names) => format!("a Coordinator would accept these keys: {}", names.join(", ")),
                Quorum::NotChecked => {
                    "not checked whether a Coordinator would accept it (no private keys given)".to_owned()
                }
            },
        );
        lines.join("\n")
    })
}

impl AtHand {
    /// Whether there is nothing that could open anything.
    pub(super) fn is_empty(&self) -> bool {
        self.key.is_empty() && self.secret.is_empty() && self.token.pkcs11_config.is_none()
    }

    /// Reads the files.
    pub(super) fn read(&self) -> Result<VerifyWith> {
        let mut with = VerifyWith::default();
        with.device_keys.extend(recovery_key::on_token(&self.token)?);
        for path in &self.key {
            with.private_keys.push(private_key::read(path)?);
        }
        for path in &self.secret {
            with.secrets.push(Zeroizing::new(files::read(path)?));
        }
        if let Some(path) = &self.recoverydata {
            let data: RecoveryData = serde_json::from_slice(&files::read(path)?)
                .with_context(|| format!("{} is not recovery data as 'manifest set' writes it", path.display()))?;
            with.recovery_data = data.secrets.into_iter().map(|(name, Base64(bytes))| (name, bytes)).collect();
        }
        if let Some(path) = &self.root {
            let der = CertificateDer::from_pem_slice(&files::read(path)?)
                .with_context(|| format!("{} holds no certificate", path.display()))?;
            with.root_certificate = Some(der.to_vec());
        }
        Ok(with)
    }
}

/// Unix milliseconds as RFC 3339.
pub(super) fn time(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds).map_or_else(|_| milliseconds.to_string(), |time| time.to_string())
}

fn signature(signature: &Signature) -> &'static str {
    match signature {
        Signature::Absent => "absent",
        Signature::Valid => "valid",
        Signature::Invalid => "invalid",
    }
}

/// What a file tells without a key, as JSON.
pub(super) fn to_json(facts: &Facts) -> Value {
    let recovery: Vec<Value> = facts
        .recovery
        .iter()
        .map(|set| {
            json!({
                // Upstream's header tells hashes alone.
                "scheme": if set.threshold == 0 { "unknown" } else { scheme_name(set.scheme) },
                "threshold": set.threshold,
                "parties": set.parties.iter().map(|party| json!({
                    "name": party.name,
                    "encryptedSecret": !party.encrypted_secret.is_empty(),
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let mut value = json!({
        "path": facts.path,
        "bytes": facts.bytes,
        "condition": facts.condition.code(),
        "recovery": recovery,
    });
    if let (Some(sealed), Value::Object(map)) = (&facts.sealed, &mut value) {
        map.insert("deploymentId".to_owned(), json!(hex::encode(sealed.deployment_id)));
        map.insert("incarnation".to_owned(), json!(sealed.incarnation));
        map.insert("sequence".to_owned(), json!(sealed.sequence));
        map.insert("time".to_owned(), json!(time(sealed.time_ms)));
        map.insert("rootFingerprint".to_owned(), json!(hex::encode(sealed.root_fingerprint)));
        map.insert("manifestFingerprint".to_owned(), json!(hex::encode(sealed.manifest_fingerprint)));
        map.insert("headerSignature".to_owned(), json!(signature(&sealed.signature)));
        map.insert("writer".to_owned(), json!(sealed.writer));
    }
    if let (Some(layout), Value::Object(map)) = (&facts.upstream, &mut value) {
        let hashes = facts.recovery.iter().flat_map(|set| &set.unassigned_commitments).map(hex::encode);
        let layout = json!({
            "headerBytes": layout.header.len(),
            "sealedBytes": layout.sealed_bytes,
            "recoveryHashes": hashes.collect::<Vec<_>>(),
        });
        map.insert("upstream".to_owned(), layout);
    }
    value
}

/// With what is told of the Secret that it is in, if it is in one.
fn with_secret(mut value: Value, secret: Option<&StateSecret>) -> Value {
    if let (Some(secret), Value::Object(map)) = (secret, &mut value) {
        map.insert("secret".to_owned(), about_secret(secret));
    }
    value
}

/// What a Secret is, as JSON.
fn about_secret(secret: &StateSecret) -> Value {
    json!({
        "name": secret.name,
        "namespace": secret.namespace,
        "values": secret.data.keys().collect::<Vec<_>>(),
        "bytes": secret.bytes(),
        "parts": secret.parts.keys().map(|part| part.name(&secret.name)).collect::<Vec<_>>(),
        "keyIsForIt": secret.fitting_key().is_some(),
        "kubectlApply": secret.can_be_applied(),
    })
}

/// What a Secret is, in further lines for people.
fn secret_in_words(secret: &StateSecret) -> String {
    let place = secret.namespace.as_ref().map(|namespace| format!(" of namespace {namespace}")).unwrap_or_default();
    let key = match (secret.value(SEALED_KEY), secret.fitting_key()) {
        (None, _) => "none: it opens by recovery alone",
        (_, None) => "of another state: it opens by recovery alone",
        _ => "for hosts that have its key; elsewhere it opens by recovery",
    };
    let parts: Vec<String> = secret.parts.keys().map(|part| part.name(&secret.name)).collect();
    let apply =
        if secret.can_be_applied() { "works where it is absent or unchanged" } else { "fails: annotation too long" };
    let mut rows = vec![
        ("Secret", format!("{}{place}", secret.name)),
        ("its size", format!("{} bytes of {MOST_VALUES}", secret.bytes())),
        ("sealed_key", key.to_owned()),
        ("kubectl apply", format!("{apply}; 'kubectl replace --force' always works")),
    ];
    if !parts.is_empty() {
        rows.push(("parts", parts.join(", ")));
    }
    rows.iter().map(|(label, value)| format!("\n{}", output::row(label, value))).collect()
}

fn summary(facts: &Facts) -> String {
    match &facts.sealed {
        Some(sealed) => format!("sequence {} of {}, {} bytes", sealed.sequence, time(sealed.time_ms), facts.bytes),
        None => format!("{} bytes", facts.bytes),
    }
}

/// What the recovery hash map of an upstream file says.
fn upstream_header(facts: &Facts) -> String {
    match facts.recovery.first().map(|set| set.unassigned_commitments.len()) {
        None => "unreadable or lost; recovery searches without it".to_owned(),
        Some(0) => "no recovery hash map: at most one recovery key".to_owned(),
        Some(parties) => format!("recovery hash map of {parties} parties; how many of them are needed it does not say"),
    }
}

/// What a file tells without a key, for people.
pub(super) fn to_text(facts: &Facts) -> String {
    let mut lines = vec![format!("{} ({} bytes)", facts.path.display(), facts.bytes)];
    let mut row = |label: &str, value: String| lines.push(output::row(label, &value));
    row(
        "condition",
        match &facts.condition {
            Condition::Whole => "whole".to_owned(),
            Condition::Torn { bytes } => format!("whole; {bytes} bytes behind it were never durable and are dropped"),
            Condition::Upstream => "written by the Go Coordinator; only its key tells whether it is whole".to_owned(),
            Condition::Refused(refusal) => format!("{}: {refusal}", refusal.code()),
        },
    );
    if let Some(sealed) = &facts.sealed {
        row("time", time(sealed.time_ms));
        row("sequence", sealed.sequence.to_string());
        row("deployment", hex::encode(sealed.deployment_id));
        row("incarnation", sealed.incarnation.to_string());
        row("root fingerprint", hex::encode(sealed.root_fingerprint));
        row("manifest fingerprint", hex::encode(sealed.manifest_fingerprint));
        row("header signature", signature(&sealed.signature).to_owned());
        row("written by", sealed.writer.clone());
    }
    if let Some(layout) = &facts.upstream {
        row("header", format!("{} bytes: {}", layout.header.len(), upstream_header(facts)));
        row("sealed", format!("{} bytes: nonce, AES-GCM ciphertext, tag", layout.sealed_bytes));
        for hash in facts.recovery.iter().flat_map(|set| &set.unassigned_commitments) {
            row("recovery secret", format!("SHA-256 {}", hex::encode(hash)));
        }
    }
    for set in facts.recovery.iter().filter(|_| facts.sealed.is_some()) {
        let names: Vec<&str> = set.parties.iter().map(|party| party.name.as_str()).collect();
        let of = names.len().max(set.unassigned_commitments.len());
        row("recovery", format!("{} of {of}: {}", set.threshold, names.join(", ")));
    }
    if facts.recovery.is_empty() && facts.sealed.is_some() {
        row("recovery", "no recovery keys: opens on its own host only".to_owned());
    }
    lines.push(
        "Nothing here is proven but what a valid signature covers; 'marblerun backup verify' proves it.".to_owned(),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_restore_recovery_is_advised_only_where_there_are_recovery_keys() {
        assert!(next_step(false, false, true).contains("marblerun recover"));
        for step in [next_step(false, false, false), next_step(false, true, true), next_step(true, false, true)] {
            assert!(!step.contains("marblerun recover"), "{step}");
        }
    }
}
