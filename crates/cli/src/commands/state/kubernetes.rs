//! `marblerun state export --to upstream-kubernetes`: the Secret, and the ConfigMap, that several Go Coordinators share.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use marblerun_install::names;
use marblerun_store::backup::{Contents, ExportedSecret, export_to_upstreams_secret};
use marblerun_store::format::{SEALED_DATA, SEALED_KEY};
use serde_json::json;

use super::{by, unseal};
use crate::args::{Global, OpenArgs};
use crate::commands::kubernetes::namespace;
use crate::files;
use crate::output::{self, Output, warn};
use crate::state_secret::{Source, StateSecret};

/// Writes them as one file for `kubectl`.
pub(super) fn export(
    global: &Global,
    output: &Output<'_>,
    source: &Source,
    open: &OpenArgs,
    bare_key: bool,
) -> Result<()> {
    let path = match output.file() {
        Some("-") | None => bail!("name the file to write: -o FILE (for JSON, add --format json)"),
        Some(path) => Path::new(path),
    };
    let namespace = namespace(global)?;
    let opened = unseal(source, open, true)?;
    let exported = export_to_upstreams_secret(&opened.state, bare_key, jiff::Timestamp::now())?;
    opened.notes.iter().chain(&exported.notes).for_each(|note| warn(note));
    let contents = Contents::of(&opened.state);
    let fingerprint = contents.manifest.as_ref().map(|manifest| manifest.fingerprint.clone());
    let opens_by_itself = exported.sealed_key.is_some();
    let value = json!({
        "file": path,
        "namespace": namespace,
        "opensByItself": opens_by_itself,
        "rootFingerprint": contents.root_fingerprint,
        "manifestFingerprint": fingerprint,
        "openedBy": by(&opened),
        "notes": opened.notes.iter().chain(&exported.notes).collect::<Vec<_>>(),
    });
    files::write_new(path, objects(exported, &namespace).as_bytes())?;
    output.report(&value, || {
        let next = if opens_by_itself {
            "The Go Coordinators (without enclave) open it by themselves. In an enclave they must be recovered: export with \
             --no-sealed-key for that."
        } else {
            "The Go Coordinators will be in recovery mode: recover one with the same recovery secrets."
        };
        [
            format!("Exported {} to {}", source.place().display(), path.display()),
            output::row("root fingerprint", &contents.root_fingerprint),
            output::row("manifest fingerprint", &fingerprint.unwrap_or_default()),
            format!(
                "With all Coordinators stopped: kubectl replace --force -f {}, then start the Go Coordinators. {next}",
                path.display()
            ),
        ]
        .join("\n")
    })
}

fn objects(exported: ExportedSecret, namespace: &str) -> String {
    let object = |name: &str, data| StateSecret {
        name: name.to_owned(),
        namespace: Some(namespace.to_owned()),
        data,
        ..StateSecret::default()
    };
    let values = [(SEALED_DATA, Some(exported.sealed_data)), (SEALED_KEY, exported.sealed_key)];
    let values = values.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let secret = object(names::STATE_SECRET, values.collect());
    let about = ["State of MarbleRun for several Go Coordinators".to_owned()];
    let mut yaml = String::new();
    // Before the state that it opens. Where there is none, one of the Coordinators of here must not be left either.
    let map = object(names::KEK_CONFIG_MAP, exported.entry.into_iter().collect::<BTreeMap<_, _>>());
    yaml += &map.to_config_map();
    yaml += "---\n";
    yaml + &secret.to_yaml(&about)
}
