//! Each case of values, and its objects on file: what a change of the chart changes is seen in the diff of these files.

use crate::helm::{Case, Helm, chart, fixtures, parse};

#[test]
fn each_case_of_values_makes_the_objects_on_file() {
    for case in Case::all() {
        let rendered = case.render("marblerun");
        let path = case.folder.join("objects.yaml");
        if std::env::var_os("MARBLERUN_UPDATE_DOCS").is_some() {
            std::fs::write(&path, &rendered).unwrap();
        }
        let on_file = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            rendered == on_file,
            "{} is not what the chart makes now:\n{rendered}\nIf it should be: \
             `MARBLERUN_UPDATE_DOCS=1 cargo test -p marblerun-testkit --test chart each_case`",
            path.display()
        );
    }
}

#[test]
fn lint_finds_nothing_wrong() {
    for case in Case::all() {
        let lint = Helm::new().args(["lint", "--strict", "--quiet"]).args([chart()]);
        let lint = lint.args(["--values"]).args([fixtures().join("common.yaml")]);
        lint.args(["--values"]).args([case.folder.join("values.yaml")]).succeeds();
    }
    // Not even without values.
    Helm::new().args(["lint", "--strict"]).args([chart()]).succeeds();
}

#[test]
fn the_chart_has_the_version_of_the_programs() {
    let chart = parse(&std::fs::read_to_string(chart().join("Chart.yaml")).unwrap());
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], format!("v{}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_package_of_the_chart_holds_nothing_but_the_chart() {
    let folder = tempfile::tempdir().unwrap();
    Helm::new().args(["package"]).args([chart()]).args(["--destination"]).args([folder.path()]).succeeds();
    let archive = folder.path().join(format!("marblerun-{}.tgz", env!("CARGO_PKG_VERSION")));
    let listed = std::process::Command::new("tar").arg("tzf").arg(&archive).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("marblerun/values.schema.json") && listed.contains("marblerun/templates/NOTES.txt"));
    for line in listed.lines() {
        let known = [".yaml", ".tpl", ".json", ".txt", ".helmignore"];
        assert!(known.iter().any(|end| line.ends_with(end)), "{line}");
    }
}
