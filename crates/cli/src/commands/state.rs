//! `marblerun state inspect|export`: looking into a sealed state, and taking it elsewhere, without a Coordinator.

mod kubernetes;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use marblerun_sealing::{HostKeyFile, Plain, Sealers};
use marblerun_store::backup::{
    Condition, Contents, OpenedBy, OpenedState, export_to_upstream, inspect_key, open_bytes, open_state,
};
use serde_json::{Value, json};

use super::backup::{time, to_json, to_text};
use crate::args::{ExportFormat, Global, OpenArgs, StateCommand};
use crate::output::{self, Output, warn};
use crate::state_secret::Source;

/// Most counters that are listed for people; `--format json` has all.
const SHOWN_COUNTERS: usize = 20;

/// Runs one of them.
pub async fn run(global: &Global, output: &Output<'_>, command: StateCommand) -> Result<()> {
    match command {
        StateCommand::Inspect { source, open, sealed_key } => inspect(output, &source, &open, sealed_key),
        StateCommand::Export { source, in_cluster, to, open, no_sealed_key } => {
            let source = match source {
                Some(path) => Source::find(&path)?,
                None => super::backup::state_in_cluster(global, &in_cluster).await?,
            };
            match to {
                ExportFormat::Upstream => export(output, &source, &open, !no_sealed_key),
                ExportFormat::UpstreamKubernetes => kubernetes::export(global, output, &source, &open, !no_sealed_key),
            }
        }
    }
}

fn inspect(output: &Output<'_>, source: &Path, open: &OpenArgs, sealed_key: bool) -> Result<()> {
    if !sealed_key && open.at_hand.is_empty() {
        if open.at_hand.recoverydata.is_some() {
            bail!("recovery data alone opens nothing: add --key FILE for each party that is needed");
        }
        return header(output, source);
    }
    let opened = unseal(&Source::find(source)?, open, sealed_key)?;
    let contents = Contents::of(&opened.state);
    let mut value = to_json(&opened.facts);
    if let Value::Object(map) = &mut value {
        map.insert("openedBy".to_owned(), json!(by(&opened)));
        map.insert("notes".to_owned(), json!(opened.notes));
        map.insert("contents".to_owned(), json!(contents));
    }
    opened.notes.iter().for_each(|note| warn(note));
    output.result(&value, || describe(&opened, &contents))
}

/// What can be told without a key.
fn header(output: &Output<'_>, source: &Path) -> Result<()> {
    let facts = Source::find(source)?.inspect()?;
    let mut value = to_json(&facts);
    let key = source.is_dir().then(|| inspect_key(source));
    if let (Some((kind, details)), Value::Object(map)) = (&key, &mut value) {
        map.insert("sealedKey".to_owned(), json!({"kind": kind, "details": details}));
    }
    output.result(&value, || {
        let mut text = to_text(&facts);
        if let Some((kind, details)) = &key {
            let what = match *kind {
                "missing" => "none: it opens by recovery alone",
                "ours" => "of this program; slots:",
                "upstream_bare" => "of the Go Coordinator without enclave:",
                _ => "cannot be used here:",
            };
            text.push('\n');
            text.push_str(&output::row("sealed_key", &format!("{what} {}", details.join(", "))));
        }
        text
    })?;
    match &facts.condition {
        Condition::Refused(_) => bail!("{} cannot be opened as it is", facts.path.display()),
        _ => Ok(()),
    }
}

fn export(output: &Output<'_>, source: &Source, open: &OpenArgs, bare_key: bool) -> Result<()> {
    let folder = match output.file() {
        Some("-") | None => bail!("name the folder to write to: -o DIR (for JSON, add --format json)"),
        Some(folder) => Path::new(folder),
    };
    let opened = unseal(source, open, true)?;
    let exported = export_to_upstream(&opened.state, folder, bare_key, jiff::Timestamp::now())?;
    opened.notes.iter().chain(&exported.notes).for_each(|note| warn(note));
    let contents = Contents::of(&opened.state);
    let fingerprint = contents.manifest.as_ref().map(|manifest| manifest.fingerprint.clone());
    let value = json!({
        "sealedData": exported.sealed_data,
        "sealedKey": exported.sealed_key,
        "rootFingerprint": contents.root_fingerprint,
        "manifestFingerprint": fingerprint,
        "openedBy": by(&opened),
        "notes": opened.notes.iter().chain(&exported.notes).collect::<Vec<_>>(),
    });
    output.report(&value, || {
        let mut lines = vec![format!("Exported {} to {}", source.place().display(), exported.sealed_data.display())];
        lines.extend(exported.sealed_key.iter().map(|path| format!("Its key, in the clear: {}", path.display())));
        lines.push(output::row("root fingerprint", &contents.root_fingerprint));
        lines.push(output::row("manifest fingerprint", &fingerprint.unwrap_or_default()));
        lines.push(match (exported.sealed_key.is_some(), contents.recovery.first()) {
            (true, None) => {
                "Put both files into the seal directory of the Go Coordinator (without enclave).".to_owned()
            }
            (true, Some(_)) => {
                "Put both files into the seal directory of the Go Coordinator (without enclave), or sealed_data alone \
                 and recover with the same recovery secrets."
                    .to_owned()
            }
            (false, _) => "Put it into the seal directory of the Go Coordinator, and recover with the same recovery \
                           secrets."
                .to_owned(),
        });
        lines.join("\n")
    })
}

/// Opens it with the keys at hand, or, if that is wanted, with its own `sealed_key`.
fn unseal(source: &Source, open: &OpenArgs, by_sealed_key: bool) -> Result<OpenedState> {
    let with = open.at_hand.read()?;
    let host = match &open.simulation_host_key {
        Some(path) if !path.as_os_str().is_empty() => Sealers::simulation(HostKeyFile::new(path)),
        _ => Sealers::simulation(Plain),
    };
    let opened = match source {
        Source::File(path) => open_state(path, &with, by_sealed_key.then_some(&host)),
        Source::Secret(_) if open.at_hand.is_empty() => {
            bail!("the sealed_key of a Secret opens on its hosts alone: add --key FILE for each party that is needed")
        }
        Source::Secret(sealed) => open_bytes(sealed.sealed_data.clone(), &sealed.place, &with),
    };
    opened.with_context(|| format!("opening {}", source.place().display()))
}

fn by(opened: &OpenedState) -> &'static str {
    match opened.opened_by {
        OpenedBy::RecoveryKeys => "recovery keys",
        OpenedBy::SealedKey => "sealed_key",
    }
}

fn describe(opened: &OpenedState, contents: &Contents) -> String {
    let mut lines =
        vec![format!("{} ({} bytes), opened with {}", opened.facts.path.display(), opened.facts.bytes, by(opened))];
    let mut row = |label: &str, value: String| lines.push(output::row(label, &value));
    row("phase", contents.phase.to_owned());
    if let (Some(sequence), Some(milliseconds)) = (opened.sequence, opened.time_ms) {
        row("time", time(milliseconds.cast_signed()));
        row("sequence", sequence.to_string());
        row("deployment", contents.deployment_id.clone());
        row("incarnation", contents.incarnation.to_string());
    }
    row("root fingerprint", contents.root_fingerprint.clone());
    if let Some(manifest) = &contents.manifest {
        row("manifest fingerprint", manifest.fingerprint.clone());
        let mode = if manifest.seal_mode.is_empty() { "ProductKey" } else { &manifest.seal_mode };
        row("seal mode", mode.to_owned());
        if !manifest.feature_gates.is_empty() {
            row("feature gates", manifest.feature_gates.join(", "));
        }
    }
    for set in &contents.recovery {
        row("recovery", format!("{} of {}: {}", set.threshold, set.parties.len(), set.parties.join(", ")));
    }
    if contents.recovery.is_empty() {
        row("recovery", "no recovery keys".to_owned());
    }
    row("update log", format!("{} entries", contents.update_log_entries));
    if let Some(update) = &contents.pending_update {
        let users =
            update.users.iter().map(|(name, done)| format!("{name} ({})", if *done { "yes" } else { "not yet" }));
        row(
            "pending update",
            format!(
                "{}, {} acknowledgements missing: {}",
                update.fingerprint,
                update.missing_acknowledgments,
                users.collect::<Vec<_>>().join(", ")
            ),
        );
    }
    for package in &contents.packages {
        let version = package
            .security_version
            .map_or_else(|| "no SecurityVersion".to_owned(), |svn| format!("SecurityVersion {svn}"));
        let declared = package.security_version_of_manifest;
        let updated = match declared.filter(|declared| Some(*declared) != package.security_version) {
            Some(declared) => format!(" (manifest: {declared})"),
            None => String::new(),
        };
        row("package", format!("{}: {version}{updated}{}", package.name, if package.debug { ", debug" } else { "" }));
    }
    for marble in &contents.marbles {
        let limit = match marble.max_activations {
            0 => String::new(),
            limit => format!(", {} of {limit} activations", marble.activations),
        };
        row("Marble", format!("{} (package {}){limit}", marble.name, marble.package));
    }
    for user in &contents.users {
        let granted = user.permissions.iter().map(|(permission, names)| match names.as_slice() {
            [] => (*permission).to_owned(),
            names => format!("{permission} [{}]", names.join(", ")),
        });
        row("user", format!("{}: {}", user.name, granted.collect::<Vec<_>>().join("; ")));
    }
    for secret in &contents.secrets {
        let size = if secret.size == 0 { String::new() } else { format!(" {}", secret.size) };
        let kind = if secret.user_defined { ", user-defined" } else { "" };
        let previous = if secret.has_previous { ", with a previous value" } else { "" };
        row("secret", format!("{}: {}{size}{kind}, {}{previous}", secret.name, secret.r#type, secret.value));
    }
    for counter in contents.counters.iter().take(SHOWN_COUNTERS) {
        row("counter", format!("{} of {} {}: {}", counter.name, counter.marble_type, counter.uuid, counter.value));
    }
    if let Some(more @ 1..) = contents.counters.len().checked_sub(SHOWN_COUNTERS) {
        row("counter", format!("and {more} more (--format json lists them)"));
    }
    lines.join("\n")
}
