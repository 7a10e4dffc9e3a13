//! Is a decoded manifest one the Coordinator can run? Every finding at once, each with a stable code, a path and the
//! stage at which upstream would meet it.
//!
//! Errors are what upstream refuses too, in its order, so that the first error is the one its clients would see (where
//! upstream walks a map in random order, names are sorted here). The few that are stricter bound what a manifest may
//! cost: sizes and numbers of secrets. Warnings are what upstream accepts in silence although it is plainly a mistake
//! or a risk.

mod certificates;
mod config;
mod limits;
mod marbles;
mod notes;
mod packages;
mod recovery;
mod roles;
mod secrets;
mod template;
mod tls;
mod ttls;
mod usage;
mod users;
mod x509;

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

use crate::decode::DecodeError;
use crate::gojson::Note;
use crate::model::Manifest;

pub use limits::{
    MAX_CONNECTIONS, MAX_ENTRIES, MAX_FINDINGS, MAX_NAME, MAX_PERMISSIONS, MAX_RSA_BITS, MAX_RSA_WORK,
    MAX_SHARED_KEY_BITS, MAX_UNSHARED_KEY_BITS,
};
pub use x509::user_certificate;

/// When upstream meets a fault while a manifest is set; the order is the order of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Reading the JSON.
    Decode,
    /// Consistency of the manifest with itself.
    Check,
    /// Generating shared secrets.
    SecretsShared,
    /// Generating placeholders of per-Marble secrets.
    SecretsPrivate,
    /// Reading recovery keys.
    RecoveryKeys,
    /// Reading user certificates.
    Users,
    /// Trying the templates.
    Template,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 7] = [
        Self::Decode,
        Self::Check,
        Self::SecretsShared,
        Self::SecretsPrivate,
        Self::RecoveryKeys,
        Self::Users,
        Self::Template,
    ];

    /// The name in test vectors and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Check => "check",
            Self::SecretsShared => "secrets-shared",
            Self::SecretsPrivate => "secrets-private",
            Self::RecoveryKeys => "recovery-keys",
            Self::Users => "users",
            Self::Template => "template",
        }
    }

    /// What upstream puts before the text of an error of this stage when a manifest is set.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Decode => "unmarshaling manifest: ",
            Self::Check => "checking manifest: ",
            Self::SecretsShared => "generating secrets from manifest: ",
            Self::SecretsPrivate => "generating placeholder secrets from manifest: ",
            Self::RecoveryKeys => "generating recovery encryption key: ",
            Self::Users => "generating users from manifest: ",
            Self::Template => "running manifest template dry run: ",
        }
    }
}

/// One thing worth telling about a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The stage it belongs to.
    pub stage: Stage,
    /// Where, such as `Marbles.web.Package`; empty for the manifest as a whole.
    pub path: String,
    /// Stable name of this kind of finding.
    pub code: &'static str,
    /// What is wrong, and for warnings what follows from it.
    pub text: String,
}

impl Finding {
    /// The error text as upstream's API words it when a manifest is set.
    #[must_use]
    pub fn peer_text(&self) -> String {
        format!("{}{}", self.stage.prefix(), self.text)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.text);
        }
        write!(f, "{}: {}", self.path, self.text)
    }
}

/// What the checks found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Reasons to refuse the manifest, in upstream's order.
    pub errors: Vec<Finding>,
    /// What is accepted and should be known, by path.
    pub warnings: Vec<Finding>,
}

impl Report {
    /// Whether the manifest may be set, as far as it can be told without generating secrets.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.errors.is_empty()
    }

    /// The report on bytes that are no manifest at all.
    #[must_use]
    pub fn of_decode_error(error: &DecodeError) -> Self {
        let mut errors: Vec<Finding> = std::iter::once(error.first())
            .chain(error.all().iter().filter(|other| *other != error.first()))
            .map(|error| Finding {
                stage: Stage::Decode,
                path: error.path().to_owned(),
                code: "not-decodable",
                text: shortened(error.to_string()),
            })
            .collect();
        errors.dedup();
        Self { errors, warnings: Vec::new() }
    }

    /// Whether a further error would be kept; what costs time to word asks first.
    fn has_room_for_errors(&self) -> bool {
        self.errors.len() < limits::MAX_FINDINGS
    }

    /// The items of a list with their places, as long as there is something to say about them: a list can be wrong
    /// millions of times.
    fn each<'l, T>(&mut self, list: &'l [T], mut check: impl FnMut(&mut Self, usize, &'l T)) {
        for (index, item) in list.iter().enumerate() {
            if !self.has_room_for_errors() {
                return;
            }
            check(self, index, item);
        }
    }

    fn error(&mut self, stage: Stage, code: &'static str, path: impl Into<String>, text: impl Into<String>) {
        if self.has_room_for_errors() {
            self.errors.push(Finding { stage, path: path.into(), code, text: shortened(text) });
        }
    }

    fn warn(&mut self, code: &'static str, path: impl Into<String>, text: impl Into<String>) {
        if self.warnings.len() < limits::MAX_FINDINGS {
            let text = shortened(text);
            self.warnings.push(Finding { stage: Stage::Check, path: path.into(), code, text });
        }
    }
}

/// A text as far as it is told: what it quotes from a manifest may be long.
fn shortened(text: impl Into<String>) -> String {
    let mut text = text.into();
    if let Some((end, _)) = text.char_indices().nth(limits::MAX_TEXT) {
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// What the checks need to know of the world.
#[derive(Debug, Clone)]
pub struct CheckEnv {
    /// Against which certificates are expired.
    pub now: Timestamp,
    /// Names of the Coordinator's non-empty environment variables; `None` if this is not the Coordinator, so that
    /// what depends on them is a warning.
    pub variables: Option<BTreeSet<String>>,
}

/// Checks a decoded manifest.
#[must_use]
pub fn check(manifest: &Manifest, env: &CheckEnv) -> Report {
    let mut report = Report::default();
    limits::check_names(manifest, &mut report);
    if !report.is_accepted() {
        return report;
    }
    // Upstream's stage 2, in its order.
    packages::check_presence(manifest, &mut report);
    marbles::check_packages_and_tags(manifest, &mut report);
    tls::check(manifest, &mut report);
    ttls::check(manifest, &mut report);
    users::check_entries(manifest, &mut report);
    roles::check(manifest, &mut report);
    secrets::check_definitions(manifest, &mut report);
    config::check(manifest, env, &mut report);
    limits::check(manifest, &mut report);
    // Stages 4 to 9.
    secrets::check_generated(manifest, env, &mut report);
    recovery::check(manifest, &mut report);
    users::check_certificates(manifest, env, &mut report);
    template::check(manifest, &mut report);
    // What nobody refuses.
    packages::warn(manifest, &mut report);
    marbles::warn(manifest, &mut report);
    tls::warn(manifest, &mut report);
    ttls::warn(manifest, &mut report);
    users::warn(manifest, &mut report);
    roles::warn(manifest, &mut report);
    secrets::warn(manifest, env, &mut report);
    config::warn(manifest, &mut report);
    recovery::warn(manifest, &mut report);
    report.errors.sort_by_key(|finding| finding.stage);
    sort_by_path(&mut report.warnings);
    report
}

/// Decodes and checks raw bytes: everything there is to tell about them, and the manifest if they are one.
#[must_use]
pub fn review(raw: &[u8], env: &CheckEnv) -> (Option<Manifest>, Report) {
    match Manifest::decode_with_notes(raw) {
        Ok(decoded) => {
            let mut report = check(&decoded.value, env);
            report.warnings.extend(notes_as_warnings(&decoded.notes));
            sort_by_path(&mut report.warnings);
            (Some(decoded.value), report)
        }
        Err(error) => (None, Report::of_decode_error(&error)),
    }
}

/// What decoding noted, as warnings.
pub fn notes_as_warnings(notes: &[Note]) -> impl Iterator<Item = Finding> {
    notes.iter().map(notes::warning)
}

fn sort_by_path(findings: &mut [Finding]) {
    findings.sort_by(|a, b| (&a.path, a.code, &a.text).cmp(&(&b.path, b.code, &b.text)));
}

#[cfg(test)]
mod tests;
