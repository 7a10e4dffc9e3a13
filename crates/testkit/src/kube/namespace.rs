//! A namespace of a test's own, and an account in it with a Coordinator's rights.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{ControlPlane, KubectlOutput};
use crate::reaper;

/// Name of the account and its Role, as the Helm chart has it.
const ACCOUNT: &str = "marblerun-coordinator";

/// A namespace; deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    plane: ControlPlane,
    name: String,
}

/// Which rights an account has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Those of our Helm chart: what a Coordinator needs, by name.
    Ours,
    /// The same where the chart permits parts (`coordinator.stateParts.enabled`).
    OursWithParts,
    /// Those of the original's.
    Upstream,
}

impl Namespace {
    pub(super) fn create(plane: &ControlPlane, name: String) -> Result<Self> {
        plane.kubectl(["create", "namespace", &name])?.ok()?;
        Ok(Self { plane: plane.clone(), name })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    #[must_use]
    pub const fn control_plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// Runs `kubectl` in it as administrator.
    ///
    /// # Errors
    /// If it cannot be started. What it answers is in the output.
    pub fn kubectl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<KubectlOutput> {
        let mut command = self.plane.kubectl_command(&self.plane.kubeconfig());
        KubectlOutput::of(command.args(["--namespace", &self.name]).args(args), None)
    }

    /// Runs `kubectl` in it as administrator, with that standard input.
    ///
    /// # Errors
    /// If it cannot be started. What it answers is in the output.
    pub fn kubectl_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &str,
    ) -> Result<KubectlOutput> {
        let mut command = self.plane.kubectl_command(&self.plane.kubeconfig());
        KubectlOutput::of(command.args(["--namespace", &self.name]).args(args), Some(input))
    }

    /// Makes the account that a Coordinator has in its pod. Calling it again renews its token and changes its rights.
    ///
    /// # Errors
    /// If the API server refuses.
    pub fn service_account(&self, role: Role) -> Result<ServiceAccount> {
        let folder = self.plane.data().join("accounts").join(&self.name);
        let mut command = Command::new(reaper::script("kube-sa.sh"));
        command.arg("--data").arg(self.plane.data()).arg("--out").arg(&folder);
        command.args(["--namespace", &self.name, "--account", ACCOUNT]);
        command.args([
            "--role",
            match role {
                Role::Ours => "ours",
                Role::OursWithParts => "ours-with-parts",
                Role::Upstream => "upstream",
            },
        ]);
        let output = command.env("HOME", self.plane.data()).output().context("starting kube-sa.sh")?;
        ensure!(output.status.success(), "kube-sa.sh: {}", String::from_utf8_lossy(&output.stderr));
        Ok(ServiceAccount {
            kubeconfig: folder.join("kubeconfig"),
            token: std::fs::read_to_string(folder.join("token"))?,
            user: format!("system:serviceaccount:{}:{ACCOUNT}", self.name),
            namespace: self.name.clone(),
            plane: self.plane.clone(),
        })
    }
}

impl Drop for Namespace {
    /// Nobody waits for it. What does not end is stopped with the control plane.
    fn drop(&mut self) {
        let command = self.plane.kubectl_command(&self.plane.kubeconfig());
        let kubectl = command.get_program().to_owned();
        let mut shell = Command::new("bash");
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.args(["-c", if self.plane.has_controllers() { DELETE } else { DELETE_ALL }]).arg(kubectl).arg(&self.name);
        let _ = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
}

const DELETE: &str = r#""$0" delete namespace "$1" --wait=false --request-timeout=5s"#;

/// What the namespace controller does, where there is none: empty it, and say that it is empty.
const DELETE_ALL: &str = r#""$0" delete namespace "$1" --wait=false --request-timeout=5s || exit
"$0" delete --namespace "$1" --all --wait=false secrets,configmaps,endpointslices,roles,rolebindings,serviceaccounts
echo '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"'"$1"'"},"spec":{"finalizers":[]}}' |
  "$0" replace --raw "/api/v1/namespaces/$1/finalize" -f -"#;

/// An account with a Coordinator's rights in one namespace.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    /// A kubeconfig with its token.
    pub kubeconfig: PathBuf,
    /// As the audit log names it.
    pub user: String,
    /// Its bearer token.
    pub token: String,
    /// Where it has its rights.
    pub namespace: String,
    plane: ControlPlane,
}

impl ServiceAccount {
    /// The same account by another way, such as that through a proxy.
    #[must_use]
    pub fn with_kubeconfig(self, kubeconfig: PathBuf) -> Self {
        Self { kubeconfig, ..self }
    }

    /// Runs `kubectl` as this account.
    ///
    /// # Errors
    /// If it cannot be started. What it answers is in the output.
    pub fn kubectl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<KubectlOutput> {
        KubectlOutput::of(self.plane.kubectl_command(&self.kubeconfig).args(args), None)
    }

    /// Runs `kubectl` as this account, with that standard input.
    ///
    /// # Errors
    /// If it cannot be started. What it answers is in the output.
    pub fn kubectl_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &str,
    ) -> Result<KubectlOutput> {
        KubectlOutput::of(self.plane.kubectl_command(&self.kubeconfig).args(args), Some(input))
    }
}
