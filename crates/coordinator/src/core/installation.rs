//! Bringing a manifest into force: the stages between a checked manifest and the changes that install it.
//! The same for a first manifest and for one that replaces another; setting is an update of nothing.
//!
//! Slow (keys are generated) and pure but for randomness: everything is decided here, before the
//! transaction, so that a refused manifest leaves no trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use marblerun_manifest::Manifest;
use marblerun_manifest::model::{Config, SecretDefinition};
use marblerun_manifest::template;
use marblerun_pki::{Authority, PkiError, Secret, check_definition, generate_shared};
use marblerun_recovery::{Established, establish};
use marblerun_state::{ActiveManifest, Change, RecoveryEntry, RootSecret, State};
use zeroize::Zeroizing;

use crate::core::candidate::Candidate;
use crate::core::dry_run::DryRunSecrets;
use crate::core::generation::make_all;
use crate::core::sameness::same_value;
use crate::core::secret_plan::{Current, Previous, Roots, plan};
use crate::error::{Error, ErrorKind};

/// The changes that bring a manifest into force, all but the log.
pub(super) struct Installation {
    /// In order.
    pub(super) changes: Vec<Change>,
    /// New recovery data: party to ciphertext. `None`: what holds now stays.
    pub(super) recovery_secrets: Option<BTreeMap<String, Vec<u8>>>,
    /// Values of users that are replaced, or kept as the previous ones.
    uploads: Vec<(String, Arc<Secret>)>,
}

impl Installation {
    /// Whether what users uploaded is still what this was prepared with: a value that came later would be replaced
    /// without becoming the previous one.
    pub(super) fn fits(&self, state: &State) -> bool {
        self.uploads.iter().all(|(name, value)| state.secret(name).is_some_and(|now| same_value(now, value)))
    }
}

/// One secret of the new manifest, with what becomes of it.
struct Planned<'a> {
    name: &'a str,
    definition: &'a SecretDefinition,
    /// Without value, unless the manifest gives a user-defined one.
    defined: Secret,
    current: Current,
    previous: Previous,
}

/// Shared secrets that were made, by name.
type Made<'a> = BTreeMap<&'a str, Arc<Secret>>;

/// Prepares a manifest. `replaced` is the state whose manifest it replaces, `None` for a first one.
/// `authority` is the one that will be in force with it.
pub(super) fn prepare(
    candidate: &Candidate,
    replaced: Option<&State>,
    authority: &Arc<Authority>,
    now: Timestamp,
) -> Result<Installation, Error> {
    let manifest = &candidate.manifest;
    let rotate = replaced.is_some() && manifest.config.rotate_root_secret;
    let planned = plan_secrets(manifest, replaced, rotate)?;
    let made = make_shared(&planned, authority, now)?;
    check_per_marble(&planned, now)?;
    let recovery = replaced
        .is_none_or(|state| recovery_changes(state, manifest))
        .then(|| establish(&manifest.recovery_keys, manifest.config.recovery_threshold))
        .transpose()
        .map_err(|error| refused("invalid_recovery_keys", "generating recovery encryption key: ", &error))?;

    let signature = authority
        .root_key
        .sign_sha256(&candidate.raw)
        .map_err(|error| refused("signing_failed", "signing manifest: ", &error))?;
    // What the state will make of it when the change is applied, so that this cannot fail there.
    ActiveManifest::new(candidate.raw.clone(), signature.clone())
        .map_err(|error| refused("invalid_users", "generating users from manifest: ", &error))?;
    dry_run(manifest, replaced, &made, authority, now)?;

    let uploads = replaced.map(|state| replaced_uploads(&planned, state)).unwrap_or_default();
    let mut changes = Vec::new();
    if let Some(state) = replaced.filter(|_| rotate) {
        let previous = Some(state.root_secret().clone());
        changes.push(Change::RootSecret { current: random_root_secret()?, previous });
    }
    changes.push(Change::Manifest { raw: candidate.raw.clone(), signature });
    changes.extend(package_changes(manifest, replaced));
    changes.extend(secret_changes(planned, replaced, made));
    let recovery_secrets = recovery.map(|established| {
        let (entry, secrets) = recovery_entry(established);
        // A first manifest without keys replaces nothing.
        if entry.is_some() || replaced.is_some() {
            changes.push(Change::Recovery(entry.into_iter().collect()));
        }
        secrets
    });
    Ok(Installation { changes, recovery_secrets, uploads })
}

fn plan_secrets<'a>(manifest: &'a Manifest, replaced: Option<&State>, rotate: bool) -> Result<Vec<Planned<'a>>, Error> {
    let rotated_before = replaced.is_some_and(|state| state.previous_root_secret() != state.root_secret());
    let roots = Roots { rotate, rotated_before };
    manifest
        .secrets
        .iter()
        .map(|(name, definition)| {
            let defined = Secret::from_definition(name, definition)
                .map_err(|error| refused("invalid_manifest", "checking manifest: ", &error))?;
            let stored = replaced.and_then(|state| state.secret(name)).map(Arc::as_ref);
            let (current, previous) = plan(&defined, stored, roots);
            Ok(Planned { name, definition, defined, current, previous })
        })
        .collect()
}

fn replaced_uploads(planned: &[Planned<'_>], state: &State) -> Vec<(String, Arc<Secret>)> {
    let replaced = planned.iter().filter(|secret| secret.current == Current::Renew);
    let stored = replaced.filter_map(|secret| Some((secret.name.to_owned(), Arc::clone(state.secret(secret.name)?))));
    stored.filter(|(_, value)| value.user_defined).collect()
}

/// Generates the shared secrets that are renewed.
fn make_shared<'a>(planned: &[Planned<'a>], authority: &Authority, now: Timestamp) -> Result<Made<'a>, Error> {
    let wanted: Vec<&Planned<'a>> = planned
        .iter()
        .filter(|secret| secret.defined.shared && !secret.defined.user_defined && secret.current == Current::Renew)
        .collect();
    make_all(&wanted, |secret| {
        Ok((secret.name, Arc::new(generate_shared(secret.name, secret.definition, authority, now)?)))
    })
    .map(|made| made.into_iter().collect())
    .map_err(|error: PkiError| refused("secret_generation_failed", "generating secrets from manifest: ", &error))
}

/// A secret that only a Marble will have is not made now, but that it can be made must be known.
fn check_per_marble(planned: &[Planned<'_>], now: Timestamp) -> Result<(), Error> {
    let mut definitions = planned.iter().filter(|secret| !secret.defined.shared && !secret.defined.user_defined);
    definitions
        .try_for_each(|secret| check_definition(secret.name, secret.definition, now))
        .map_err(|error| refused("secret_generation_failed", "generating placeholder secrets from manifest: ", &error))
}

/// Executes all templates. Shared secrets have their values, all others samples.
fn dry_run(
    manifest: &Manifest,
    replaced: Option<&State>,
    made: &Made<'_>,
    authority: &Authority,
    now: Timestamp,
) -> Result<(), Error> {
    let real = |name: &str| {
        let is_generated = manifest.secrets.get(name).is_some_and(|secret| secret.shared && !secret.user_defined);
        let kept = || replaced.and_then(|state| state.secret(name)).filter(|_| is_generated);
        made.get(name).or_else(kept).cloned()
    };
    let secrets = DryRunSecrets::new(&manifest.secrets, &real, authority, now);
    let failures = template::dry_run(manifest, &secrets);
    let Some(first) = failures.first() else { return Ok(()) };
    let details = failures.iter().map(ToString::to_string).collect();
    Err(refused("template_dry_run_failed", "running manifest template dry run: ", first).with_details(details))
}

/// Packages as the new manifest has them, whatever an update had raised; others are removed.
fn package_changes(manifest: &Manifest, replaced: Option<&State>) -> Vec<Change> {
    let removed = replaced.into_iter().flat_map(State::packages).map(|(name, _)| name);
    let removed = removed.filter(|name| !manifest.packages.contains_key(*name)).map(|name| (name, None));
    let set = manifest.packages.iter().map(|(name, package)| (name.as_str(), Some(Arc::new(package.clone()))));
    removed.chain(set).map(|(name, package)| Change::Package(name.to_owned(), package)).collect()
}

fn secret_changes(planned: Vec<Planned<'_>>, replaced: Option<&State>, mut made: Made<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    let names: BTreeSet<&str> = planned.iter().map(|secret| secret.name).collect();
    for (name, _) in replaced.into_iter().flat_map(State::secrets).filter(|(name, _)| !names.contains(name)) {
        changes.push(Change::PreviousSecret(name.to_owned(), None));
        changes.push(Change::Secret(name.to_owned(), None));
    }
    for secret in planned.into_iter().filter(|secret| secret.current == Current::Renew) {
        let new = made.remove(secret.name).unwrap_or_else(|| Arc::new(secret.defined));
        let old = || replaced.and_then(|state| state.secret(secret.name)).cloned();
        let previous = match secret.previous {
            Previous::Keep => None,
            Previous::Old => old(),
            Previous::New => Some(Arc::clone(&new)),
        };
        changes.push(Change::Secret(secret.name.to_owned(), Some(new)));
        if let Some(previous) = previous {
            changes.push(Change::PreviousSecret(secret.name.to_owned(), Some(previous)));
        }
    }
    changes
}

/// Recovery data are made anew only if who holds keys, or how many are needed, has changed. Keys are
/// compared as they are written.
fn recovery_changes(state: &State, new: &Manifest) -> bool {
    let Some(active) = state.manifest() else { return true };
    let needed = |keys: usize, config: &Config| match config.recovery_threshold {
        0 => keys as u64,
        threshold => threshold,
    };
    let old = &active.manifest;
    old.recovery_keys != new.recovery_keys
        || needed(old.recovery_keys.len(), &old.config) != needed(new.recovery_keys.len(), &new.config)
}

fn recovery_entry(established: Option<Established>) -> (Option<Arc<RecoveryEntry>>, BTreeMap<String, Vec<u8>>) {
    let Some(established) = established else { return (None, BTreeMap::new()) };
    let secrets = established.encrypted_secrets();
    (Some(Arc::new(RecoveryEntry { set: established.set, root: established.root })), secrets)
}

fn random_root_secret() -> Result<RootSecret, Error> {
    let mut bytes = Zeroizing::new(vec![0; 32]);
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Error::new(ErrorKind::Internal, "no_randomness", "the random source failed"))?;
    Ok(RootSecret(bytes))
}

fn refused(code: &'static str, prefix: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Refused, code, format!("{prefix}{cause}"))
}
