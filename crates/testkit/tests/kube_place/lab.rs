//! A namespace with an account in it, and Coordinators' places there.

use std::ffi::OsString;
use std::path::Path;

use marblerun_kubernetes::{Access, Kubernetes, KubernetesConfig, KubernetesPlace, Names};
use marblerun_state::BootId;
use marblerun_store::cluster::SharedPlace;
use marblerun_store::cluster::conformance::Lab;
use marblerun_testkit::kube::{ControlPlane, Namespace, Role, ServiceAccount};
use serde_json::Value;
use tokio::runtime::Runtime;

pub struct KubeLab {
    pub namespace: Namespace,
    pub account: ServiceAccount,
    pub runtime: Runtime,
}

impl KubeLab {
    pub fn new(role: Role) -> Self {
        Self::in_plane(&ControlPlane::shared().unwrap(), role)
    }

    pub fn in_plane(plane: &ControlPlane, role: Role) -> Self {
        let namespace = plane.namespace().unwrap();
        let account = namespace.service_account(role).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { namespace, account, runtime }
    }

    pub fn kubernetes(&self, instance: u8) -> Kubernetes {
        self.kubernetes_by(instance, by_kubeconfig(&self.account.kubeconfig))
    }

    pub fn kubernetes_by(&self, instance: u8, access: Access) -> Kubernetes {
        let config =
            KubernetesConfig { access, names: names(self.namespace.name()), boot: BootId([instance; 16]), pod: None };
        self.runtime.block_on(Kubernetes::connect(config)).unwrap()
    }

    pub fn instance(&self, instance: u8) -> KubernetesPlace {
        self.kubernetes(instance).place()
    }

    /// What an administrator sees.
    pub fn secret(&self, name: &str) -> Value {
        let shown = self.namespace.kubectl(["get", "secret", name, "-o", "json", "--show-managed-fields"]);
        serde_json::from_str(&shown.unwrap().ok().unwrap()).unwrap()
    }

    pub fn kubectl(&self, args: &[&str]) -> String {
        self.namespace.kubectl(args).unwrap().ok().unwrap()
    }

    pub fn apply(&self, args: &[&str], object: &Value) -> String {
        self.namespace.kubectl_with_input(args, &object.to_string()).unwrap().ok().unwrap()
    }
}

pub fn by_kubeconfig(file: &Path) -> Access {
    Access { kubeconfig: Some(OsString::from(file)), ..Access::default() }
}

pub fn names(namespace: &str) -> Names {
    Names::new(namespace, "marblerun-state", "marblerun-sealed-kek", "coordinator-key-api").unwrap()
}

impl Lab for KubeLab {
    fn place(&self, instance: u8) -> Box<dyn SharedPlace> {
        Box::new(self.instance(instance))
    }

    fn delete_object(&self) {
        self.kubectl(&["delete", "secret", "marblerun-state"]);
    }

    fn make_empty_object(&self) -> bool {
        self.kubectl(&["create", "secret", "generic", "marblerun-state"]);
        true
    }

    fn delete_entries(&self) {
        self.kubectl(&["delete", "configmap", "marblerun-sealed-kek"]);
    }
}
