//! Roles: actions that fit the kind of resource, on resources that exist.

use super::{Report, Stage, usage};
use crate::model::{Manifest, Role};
use crate::path;

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    for (name, role) in &manifest.roles {
        match role.resource_type.as_str() {
            "Packages" => check_packages(manifest, name, role, report),
            "Secrets" => check_secrets(manifest, name, role, report),
            "Manifest" => {
                if !role.resource_names.is_empty() {
                    let text = format!("role {name:?} is of type Manifest and so must not have ResourceNames");
                    let path = path::of(["Roles", name, "ResourceNames"]);
                    report.error(Stage::Check, "manifest-role-with-resources", path, text);
                }
                check_actions(name, role, &["UpdateManifest"], report);
            }
            other => {
                let text =
                    format!("role {name:?} has ResourceType {other:?}; it must be Packages, Secrets or Manifest");
                report.error(Stage::Check, "unknown-resource-type", path::of(["Roles", name, "ResourceType"]), text);
            }
        }
    }
}

fn check_packages(manifest: &Manifest, name: &str, role: &Role, report: &mut Report) {
    report.each(&role.resource_names, |report, index, package| {
        if !manifest.packages.contains_key(package) {
            let path = format!("{}[{index}]", path::of(["Roles", name, "ResourceNames"]));
            let text = format!("role {name:?} names package {package:?}, which is not defined");
            report.error(Stage::Check, "undefined-package", path, text);
        }
    });
    check_actions(name, role, &["UpdateSecurityVersion"], report);
}

fn check_secrets(manifest: &Manifest, name: &str, role: &Role, report: &mut Report) {
    check_actions(name, role, &["ReadSecret", "WriteSecret"], report);
    let may = |action: &str| role.actions.iter().any(|given| given.eq_ignore_ascii_case(action));
    let (reads, writes) = (may("ReadSecret"), may("WriteSecret"));
    report.each(&role.resource_names, |report, index, resource| {
        let path = format!("{}[{index}]", path::of(["Roles", name, "ResourceNames"]));
        let Some(secret) = manifest.secrets.get(resource) else {
            let text = format!("role {name:?} names secret {resource:?}, which is not defined");
            return report.error(Stage::Check, "undefined-secret", path, text);
        };
        if writes && !secret.user_defined {
            let text = format!("role {name:?} may write secret {resource:?}, which is not UserDefined");
            report.error(Stage::Check, "secret-not-writable", path.clone(), text);
        }
        if reads && !secret.shared && !secret.user_defined {
            let text = format!("role {name:?} may read secret {resource:?}, which is neither Shared nor UserDefined");
            report.error(Stage::Check, "secret-not-readable", path, text);
        }
    });
}

fn check_actions(name: &str, role: &Role, allowed: &[&str], report: &mut Report) {
    report.each(&role.actions, |report, index, action| {
        if !allowed.iter().any(|known| known.eq_ignore_ascii_case(action)) {
            let path = format!("{}[{index}]", path::of(["Roles", name, "Actions"]));
            let text = format!(
                "role {name:?} has action {action:?}; with ResourceType {} it must be {}",
                role.resource_type,
                allowed.join(" or ")
            );
            report.error(Stage::Check, "unknown-action", path, text);
        }
    });
}

pub(super) fn warn(manifest: &Manifest, report: &mut Report) {
    let assigned = usage::assigned_roles(manifest);
    for (name, role) in &manifest.roles {
        if !assigned.contains(name.as_str()) {
            report.warn("unused-role", path::of(["Roles", name]), "no user has this role");
        }
        if role.actions.is_empty() {
            report.warn("empty-role", path::of(["Roles", name, "Actions"]), "without actions this role grants nothing");
        } else if role.resource_names.is_empty() && role.resource_type != "Manifest" {
            let text = "without names this role grants nothing";
            report.warn("empty-role", path::of(["Roles", name, "ResourceNames"]), text);
        }
    }
}
