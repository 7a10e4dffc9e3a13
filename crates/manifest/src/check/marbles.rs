//! Marbles: their packages and tags exist; what in their parameters cannot work as it looks.

use std::collections::BTreeSet;

use super::{Report, Stage, packages};
use crate::model::{Manifest, Marble};
use crate::path;

/// Variables that activation sets after those of the manifest.
const PREDEFINED: [&str; 4] = [
    "MARBLE_PREDEFINED_ROOT_CA",
    "MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN",
    "MARBLE_PREDEFINED_PRIVATE_KEY",
    "MARBLE_PREDEFINED_COORDINATOR_ROOT_CA",
];

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
