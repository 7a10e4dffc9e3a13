//! A manifest that asks to be let in: decoded and checked, not yet in force.

use bytes::Bytes;
use jiff::Timestamp;
use marblerun_manifest::Manifest;
use marblerun_manifest::check::{self, CheckEnv, Finding, Report, Stage, check, notes_as_warnings};

use crate::core::HsmSealing;
use crate::error::{Error, ErrorKind};

/// A decoded manifest with the bytes it came as.
pub(super) struct Candidate {
    pub(super) raw: Bytes,
    pub(super) manifest: Manifest,
    notes: Vec<Finding>,
}

/// For what a manifest is a candidate; decides how its faults are worded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Set,
    Update,
}

/// Names of the environment variables of this process that have a value: a feature of the manifest needs some.
fn variables() -> std::collections::BTreeSet<String> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    set.filter_map(|(name, _)| name.into_string().ok()).collect()
}

impl Candidate {
    /// Decodes. The message names the mistake that upstream would name, the details all that were found.
    pub(super) fn decode(raw: Bytes, purpose: Purpose) -> Result<Self, Error> {
        match Manifest::decode_with_notes(&raw) {
            Ok(decoded) => {
                let notes = notes_as_warnings(&decoded.notes).collect();
                Ok(Self { raw, manifest: decoded.value, notes })
            }
            Err(errors) => Err(refusal(&Report::of_decode_error(&errors), purpose).unwrap_or_else(Error::wrong_state)),
        }
    }

    /// Checks everything that can be checked without making secrets. Returns what is accepted but should be known.
    pub(super) fn check(&self, purpose: Purpose, now: Timestamp, hsm: HsmSealing) -> Result<Vec<String>, Error> {
        let report = check(&self.manifest, &CheckEnv { now, variables: Some(variables()) });
        if let Some(refusal) = refusal(&report, purpose) {
            return Err(refusal);
        }
        if let Some(missing) = missing_feature(&self.manifest, hsm) {
            let message = format!("{}{}", prefix(missing.stage, purpose), missing.text);
            return Err(Error::new(ErrorKind::Refused, "hsm_sealing_not_configured", message));
        }
        Ok(self.warnings(report))
    }

    fn warnings(&self, report: Report) -> Vec<String> {
        let mut warnings = report.warnings;
        warnings.extend(self.notes.iter().cloned());
        warnings.sort_by(|a, b| (&a.path, &a.text).cmp(&(&b.path, &b.text)));
        warnings.iter().map(ToString::to_string).collect()
    }
}

/// Everything there is to say about bytes that might become a manifest.
pub(super) fn review(raw: &[u8], now: Timestamp, hsm: HsmSealing) -> Report {
    let (manifest, mut report) = check::review(raw, &CheckEnv { now, variables: Some(variables()) });
    report.errors.extend(manifest.as_ref().and_then(|manifest| missing_feature(manifest, hsm)));
    report
}

/// A feature that is accepted must be there: a deployment that counts on it would be sealed with less.
fn missing_feature(manifest: &Manifest, hsm: HsmSealing) -> Option<Finding> {
    let lacks = manifest.config.has_feature("AzureHSMSealing") && hsm == HsmSealing::Off;
    lacks.then(|| Finding {
        stage: Stage::Check,
        path: "Config.FeatureGates".to_owned(),
        code: "hsm-sealing-not-configured",
        text: "the feature AzureHSMSealing needs a Coordinator that seals nothing without the HSM: start it with \
               MARBLERUN_SEAL=platform+azure-hsm (in simulation: azure-hsm)"
            .to_owned(),
    })
}

/// What should be known about a manifest that is in force.
pub(super) fn warnings_of(raw: &Bytes, now: Timestamp) -> Vec<String> {
    let Ok(candidate) = Candidate::decode(raw.clone(), Purpose::Set) else { return Vec::new() };
    let report = check(&candidate.manifest, &CheckEnv { now, variables: Some(variables()) });
    candidate.warnings(report)
}

fn refusal(report: &Report, purpose: Purpose) -> Option<Error> {
    let first = report.errors.first()?;
    let message = format!("{}{}", prefix(first.stage, purpose), first.text);
    let details = report.errors.iter().map(ToString::to_string).collect();
    Some(Error::new(ErrorKind::Refused, "invalid_manifest", message).with_details(details))
}

fn prefix(stage: Stage, purpose: Purpose) -> &'static str {
    match (stage, purpose) {
        (Stage::Decode, Purpose::Update) => "unmarshaling update manifest: ",
        (Stage::Check, Purpose::Update) => "invalid manifest: ",
        (stage, _) => stage.prefix(),
    }
}
