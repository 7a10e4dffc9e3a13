//! What an update of the whole manifest does that upstream does in silence, and an operator should know first.

use std::collections::BTreeSet;

use crate::check::{Finding, Stage};
use crate::model::{Manifest, SecretDefinition};
use crate::path;

/// Warnings about replacing one manifest by another: protection that gets weaker, people who are locked out, values
/// that get lost. `old` should hold the effective security versions.
#[must_use]
pub fn risks(old: &Manifest, new: &Manifest) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut warn = |code, path: String, text: String| {
        findings.push(Finding { stage: Stage::Check, path, code, text });
    };
    for (name, package) in &new.packages {
        let Some(before) = old.packages.get(name) else { continue };
        if let Some(version) = before.security_version
            && package.security_version.is_none_or(|new| new < version)
        {
            let text = format!("the security version was {version}; enclaves with known faults may be accepted again");
            warn("security-version-lowered", path::of(["Packages", name, "SecurityVersion"]), text);
        }
        if package.debug && !before.debug {
            let text = "Debug is switched on: debug enclaves are accepted, and only those".to_owned();
            warn("debug-switched-on", path::of(["Packages", name, "Debug"]), text);
        }
    }
    let (owners, owners_after) = (owners(old), owners(new));
    for name in owners.difference(&owners_after) {
        let text = "this user may update the manifest now, and no longer after this".to_owned();
        warn("owner-removed", path::of(["Users", name]), text);
    }
    for (name, before) in old.secrets.iter().filter(|(_, secret)| secret.user_defined) {
        match new.secrets.get(name) {
            None => {
                warn("secret-removed", path::of(["Secrets", name]), "an uploaded value is deleted with it".to_owned());
            }
            Some(after) if !is_same_definition(before, after) => {
                let text = "its definition changes, so an uploaded value is lost".to_owned();
                warn("uploaded-value-lost", path::of(["Secrets", name]), text);
            }
            Some(_) => {}
        }
    }
    if new.config.rotate_root_secret {
        let text = "the root secret is rotated: keys derived from it change, and of earlier ones only the last is kept";
        warn("root-secret-rotates", "Config.RotateRootSecret".to_owned(), text.to_owned());
    }
    findings.sort();
    findings
}

/// Names of the users who may update the manifest.
fn owners(manifest: &Manifest) -> BTreeSet<&str> {
    let is_owner_role = |role: &String| {
        manifest.roles.get(role).is_some_and(|role| {
            role.resource_type == "Manifest"
                && role.actions.iter().any(|action| action.eq_ignore_ascii_case("UpdateManifest"))
        })
    };
    let owners = manifest.users.iter().filter(|(_, user)| user.roles.iter().any(is_owner_role));
    owners.map(|(name, _)| name.as_str()).collect()
}

/// What makes a value outlive an update.
fn is_same_definition(a: &SecretDefinition, b: &SecretDefinition) -> bool {
    (&a.kind, a.size, a.shared, a.user_defined, a.valid_for) == (&b.kind, b.size, b.shared, b.user_defined, b.valid_for)
}
