//! Helm, and the objects that it renders.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn chart() -> PathBuf {
    root().join("charts/marblerun")
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chart")
}

/// Everything that Helm is told, and what it answered.
pub struct Helm {
    command: Command,
    // Its caches, and a place without a cluster.
    _home: tempfile::TempDir,
}

impl Helm {
    pub fn new() -> Self {
        let folder = std::env::var_os("MARBLERUN_KUBE_BIN").map_or_else(
            || {
                let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
                let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
                cache.expect("HOME is set").join("marblerun/kube")
            },
            PathBuf::from,
        );
        let program = folder.join("helm");
        assert!(program.is_file(), "{} is missing; xtask/kube/helm/build-helm.sh builds it", program.display());
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        let of_the_user = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HELM_"));
        of_the_user.for_each(|(name, _)| {
            command.env_remove(name);
        });
        for name in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env_remove(name);
        }
        command.env("HOME", home.path()).env("KUBECONFIG", home.path().join("none"));
        Self { command, _home: home }
    }

    pub fn in_cluster(kubeconfig: &Path) -> Self {
        let mut helm = Self::new();
        helm.command.env("KUBECONFIG", kubeconfig);
        helm
    }

    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// What it prints.
    pub fn succeeds(mut self) -> String {
        let output = self.command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?}: {said}{}", self.command, String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Why it refuses.
    pub fn fails(mut self) -> String {
        let output = self.command.output().unwrap();
        assert!(!output.status.success(), "{:?}: {}", self.command, String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

/// `helm template` with the images named; more arguments are the test's.
pub fn template(namespace: &str, args: &[&str]) -> Helm {
    let helm = Helm::new().args(["template", "marblerun"]).args([chart()]).args(["--namespace", namespace]);
    helm.args(["--values"]).args([fixtures().join("common.yaml")]).args(args)
}

/// A file with values, and the objects that come of it.
pub struct Case {
    pub name: String,
    pub folder: PathBuf,
}

impl Case {
    pub fn all() -> Vec<Self> {
        let folders = std::fs::read_dir(fixtures().join("cases")).unwrap().map(|entry| entry.unwrap());
        let case =
            |entry: std::fs::DirEntry| Self { name: entry.file_name().into_string().unwrap(), folder: entry.path() };
        let mut cases: Vec<Self> = folders.map(case).collect();
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        assert!(cases.len() > 15);
        cases
    }

    pub fn render(&self, namespace: &str) -> String {
        template(namespace, &["--values"]).args([self.folder.join("values.yaml")]).succeeds()
    }
}

/// Objects of a render.
pub struct Objects(pub Vec<Value>);

impl Objects {
    /// Of values, each as in `--set`.
    pub fn of(values: &[&str]) -> Self {
        let set: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
        Self::parse(&template("marblerun", &set).succeeds())
    }

    pub fn parse(yaml: &str) -> Self {
        let documents = yaml.split("\n---\n").map(|document| document.trim_start_matches("---\n"));
        Self(documents.filter(|document| !document.trim().is_empty()).map(parse).collect())
    }

    pub fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    pub fn get(&self, kind: &str, name: &str) -> &Value {
        self.find(kind, name).unwrap_or_else(|| panic!("there is no {kind} {name}: {:#?}", self.names()))
    }

    /// `Kind name` of each, sorted.
    pub fn names(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned();
        let name = |object: &Value| format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]));
        let mut names: Vec<String> = self.0.iter().map(name).collect();
        names.sort();
        names
    }

    pub fn coordinator(&self) -> &Value {
        self.get("Deployment", "marblerun-coordinator")
    }

    pub fn pod(&self) -> &Value {
        &self.coordinator()["spec"]["template"]["spec"]
    }

    /// The Coordinator's, which is the first.
    pub fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }

    /// Variables in their order; those that come from elsewhere as `(from elsewhere)`.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or("(from elsewhere)").to_owned();
        let variables = self.container()["env"].as_array().unwrap();
        variables.iter().map(|variable| (text(&variable["name"]), text(&variable["value"]))).collect()
    }

    pub fn variable(&self, name: &str) -> Option<String> {
        self.environment().into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }
}

/// YAML as Kubernetes reads it.
pub fn parse(yaml: &str) -> Value {
    let (json, _) = marblerun_manifest::yaml::load(yaml.as_bytes()).unwrap_or_else(|error| panic!("{error}: {yaml}"));
    serde_json::from_slice(&json).unwrap()
}
