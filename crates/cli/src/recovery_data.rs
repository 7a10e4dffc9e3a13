//! Recovery data is answered once. It has a place before the Coordinator is asked, and another one if that fails:
//! a file, else a file among the user's settings, else the terminal. Nothing but all of them failing loses it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use marblerun_api::bytes::Base64;
use serde_json::{Map, Value, json};

use crate::context;
use crate::files::{self, Reserved};
use crate::output::{Output, note, warn, write_stdout};

/// Name to encrypted secret.
pub type Secrets = BTreeMap<String, Base64>;

/// Where recovery data will go.
pub struct Place {
    file: Option<(PathBuf, Reserved)>,
}

impl Place {
    /// Makes sure of the file that was named; without one (or with `-`) the data goes to stdout.
    pub fn prepare(path: Option<PathBuf>) -> Result<Self> {
        let file = match path {
            Some(path) if path != Path::new("-") => {
                let reserved = Reserved::new(&path)?;
                Some((path, reserved))
            }
            _ => None,
        };
        Ok(Self { file })
    }

    /// Puts the data in its place and prints the result of the command: `document`, with what became of the data.
    pub fn deliver(self, output: &Output<'_>, secrets: &Secrets, mut document: Map<String, Value>) -> Result<()> {
        let mut result = |saved: Option<&Path>, text: String| {
            let shown = if saved.is_some() { Value::Null } else { json!(secrets) };
            document.insert("recoveryDataFile".to_owned(), json!(saved));
            document.insert("recoverySecrets".to_owned(), shown);
            output.result(&document, || text)
        };
        if secrets.is_empty() {
            return result(None, String::new());
        }
        let data = serde_json::to_string(&json!({"RecoverySecrets": secrets}))?;
        let Some((path, reserved)) = self.file else {
            // Also a reader of stdout can go away in the last moment.
            return result(None, data.clone()).or_else(|error| rescue(&data, secrets, error));
        };
        match reserved.write(data.as_bytes()) {
            Ok(()) => result(Some(&path), format!("Recovery data saved to: {}", path.display())),
            Err(error) => rescue(&data, secrets, error),
        }
    }
}

/// The last resorts. Always an error: the data is not where it was wanted.
fn rescue(data: &str, secrets: &Secrets, error: anyhow::Error) -> Result<()> {
    let error = error.context("what was asked for is done, but the recovery data is not where it was wanted");
    match fallback(data) {
        Ok(path) => Err(error.context(format!("the recovery data is in {} instead: keep it", path.display()))),
        Err(also) => {
            warn(&format!("it could not be saved elsewhere either: {also:#}"));
            let mut lines = vec![
                "Error: Failed saving recovery data to file.".to_owned(),
                "Ensure the following is stored in a secure location:".to_owned(),
            ];
            lines.extend(secrets.iter().map(|(name, secret)| format!("{}: {}", json!(name), json!(secret))));
            let text = lines.join("\n");
            if write_stdout(format!("{text}\n").as_bytes()).is_err() {
                note(&text);
            }
            Err(error)
        }
    }
}

/// A new file among the user's settings.
fn fallback(data: &str) -> Result<PathBuf> {
    let dir = context::config_dir()?;
    std::fs::create_dir_all(&dir).with_context(|| format!("making folder {}", dir.display()))?;
    let name = format!("recovery-data-{}.json", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ"));
    let path = dir.join(name);
    files::write_new(&path, data.as_bytes())?;
    Ok(path)
}
