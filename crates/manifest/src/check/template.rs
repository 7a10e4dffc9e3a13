//! Templates: tried with stand-ins for the secrets, which are not generated yet.

use std::collections::BTreeMap;

use super::{Report, Stage};
use crate::model::{File, Manifest, SecretDefinition, SecretKind};
use crate::path;
use crate::template::{self, DryRunError, Kind, Place, SecretValue, Template};

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    for error in template::dry_run(manifest, &BTreeMap::<String, SecretValue>::new()) {
        let (section, name, kind) = match &error.place {
            Place::File(name) => ("Files", name, Kind::File),
            Place::Env(name) => ("Env", name, Kind::Env),
        };
        let path = path::of(["Marbles", &error.marble, "Parameters", section, name]);
        match content(manifest, &error) {
            Some(file) if kind == Kind::Env && file.data.contains(&0) => {
                report.error(Stage::Template, "nul-in-variable", path, error.to_string());
            }
            Some(file) if may_work_with_real_values(manifest, file, kind) => {
                let text = format!("this template fails with test data: {}", error.reason);
                report.warn("template-may-fail", path, text);
            }
            _ => report.error(Stage::Template, "template-fails", path, error.to_string()),
        }
    }
}

fn content<'m>(manifest: &'m Manifest, error: &DryRunError) -> Option<&'m File> {
    let parameters = &manifest.marbles.get(&error.marble)?.parameters;
    match &error.place {
        Place::File(name) => parameters.files.get(name),
        Place::Env(name) => parameters.env.get(name),
    }
}

/// Whether a template that failed may look inside a certificate that is yet to be generated. Only trying it with
/// that certificate can tell.
fn may_work_with_real_values(manifest: &Manifest, file: &File, kind: Kind) -> bool {
    let Ok(template) = Template::parse(&file.data, kind) else { return false };
    let references = template.references();
    let is_generated_certificate = |secret: &SecretDefinition| {
        !secret.user_defined && SecretKind::from_name(&secret.kind).is_some_and(SecretKind::is_certificate)
    };
    if references.all_secrets || references.all_previous_secrets {
        return manifest.secrets.values().any(is_generated_certificate);
    }
    let names = references.secrets.iter().chain(&references.previous_secrets);
    names.filter_map(|name| manifest.secrets.get(name)).any(is_generated_certificate)
}
