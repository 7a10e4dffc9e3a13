//! Contents of files and variables: what fails whatever the secrets are.

use super::{Report, Stage};
use crate::model::Manifest;
use crate::path;

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    for (name, marble) in &manifest.marbles {
        for (variable, file) in &marble.parameters.env {
            if file.data.contains(&0) {
                let text = format!("in Marble {name}: env variable: {variable}: content contains null bytes");
                let path = path::of(["Marbles", name, "Parameters", "Env", variable]);
                report.error(Stage::Template, "nul-in-variable", path, text);
            }
        }
    }
}
