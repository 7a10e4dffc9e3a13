//! Which crates are in the programs, and the licences that go with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// A crate in one of the programs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, as an SPDX expression.
    pub licence: String,
    /// From the registry; else it is one of ours.
    pub foreign: bool,
    folder: PathBuf,
}

/// What cargo knows of the crates that everything here is made of.
#[derive(Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

impl Metadata {
    /// Of the work tree at `root`.
    pub fn read(root: &Path, target: &str) -> Result<Self> {
        let mut command = crate::cargo();
        command.current_dir(root).args(["metadata", "--locked", "--format-version", "1", "--filter-platform", target]);
        let output = command.output().with_context(|| format!("starting {command:?}"))?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("reading what cargo metadata tells")
    }

    /// What these programs are made of: crates that build or test them are not in them.
    pub fn crates(&self, programs: &[&str]) -> Result<BTreeSet<Crate>> {
        let packages: BTreeMap<&str, &Package> =
            self.packages.iter().map(|package| (package.id.as_str(), package)).collect();
        let nodes: BTreeMap<&str, &Node> = self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let makes = |package: &Package, program: &str| {
            package.targets.iter().any(|target| target.name == program && target.kind.iter().any(|kind| kind == "bin"))
        };
        let mut open = Vec::new();
        for program in programs {
            let package = self.packages.iter().find(|package| makes(package, program));
            open.push(package.with_context(|| format!("no crate makes the program {program}"))?.id.as_str());
        }
        let mut seen = BTreeSet::new();
        let mut crates = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let package = packages.get(id).with_context(|| format!("cargo metadata does not describe {id}"))?;
            // Macros run in the compiler.
            if package.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro")) {
                continue;
            }
            crates.insert(Crate {
                name: package.name.clone(),
                version: package.version.clone(),
                licence: package.license.clone().unwrap_or_default().replace('/', " OR "),
                foreign: package.source.is_some(),
                folder: package.manifest_path.parent().unwrap_or(Path::new("")).to_path_buf(),
            });
            let dependencies = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
            let normal = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
            open.extend(dependencies.iter().filter(normal).map(|dependency| dependency.pkg.as_str()));
        }
        Ok(crates)
    }
}

/// The licences of all crates of others, each text once.
pub fn licences(crates: &BTreeSet<Crate>) -> Result<String> {
    let mut text = String::from("The programs of MarbleRun contain these crates of others. Their licences follow.\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in crates.iter().filter(|one| one.foreign) {
        let name = format!("{} {}", one.name, one.version);
        writeln!(text, "{name}: {}", one.licence)?;
        for licence in licence_files(&one.folder)? {
            texts.entry(licence).or_default().push(name.clone());
        }
    }
    let mut texts: Vec<(Vec<String>, String)> = texts.into_iter().map(|(licence, names)| (names, licence)).collect();
    texts.sort();
    for (names, licence) in texts {
        write!(text, "\n{}\n{}\n\n{}\n", "-".repeat(80), names.join(", "), licence.trim_end())?;
    }
    Ok(text)
}

fn licence_files(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading folder {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        let starts = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
        if path.is_file() && starts.iter().any(|start| name.starts_with(start)) {
            let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            found.insert(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_that_only_build_or_test_a_program_are_not_in_it() {
        let package = |name: &str, kind: &str| {
            serde_json::json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "source": "registry",
                "manifest_path": "/x/Cargo.toml", "targets": [{"kind": [kind], "name": name}]})
        };
        let needs = |name: &str, kind: Option<&str>| serde_json::json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata: Metadata = serde_json::from_value(serde_json::json!({
            "packages": [package("program", "bin"), package("in", "lib"), package("deeper", "lib"), package("build", "lib"),
                package("test", "lib"), package("macro", "proc-macro"), package("of-macro", "lib"), package("other", "bin")],
            "resolve": {"nodes": [
                {"id": "program", "deps": [needs("in", None), needs("build", Some("build")), needs("test", Some("dev")), needs("macro", None)]},
                {"id": "in", "deps": [needs("deeper", None)]},
                {"id": "macro", "deps": [needs("of-macro", None)]},
            ]},
        }))
        .unwrap();
        let crates = metadata.crates(&["program"]).unwrap();
        assert_eq!(crates.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["deeper", "in", "program"]);
        assert!(crates.iter().all(|one| one.licence == "MIT OR Apache-2.0"));
        assert!(metadata.crates(&["nothing"]).is_err());
    }

    #[test]
    fn each_text_stands_once_with_all_it_is_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut crates = BTreeSet::new();
        for (name, text) in [("a", "same\r\n"), ("b", "same\n"), ("c", "other")] {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("LICENSE-MIT"), text).unwrap();
            crates.insert(Crate {
                name: name.into(),
                version: "1".into(),
                licence: "MIT".into(),
                foreign: true,
                folder,
            });
        }
        let text = licences(&crates).unwrap();
        assert_eq!(text.matches("same").count(), 1, "{text}");
        assert!(text.contains("\na 1, b 1\n\nsame\n") && text.contains("\nc 1\n\nother\n"), "{text}");
    }
}
