//! Marbles: their packages and tags exist; what in their parameters cannot work as it looks.

use std::collections::BTreeSet;

use super::{Report, Stage, packages};
use crate::model::{Manifest, Marble, SecretKind};
use crate::path;
use crate::template::{Kind, Template};

/// Variables that activation sets after those of the manifest.
const PREDEFINED: [&str; 4] = [
    "MARBLE_PREDEFINED_ROOT_CA",
    "MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN",
    "MARBLE_PREDEFINED_PRIVATE_KEY",
    "MARBLE_PREDEFINED_COORDINATOR_ROOT_CA",
];

/// What the gRPC library of a Marble takes by default.
const MAX_ANSWER: usize = 4 << 20;

/// Without this word a template cannot use an earlier generation.
const PREVIOUS: &[u8] = b"Previous";

/// Set by activation for Marbles with TLS tags.
const TTLS_CONFIG: &str = "MARBLE_TTLS_CONFIG";

pub(super) fn check_packages_and_tags(manifest: &Manifest, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for (name, marble) in &manifest.marbles {
        match manifest.packages.get(&marble.package) {
            Some(package) if seen.insert(&marble.package) => {
                packages::check_identity(&marble.package, package, report);
            }
            Some(_) => {}
            None => {
                let text = format!("Marble {name:?} uses package {:?}, which is not defined", marble.package);
                report.error(Stage::Check, "undefined-package", path::of(["Marbles", name, "Package"]), text);
            }
        }
        report.each(&marble.tls, |report, index, tag| {
            if !manifest.tls.contains_key(tag) {
                let path = format!("{}[{index}]", path::of(["Marbles", name, "TLS"]));
                let text = format!("Marble {name:?} uses TLS tag {tag:?}, which is not defined");
                report.error(Stage::Check, "undefined-tls-tag", path, text);
            }
        });
    }
}

pub(super) fn warn(manifest: &Manifest, report: &mut Report) {
    for (name, marble) in &manifest.marbles {
        warn_environment(name, marble, report);
        warn_size(name, marble, report);
        warn_previous(manifest, name, marble, report);
        for file in marble.parameters.files.keys().filter(|file| file.is_empty() || file.ends_with('/')) {
            let path = path::of(["Marbles", name, "Parameters", "Files", file]);
            report.warn("bad-file-path", path, "this is no path of a file, so the Marble cannot start");
        }
        for (index, argument) in marble.parameters.argv.iter().enumerate() {
            if argument.contains("{{") {
                let path = format!("{}[{index}]", path::of(["Marbles", name, "Parameters", "Argv"]));
                report.warn("template-in-argv", path, "arguments are never templates; the braces arrive as they are");
            }
        }
        let mut seen = BTreeSet::new();
        for (index, tag) in marble.tls.iter().enumerate() {
            if !seen.insert(tag) {
                let path = format!("{}[{index}]", path::of(["Marbles", name, "TLS"]));
                report.warn("duplicate-item", path, format!("{tag:?} is listed twice"));
            }
        }
    }
}

/// What is fixed in an answer is counted; what templates add to it is not known yet.
fn warn_size(name: &str, marble: &Marble, report: &mut Report) {
    let parameters = &marble.parameters;
    let entries = parameters.files.iter().chain(&parameters.env);
    let fixed = entries.map(|(key, file)| {
        let is_fixed = file.no_templates || !Template::has_actions(&file.data);
        key.len() + if is_fixed { file.data.len() } else { 0 }
    });
    let bytes = fixed.sum::<usize>() + parameters.argv.iter().map(String::len).sum::<usize>();
    if bytes > MAX_ANSWER {
        let path = path::of(["Marbles", name, "Parameters"]);
        let text =
            format!("these take at least {bytes} bytes; a Marble accepts at most {MAX_ANSWER}, so it cannot start");
        report.warn("parameters-too-large", path, text);
    }
}

/// A certificate of each Marble is made anew for `.Previous`: it was never in use.
fn warn_previous(manifest: &Manifest, name: &str, marble: &Marble, report: &mut Report) {
    let is_per_marble = |name: &String| {
        manifest.secrets.get(name).is_some_and(|secret| {
            let kind = SecretKind::from_name(&secret.kind);
            !secret.shared && !secret.user_defined && kind.is_some_and(SecretKind::is_certificate)
        })
    };
    let parameters = &marble.parameters;
    let files = parameters.files.iter().map(|entry| ("Files", Kind::File, entry));
    let env = parameters.env.iter().map(|entry| ("Env", Kind::Env, entry));
    for (section, kind, (key, file)) in files.chain(env) {
        if file.no_templates || !file.data.windows(PREVIOUS.len()).any(|part| part == PREVIOUS) {
            continue;
        }
        let Ok(template) = Template::parse(&file.data, kind) else { continue };
        for secret in template.references().previous_secrets.iter().filter(|secret| is_per_marble(secret)) {
            let path = path::of(["Marbles", name, "Parameters", section, key]);
            let text = format!(
                "the previous {secret:?} is a fresh certificate, not the one before: those that Marbles have for \
                 themselves are kept nowhere"
            );
            report.warn("previous-is-fresh", path, text);
        }
    }
}

fn warn_environment(name: &str, marble: &Marble, report: &mut Report) {
    for variable in marble.parameters.env.keys() {
        let path = path::of(["Marbles", name, "Parameters", "Env", variable]);
        if variable.is_empty() || variable.contains(['=', '\0']) {
            report.warn("bad-variable-name", path, "no environment variable can have this name");
        } else if PREDEFINED.contains(&variable.as_str()) || variable == TTLS_CONFIG && !marble.tls.is_empty() {
            report.warn(
                "overwritten-variable",
                path,
                "activation sets this variable itself; the value given here is lost",
            );
        }
    }
}
