//! Somebody with a namespace, who types commands.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use marblerun_testkit::kube::{ControlPlane, Namespace};
use serde_json::Value;

/// Control planes are started once for all tests: they take longer than the tests.
pub fn plane() -> ControlPlane {
    static SHARED: OnceLock<ControlPlane> = OnceLock::new();
    SHARED.get_or_init(|| ControlPlane::builder().controller_manager().start().unwrap()).clone()
}

pub struct Person {
    pub plane: ControlPlane,
    pub namespace: Namespace,
    pub home: tempfile::TempDir,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// It fails, and says this.
    #[track_caller]
    pub fn fails(self, with: &str) -> Self {
        assert_eq!(self.code, 1, "{self:?}");
        assert!(self.stderr.contains(with), "{with:?}: {self:?}");
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Person {
    pub fn new() -> Self {
        Self::in_plane(plane())
    }

    pub fn in_plane(plane: ControlPlane) -> Self {
        let namespace = plane.namespace().unwrap();
        let home = tempfile::tempdir().unwrap();
        // The webhook of one test must not see the pods of another.
        let values = format!(
            "marbleInjector: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {}}}}}}}\n",
            namespace.name()
        );
        std::fs::write(home.path().join("values.yaml"), values).unwrap();
        Self { plane, namespace, home }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn command(&self, line: &str) -> Command {
        self.command_with(&self.plane.kubeconfig(), line)
    }

    fn command_with(&self, kubeconfig: &Path, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marblerun"));
        command
            .args(line.split_whitespace())
            .args(if line.contains(" -n ") { vec![] } else { vec!["--namespace", self.namespace.name()] })
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null());
        command
    }

    pub fn types(&self, line: &str) -> Said {
        Said::of(self.command(line).output().unwrap())
    }

    pub fn types_as(&self, kubeconfig: &Path, line: &str) -> Said {
        Said::of(self.command_with(kubeconfig, line).output().unwrap())
    }

    /// The installation of most tests.
    pub fn installs(&self, flags: &str) -> Said {
        self.types(&format!("install --repository r.example/m --values values.yaml --no-wait {flags}"))
    }

    /// In the background.
    pub fn begins(&self, line: &str) -> Child {
        self.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn ends(child: Child) -> Said {
        Said::of(child.wait_with_output().unwrap())
    }

    /// `kubectl` in the namespace.
    #[track_caller]
    pub fn kubectl(&self, line: &str) -> String {
        self.namespace.kubectl(line.split_whitespace()).unwrap().ok().unwrap()
    }

    pub fn has(&self, object: &str) -> bool {
        self.namespace.kubectl(["get", object]).unwrap().is_ok()
    }

    #[track_caller]
    pub fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(&format!("get {object} -o json"))).unwrap()
    }

    #[track_caller]
    pub fn applies(&self, object: &Value) {
        self.namespace.kubectl_with_input(["apply", "-f", "-"], &object.to_string()).unwrap().ok().unwrap();
    }

    /// Plays kubelet: says something of all pods with a label, once there are as many.
    pub fn says_of_pods(&self, label: &str, count: usize, status: &Value) {
        let begin = Instant::now();
        let pods: Vec<String> = loop {
            let line = format!("get pods -l {label} -o jsonpath={{.items[*].metadata.name}}");
            let pods: Vec<String> = self.kubectl(&line).split_whitespace().map(str::to_owned).collect();
            if pods.len() == count {
                break pods;
            }
            assert!(begin.elapsed() < Duration::from_secs(120), "{pods:?}");
            std::thread::sleep(Duration::from_millis(200));
        };
        let patch = serde_json::json!({"status": status}).to_string();
        for pod in pods {
            let patched =
                self.namespace.kubectl(["patch", "pod", &pod, "--subresource=status", "--type=merge", "-p", &patch]);
            patched.unwrap().ok().unwrap();
        }
    }

    pub fn makes_ready(&self, label: &str, count: usize) {
        let conditions = serde_json::json!([
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "ContainersReady", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]);
        self.says_of_pods(label, count, &serde_json::json!({"phase": "Running", "conditions": conditions}));
    }
}

pub const COORDINATORS: &str = "app.kubernetes.io/name=coordinator";
pub const INJECTORS: &str = "app.kubernetes.io/name=marble-injector";
